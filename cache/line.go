package cache

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"token-sidecar/upstream"
)

// line has the loads of one upstream make their token requests no faster than the
// settings allow. Who comes first is decided by deadlines: that of a load that a
// request waits for is the moment in which it was asked for, that of a refresh lies
// before the end of its token. So refreshes give way to requests, but not for so long
// that their tokens end. Its methods are safe for concurrent use.
type line struct {
	name     string        // of the upstream
	rate     float64       // turns per second
	patience time.Duration // how long a request waits for its turn

	mu       sync.Mutex // guards the rest
	turns    float64    // that may be had now, at most rate
	counted  time.Time  // when turns was
	waiting  turnHeap
	serving  bool      // whether serve runs
	promised time.Time // the latest time at which a request that was refused may come again
}

// turn is the right of one load to make its token request, and the wait for it.
type turn struct {
	deadline time.Time
	until    time.Time // when the load stops waiting
	asked    bool      // a request waits for the load

	come    chan struct{} // closed when it has come, or when it has been taken away
	changed chan struct{} // holds one while deadline and until are news to the waiter
	pos     int           // in line.waiting, counted from 1; 0: not in it
	lost    bool          // taken away for an earlier deadline; set before come is closed
}

func newTurn(deadline, until time.Time) *turn {
	return &turn{deadline: deadline, until: until, come: make(chan struct{}), changed: make(chan struct{}, 1)}
}

// maxPromise bounds how long a request that had no turn is told to stay away, and so
// how far into the future turns are promised.
const maxPromise = time.Minute

func newLine(name string, rate float64, patience time.Duration) *line {
	return &line{name: name, rate: rate, patience: patience, turns: max(rate, 1), counted: time.Now()}
}

// count brings turns up to date. l.mu is held.
func (l *line) count() {
	now := time.Now()
	l.turns = min(l.turns+now.Sub(l.counted).Seconds()*l.rate, max(l.rate, 1))
	l.counted = now
}

// now takes a turn if one can be had without waiting.
func (l *line) now() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count()
	if len(l.waiting) > 0 || l.turns < 1 {
		return false
	}
	l.turns--
	return true
}

// giveBack returns a turn that was not used.
func (l *line) giveBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turns++
}

// wait waits for the turn t. Its error is an unasked if t does not come by t.until, or
// surely will not, and else that of ctx. start runs a function in the background.
func (l *line) wait(ctx context.Context, t *turn, start func(func()) bool) error {
	l.mu.Lock()
	l.count()
	if wait := l.expected(t); wait > time.Until(t.until) {
		l.mu.Unlock()
		return l.refuse(wait)
	}
	heap.Push(&l.waiting, t)
	if !l.serving {
		l.serving = start(func() { l.serve(ctx) })
	}
	l.mu.Unlock()
	defer l.leave(t)
	for {
		l.mu.Lock()
		until := t.until
		l.mu.Unlock()
		// Never of no length: two of those at once, in a bubble of testing/synctest, crash
		// the race detector of Go 1.26.
		timer := time.NewTimer(max(time.Until(until), 1))
		select {
		case <-t.come:
			timer.Stop()
			if t.lost {
				return l.refuse(l.patience)
			}
			return nil
		case <-t.changed:
			timer.Stop()
		case <-timer.C:
			if !l.leave(t) {
				continue // it has come just now
			}
			return l.refuse(l.patience)
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// expected returns how long t would have to wait. l.mu is held.
func (l *line) expected(t *turn) time.Duration {
	before := 1.0
	for _, other := range l.waiting {
		if other.deadline.Before(t.deadline) {
			before++
		}
	}
	return time.Duration(max(before-l.turns, 0) / l.rate * float64(time.Second))
}

// leave takes t out of the line. It reports false if t was not in it.
func (l *line) leave(t *turn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.pos == 0 {
		return false
	}
	heap.Remove(&l.waiting, t.pos-1)
	return true
}

// hurry has t come as early as other would, because a request waits for it now.
func (l *line) hurry(t, other *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.deadline.After(other.deadline) {
		return
	}
	t.deadline, t.until, t.asked = other.deadline, other.until, other.asked
	if t.pos != 0 {
		heap.Fix(&l.waiting, t.pos-1)
	}
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// horizon returns how long the load of t can wait for its turn of a budget, and how long
// if it was promised one by now. asked is whether a request waits for it.
func (l *line) horizon(t *turn) (wait, promised time.Duration, asked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	late := time.Since(t.deadline)
	switch wait = l.patience + min(late, l.patience); {
	case late < 0:
		return l.patience / 10, l.patience / 10, t.asked
	case t.asked:
		return wait, 2 * l.patience, true
	}
	wait = min(wait, max(time.Until(t.until), 0))
	return wait, wait, false
}

// left returns how long the load of t has until its token is due, and whether a request
// waits for it.
func (l *line) left(t *turn) (left time.Duration, asked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(t.until), t.asked
}

// makeRoom takes the turn with the latest deadline away, if that is later than the one
// given. It reports whether it did.
func (l *line) makeRoom(deadline time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	var last *turn
	for _, t := range l.waiting {
		if t.deadline.After(deadline) && (last == nil || t.deadline.After(last.deadline)) {
			last = t
		}
	}
	if last == nil {
		return false
	}
	heap.Remove(&l.waiting, last.pos-1)
	last.lost = true
	close(last.come)
	return true
}

// drained returns how long it takes until all who wait now have had their turns.
func (l *line) drained() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(float64(len(l.waiting)) / l.rate * float64(time.Second))
}

// refuse returns the error of a load that gets no turn, and says when it may come
// again: no two are promised the same time, and a tenth of all turns is not promised.
func (l *line) refuse(wait time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	next := l.promised
	if earliest := now.Add(wait); next.Before(earliest) {
		next = earliest
	}
	next = next.Add(time.Duration(1.1 / l.rate * float64(time.Second)))
	if last := now.Add(maxPromise); next.After(last) {
		next = last
	}
	l.promised = next
	return &unasked{reason: tooMany(l.name, next.Sub(now)), promise: next}
}

// serve gives turns until nobody waits or ctx ends.
func (l *line) serve(ctx context.Context) {
	for {
		l.mu.Lock()
		if len(l.waiting) == 0 {
			l.serving = false
			l.mu.Unlock()
			return
		}
		l.count()
		wait := time.Duration((1 - l.turns) / l.rate * float64(time.Second))
		if wait <= 0 {
			l.turns--
			close(heap.Pop(&l.waiting).(*turn).come)
		}
		l.mu.Unlock()
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

func tooMany(name string, wait time.Duration) *Error {
	return &Error{RetryAfter: wait, Cause: &upstream.Error{Upstream: name,
		Class: upstream.ClassThrottled, Reason: "more token requests are due than may be made at a time"}}
}

// turnHeap has the turn with the earliest deadline first. It implements [heap.Interface].
type turnHeap []*turn

func (h turnHeap) Len() int           { return len(h) }
func (h turnHeap) Less(i, j int) bool { return h[i].deadline.Before(h[j].deadline) }
func (h turnHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

func (h *turnHeap) Push(t any) {
	*h = append(*h, t.(*turn))
	t.(*turn).pos = len(*h)
}

func (h *turnHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.pos = 0
	return t
}
