package cache

import (
	"container/heap"
	"sync"
	"time"
)

// refreshQueue has the entries in the order in which they come due, and wakes the one
// goroutine that serves them.
type refreshQueue struct {
	wake chan struct{} // holds one while the first entry has changed

	mu      sync.Mutex // guards entries
	entries heapOf[*entry]
}

// set has e come due at time at, and at no other.
func (q *refreshQueue) set(e *entry, at instant) {
	q.mu.Lock()
	e.queueTime = at.mono
	if e.queuePlace == 0 {
		heap.Push(&q.entries, e)
	} else {
		heap.Fix(&q.entries, e.queuePlace-1)
	}
	first := q.entries[0] == e
	q.mu.Unlock()
	if first {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// remove takes e out of the queue, if it is in it.
func (q *refreshQueue) remove(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.queuePlace != 0 {
		heap.Remove(&q.entries, e.queuePlace-1)
	}
}

// next takes the first entry that is due out of the queue. If none is, it returns nil
// and how long it takes until one will be.
func (q *refreshQueue) next(now instant) (*entry, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.entries) == 0 {
		return nil, time.Hour
	}
	if first := q.entries[0]; first.queueTime > now.mono {
		return nil, time.Duration(first.queueTime - now.mono)
	}
	return heap.Pop(&q.entries).(*entry), 0
}

// dueAt returns when e is due by the monotonic clock, 0 if it is not in the queue.
func (q *refreshQueue) dueAt(e *entry) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.queuePlace == 0 {
		return 0
	}
	return e.queueTime
}
