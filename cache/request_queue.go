package cache

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"token-sidecar/upstream"
)

// requestQueue has the loads of one upstream make their token requests no faster than
// TOKEN_RATE allows, with a burst of one second's worth. A "request" here is that of an app,
// and a "token request" that of a load. Which load comes first is decided by deadlines: that of a load that a request waits for
// is the moment in which it was asked for, and that of a refresh lies before the end of
// its token. So refreshes give way to requests, but not for so long that their tokens
// end. Its methods are safe for concurrent use.
type requestQueue struct {
	name     string        // of the upstream
	rate     float64       // token requests per second
	patience time.Duration // how long a request waits to be let through

	mu       sync.Mutex // guards the rest
	free     float64    // token requests that may be made at once, at most rate
	counted  time.Time  // when free was brought up to date
	waiting  heapOf[*waiter]
	serving  bool      // whether serve runs
	promised time.Time // the latest time at which a refused request was told to come again
}

// waiter is the place of one load in the request queue, whether it has to wait or not.
type waiter struct {
	deadline time.Time // whoever has the earliest goes first
	until    time.Time // when the load stops waiting: the end of a request's patience, or of the token that a refresh replaces
	asked    bool      // a request waits for the load

	done     chan struct{} // closed when the load is let through, or has lost its place
	lost     bool          // its place was taken for an earlier deadline; set before done is closed
	changed  chan struct{} // holds one when deadline and until have changed
	position int           // in requestQueue.waiting, see heapOf
}

func newWaiter(deadline, until time.Time) *waiter {
	return &waiter{deadline: deadline, until: until, done: make(chan struct{}), changed: make(chan struct{}, 1)}
}

func (w *waiter) before(other *waiter) bool { return w.deadline.Before(other.deadline) }
func (w *waiter) place() *int               { return &w.position }

// maxPromise bounds how long a refused request is told to stay away, and so how far
// into the future token requests are promised.
const maxPromise = time.Minute

func newRequestQueue(name string, rate float64, patience time.Duration) *requestQueue {
	return &requestQueue{name: name, rate: rate, patience: patience, free: max(rate, 1), counted: time.Now()}
}

// count brings q.free up to date. q.mu is held.
func (q *requestQueue) count() {
	now := time.Now()
	q.free = min(q.free+now.Sub(q.counted).Seconds()*q.rate, max(q.rate, 1))
	q.counted = now
}

// lasts returns how long n token requests take at the rate of q.
func (q *requestQueue) lasts(n float64) time.Duration {
	return time.Duration(n / q.rate * float64(time.Second))
}

// tryPass lets a load through if it need not wait, and reports whether it did.
func (q *requestQueue) tryPass() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count()
	if len(q.waiting) > 0 || q.free < 1 {
		return false
	}
	q.free--
	return true
}

// giveBack says that a load that was let through has made no token request. The first that waits
// may make one in its place.
func (q *requestQueue) giveBack() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free++
	q.letThrough()
}

// letThrough lets the first load through that waits, if there is one and if it may go. q.mu is held.
func (q *requestQueue) letThrough() {
	if len(q.waiting) > 0 && q.lasts(1-q.free) <= 0 {
		q.free--
		close(heap.Pop(&q.waiting).(*waiter).done)
	}
}

// pass blocks until w is let through. Its error is a *deferred if that does not come
// about by w.until, or surely will not, and else that of ctx. start runs a function in
// the background.
func (q *requestQueue) pass(ctx context.Context, w *waiter, start func(func()) bool) error {
	q.mu.Lock()
	q.count()
	if wait := q.expected(w); wait > time.Until(w.until) {
		q.mu.Unlock()
		return q.refuse(wait)
	}
	heap.Push(&q.waiting, w)
	if !q.serving {
		q.serving = start(func() { q.serve(ctx) })
	}
	q.mu.Unlock()
	defer q.drop(w)
	for {
		q.mu.Lock()
		until := w.until
		q.mu.Unlock()
		// Never of no length: two of those at once, in a bubble of testing/synctest, crash
		// the race detector of Go 1.26.
		timer := time.NewTimer(max(time.Until(until), 1))
		select {
		case <-w.done:
			timer.Stop()
			if w.lost {
				return q.refuse(q.patience)
			}
			return nil
		case <-w.changed:
			timer.Stop()
		case <-timer.C:
			if q.drop(w) {
				return q.refuse(q.patience)
			} // else it was let through just now
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// expected returns how long w would have to wait. q.mu is held.
func (q *requestQueue) expected(w *waiter) time.Duration {
	before := 1.0
	for _, other := range q.waiting {
		if other.before(w) {
			before++
		}
	}
	return q.lasts(max(before-q.free, 0))
}

// drop takes w out of the queue. It reports false if w was not in it.
func (q *requestQueue) drop(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.position == 0 {
		return false
	}
	heap.Remove(&q.waiting, w.position-1)
	return true
}

// hurry gives w the deadline of other if that is earlier, because a request, whose place
// other would be, waits for its load now.
func (q *requestQueue) hurry(w, other *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w.asked = w.asked || other.asked
	if !other.before(w) {
		return
	}
	w.deadline, w.until = other.deadline, other.until
	if w.position != 0 {
		heap.Fix(&q.waiting, w.position-1)
	}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// horizon returns how long the load of w can wait for its turn within a budget, and how long
// it can if the time has come that was promised to its key. asked is whether a request waits
// for the load, which then is to be promised a time if there is no turn.
func (q *requestQueue) horizon(w *waiter) (wait, promised time.Duration, asked bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	late := time.Since(w.deadline)
	switch wait = q.patience + min(late, q.patience); {
	case late < 0:
		return q.patience / 10, q.patience / 10, w.asked
	case w.asked:
		return wait, 2 * q.patience, true
	}
	wait = min(wait, max(time.Until(w.until), 0))
	return wait, wait, false
}

// timeLeft returns how long the load of w can wait in all, and whether a request waits for it.
func (q *requestQueue) timeLeft(w *waiter) (left time.Duration, asked bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return time.Until(w.until), w.asked
}

// makeRoom takes the place of the load with the latest deadline away, if that is later
// than the one given. It reports whether it did.
func (q *requestQueue) makeRoom(deadline time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	var last *waiter
	for _, w := range q.waiting {
		if w.deadline.After(deadline) && (last == nil || last.before(w)) {
			last = w
		}
	}
	if last == nil {
		return false
	}
	heap.Remove(&q.waiting, last.position-1)
	last.lost = true
	close(last.done)
	return true
}

// drained returns how long it takes until all who wait now have been let through.
func (q *requestQueue) drained() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lasts(float64(len(q.waiting)))
}

// refuse returns the error of a load that is not let through, and says when it may come
// again: up to maxPromise ahead no two are told the same time, and a tenth of all token
// requests is not promised.
func (q *requestQueue) refuse(wait time.Duration) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	next := q.promised
	if earliest := now.Add(wait); next.Before(earliest) {
		next = earliest
	}
	next = next.Add(q.lasts(1.1))
	if last := now.Add(maxPromise); next.After(last) {
		next = last
	}
	q.promised = next
	return promised(tooMany(q.name, next.Sub(now)))
}

// serve lets loads through until none waits or ctx ends.
func (q *requestQueue) serve(ctx context.Context) {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.serving = false
			q.mu.Unlock()
			return
		}
		q.count()
		wait := q.lasts(1 - q.free)
		q.letThrough()
		q.mu.Unlock()
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

func tooMany(name string, wait time.Duration) *Error {
	return &Error{RetryAfter: wait, Cause: &upstream.Error{Upstream: name,
		Class: upstream.ClassThrottled, Reason: "more token requests are due than may be made at a time"}}
}
