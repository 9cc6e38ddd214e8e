package proxy

import (
	"sync/atomic"
	"time"
)

// stall ends a request on the general way of which the target takes nothing for too long:
// net/http bounds the wait for an answer only once all of the request is sent. A nil
// *stall ends nothing. Its methods are safe for concurrent use.
type stall struct {
	limit time.Duration
	timer *time.Timer
	ended atomic.Bool // it has ended the request
}

// newStall returns a stall that calls cut, and does not run yet. If limit is zero it
// returns nil.
func newStall(limit time.Duration, cut func()) *stall {
	if limit <= 0 {
		return nil
	}
	s := &stall{limit: limit}
	s.timer = time.AfterFunc(limit, func() {
		s.ended.Store(true)
		cut()
	})
	s.timer.Stop()
	return s
}

// restart gives the target its time anew, and more beside it.
func (s *stall) restart(more time.Duration) {
	if s != nil {
		s.timer.Reset(s.limit + more)
	}
}

// stop stops the time.
func (s *stall) stop() {
	if s != nil {
		s.timer.Stop()
	}
}

// hasEnded reports whether the request was ended.
func (s *stall) hasEnded() bool { return s != nil && s.ended.Load() }
