package cache

// heapItem is what a heapOf holds. An item compares itself with others, and place returns
// where it keeps its own place: an index counted from 1, and 0 while it is in no heap.
type heapItem[T any] interface {
	before(T) bool
	place() *int
}

// heapOf is a heap for container/heap whose items know their places, so that any item
// can be moved or removed.
type heapOf[T heapItem[T]] []T

// What the heaps of this package hold.
var (
	_ heapItem[*entry]  = (*entry)(nil)
	_ heapItem[*waiter] = (*waiter)(nil)
)

func (h heapOf[T]) Len() int           { return len(h) }
func (h heapOf[T]) Less(i, j int) bool { return h[i].before(h[j]) }
func (h heapOf[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	*h[i].place(), *h[j].place() = i+1, j+1
}

// Push implements [heap.Interface].
func (h *heapOf[T]) Push(item any) {
	*h = append(*h, item.(T))
	*item.(T).place() = len(*h)
}

// Pop implements [heap.Interface].
func (h *heapOf[T]) Pop() any {
	var none T
	last := len(*h) - 1
	item := (*h)[last]
	(*h)[last] = none
	*h = (*h)[:last]
	*item.place() = 0
	return item
}
