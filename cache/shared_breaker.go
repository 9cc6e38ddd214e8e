package cache

import (
	"sync"
	"time"
)

// breaker keeps a Redis that fails from costing anything: after a few failures
// in a row it is left alone for a while, then tried with one operation. What was
// under way at a failure tells nothing new: many operations fail together when
// Redis, or this process, stands still for a moment.
type breaker struct {
	mu       sync.Mutex // guards all below
	failures int        // in a row
	counted  int        // failures so far
	until    time.Time  // zero: closed
	steps    int
	probing  bool
	asked    bool      // Redis was, since the start
	since    time.Time // when the breaker opened last
	cause    string    // of the last failure
}

const (
	failuresToOpen = 3
	maxOpen        = 3 * time.Second // so that a fleet shares again soon after a recovery
)

// allow reports whether Redis may be asked now. If so, giveUp must follow, after
// report if it is known how the operation went. Both are told when it began: how
// many failures were counted by then.
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
	b.until = time.Now().Add(backoff(500*time.Millisecond, maxOpen, b.steps))
	b.steps++
	b.probing = false
	return changed
}

// giveUp ends an operation. One that was broken off, and not reported, tells
// nothing.
func (b *breaker) giveUp(began int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if began == b.counted {
		b.probing = false
	}
}
