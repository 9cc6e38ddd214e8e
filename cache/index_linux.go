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
	start, size := uintptr(unsafe.Pointer(&slots[0])), uintptr(len(slots))*unsafe.Sizeof(slots[0])
	skip := -start % hugePage
	if size < skip+hugePage {
		return
	}
	whole := (size - skip) / hugePage * hugePage
	_ = syscall.Madvise(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&slots[0]), skip)), whole), madvCollapse)
}
