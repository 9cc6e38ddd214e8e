package cache

import (
	"fmt"
	"testing"
)

// TestHugePart stays within what it is given.
func TestHugePart(t *testing.T) {
	const page = hugePage
	for _, c := range []struct{ start, size, skip, whole uintptr }{
		{0, page, 0, page}, {page, 3 * page, 0, 3 * page}, {0, page - 1, 0, 0}, {8192, page, 0, 0},
		{8192, 8192, 0, 0}, {page - 64, 64 + page, 64, page}, {page - 64, 63 + page, 64, 0}, {page + 64, 3 * page, page - 64, 2 * page},
	} {
		skip, whole := hugePart(c.start, c.size)
		if whole != c.whole || (whole > 0 && skip != c.skip) {
			t.Errorf("%d bytes at %d: %d after %d, want %d after %d", c.size, c.start, whole, skip, c.whole, c.skip)
		}
	}
}

// TestGatherKeepsSlots moves slots that are in use into huge pages.
func TestGatherKeepsSlots(t *testing.T) {
	slots := make([]slot, 4*hugePage/64)
	for i := range slots {
		slots[i].lo.Store(uint64(i))
	}
	gather(slots)
	for i := range slots {
		if got := slots[i].lo.Load(); got != uint64(i) {
			t.Fatal(fmt.Sprint("slot ", i, " holds ", got))
		}
	}
}
