package cache

import (
	"syscall"
	"unsafe"
)

const (
	hugePage     = 2 << 20 // bytes, on amd64 and arm64
	madvCollapse = 25      // of madvise(2), since Linux 6.1
)

// gather asks the kernel to move many slots into huge pages: a look-up among a
// million then waits for its slot alone, not for the page table too. A kernel
// that cannot leaves all as it is.
func gather(slots []slot) {
	first := unsafe.Pointer(&slots[0])
	skip, whole := hugePart(uintptr(first), uintptr(len(slots))*unsafe.Sizeof(slots[0]))
	if whole > 0 {
		_ = syscall.Madvise(unsafe.Slice((*byte)(unsafe.Add(first, skip)), whole), madvCollapse)
	}
}

// hugePart returns how much of size bytes at start are whole huge pages, and
// how much lies before them.
func hugePart(start, size uintptr) (skip, whole uintptr) {
	skip = -start % hugePage
	if size < skip {
		return 0, 0
	}
	return skip, (size - skip) / hugePage * hugePage
}
