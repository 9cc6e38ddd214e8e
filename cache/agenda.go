package cache

import (
	"sync"
	"time"
)

// agenda is a heap of entries by the time at which each is due, and the means
// to wake the one goroutine that serves it.
type agenda struct {
	wake chan struct{} // holds at most one

	mu   sync.Mutex // guards heap
	heap []*entry
}

// set has e come due at time at, and not at any other.
func (a *agenda) set(e *entry, at instant) {
	a.mu.Lock()
	e.at = at.mono
	if e.pos == 0 {
		a.heap = append(a.heap, e)
		e.pos = int32(len(a.heap))
	}
	a.up(int(e.pos) - 1)
	a.down(int(e.pos) - 1)
	first := a.heap[0] == e
	a.mu.Unlock()
	if first {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// remove strikes e off.
func (a *agenda) remove(e *entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.pos != 0 {
		a.strike(e)
	}
}

// strike takes e, which is in the heap, out of it.
func (a *agenda) strike(e *entry) {
	i, last := int(e.pos)-1, len(a.heap)-1
	a.swap(i, last)
	a.heap[last] = nil
	a.heap = a.heap[:last]
	e.pos = 0
	if i < last {
		a.up(i)
		a.down(i)
	}
}

// next takes the first entry that is due off the heap. If none is, it returns
// nil and how long until one will be.
func (a *agenda) next(now instant) (*entry, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.heap) == 0 {
		return nil, time.Hour
	}
	first := a.heap[0]
	if first.at > now.mono {
		return nil, time.Duration(first.at - now.mono)
	}
	a.strike(first)
	return first, 0
}

func (a *agenda) swap(i, j int) {
	a.heap[i], a.heap[j] = a.heap[j], a.heap[i]
	a.heap[i].pos, a.heap[j].pos = int32(i)+1, int32(j)+1
}

func (a *agenda) up(i int) {
	for i > 0 && a.heap[i].at < a.heap[(i-1)/2].at {
		a.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (a *agenda) down(i int) {
	for {
		least := i
		for _, child := range [...]int{2*i + 1, 2*i + 2} {
			if child < len(a.heap) && a.heap[child].at < a.heap[least].at {
				least = child
			}
		}
		if least == i {
			return
		}
		a.swap(i, least)
		i = least
	}
}
