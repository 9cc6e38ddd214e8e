package shared

import (
	"math/rand/v2"
	"sync"
	"time"
)

// breaker keeps a Redis that fails from costing anything: after a few failures
// in a row Redis is left alone for a while, and is then tried with one operation.
// The breaker is closed while Redis is in use, and open while it is left alone.
// An operation that was under way at a failure tells nothing new when it ends:
// many operations fail together when Redis, or this process, stands still for a
// moment.
type breaker struct {
	mu       sync.Mutex // guards all below
	failures int        // in a row
	counted  int        // failures since the start
	until    time.Time  // when Redis may be tried again; zero while closed
	steps    int        // how often the breaker was opened or a trial failed, in a row
	probing  bool       // the one operation that tries Redis is under way
	asked    bool       // whether any operation has ended, well or not, since the start
	since    time.Time  // when the breaker opened last
	cause    string     // of the last failure
}

const (
	failuresToOpen = 3
	firstOpen      = 500 * time.Millisecond
	maxOpen        = 3 * time.Second // so that a fleet shares again soon after a recovery
)

// pause returns how long Redis is left alone: firstOpen doubled steps times, at
// most maxOpen, varied by a fifth so that replicas do not come back together.
func pause(steps int) time.Duration {
	d := min(firstOpen<<min(steps, 20), maxOpen)
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// allow reports whether Redis may be asked now. If so, the caller must call giveUp
// when the operation has ended, and before that report if it is known how the
// operation went. Both are told when the operation began: began is how many
// failures were counted by then.
func (b *breaker) allow() (began int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ready() {
		return 0, false
	}
	b.probing = !b.until.IsZero()
	return b.counted, true
}

// mayAllow reports whether allow would say yes.
func (b *breaker) mayAllow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ready()
}

// ready is mayAllow for callers that hold b.mu.
func (b *breaker) ready() bool {
	return b.until.IsZero() || !b.probing && !time.Now().Before(b.until)
}

// report says how the operation went; cause names a failure. It returns true when
// that opened or closed the breaker.
func (b *breaker) report(began int, ok bool, cause string) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = true
	if began != b.counted {
		return false
	}
	if ok {
		changed = !b.until.IsZero()
		b.failures, b.until, b.steps, b.probing = 0, time.Time{}, 0, false
		return changed
	}
	b.failures++
	b.counted++
	b.cause = cause
	if b.failures < failuresToOpen {
		return false
	}
	if changed = b.until.IsZero(); changed {
		b.since = time.Now()
	}
	b.until = time.Now().Add(pause(b.steps))
	b.steps++
	b.probing = false
	return changed
}

// giveUp ends an operation. If it was broken off and not reported, it tells
// nothing about Redis, and another operation may try it.
func (b *breaker) giveUp(began int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if began == b.counted {
		b.probing = false
	}
}
