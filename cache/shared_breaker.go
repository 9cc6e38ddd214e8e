package cache

import (
	"sync"
	"time"
)

// breaker keeps a Redis that fails from costing anything: after a few failures
// in a row it is left alone for a while, then tried with one operation.
type breaker struct {
	mu       sync.Mutex // guards all below
	failures int        // in a row
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

// allow reports whether Redis may be asked now. If so, report must follow.
func (b *breaker) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return true
	}
	if b.probing || time.Now().Before(b.until) {
		return false
	}
	b.probing = true
	return true
}

// report says how the operation went; cause names a failure. It returns true
// when that opened or closed the breaker.
func (b *breaker) report(ok bool, cause string) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = true
	if ok {
		changed = !b.until.IsZero()
		b.failures, b.until, b.steps, b.probing = 0, time.Time{}, 0, false
		return changed
	}
	b.failures++
	b.cause = cause
	if !b.probing && (b.failures < failuresToOpen || !b.until.IsZero()) {
		return false // too few, or of an operation that began before the breaker opened
	}
	if changed = b.until.IsZero(); changed {
		b.since = time.Now()
	}
	b.until = time.Now().Add(backoff(500*time.Millisecond, maxOpen, b.steps))
	b.steps++
	b.probing = false
	return changed
}

// open reports whether Redis is being left alone.
func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.until.IsZero()
}
