package shared

import (
	"sync/atomic"
	"time"
)

// clock is the clock of Redis as far as this process knows it. All replicas date
// what they share by it, so that their own clocks need not agree: whoever can only
// write to Redis cannot set it. Until Redis has told its time it is our own.
type clock struct {
	offset atomic.Int64 // what to add to our wall clock, in nanoseconds
}

// learn takes the time that Redis told in the answer to a question that was asked
// at began, the zero time if it told none. It returns the time of
// Redis, as it was told or else as it was at began.
func (c *clock) learn(told, began time.Time) time.Time {
	if told.IsZero() {
		return began.Add(c.ahead())
	}
	// Redis looked at its clock some time between the question and now.
	c.offset.Store(int64(told.Sub(began.Round(0)) - time.Since(began)/2))
	return told
}

// ahead returns how far the clock of Redis is ahead of ours.
func (c *clock) ahead() time.Duration { return time.Duration(c.offset.Load()) }
