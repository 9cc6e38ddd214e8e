package cache

import (
	"context"
	"time"
)

// instant is a point in time by both clocks, in nanoseconds. A token's life ends when
// either clock says so: the wall clock may be set back, and the monotonic clock stops
// while the machine is suspended.
type instant struct{ wall, mono int64 }

// now returns the present by both clocks.
func (c *Cache) now() instant { return c.instant(time.Now()) }

// instant returns t, a reading of the clock in this process, by both clocks.
func (c *Cache) instant(t time.Time) instant {
	return instant{t.UnixNano(), int64(t.Sub(c.base))}
}

func (t instant) add(d time.Duration) instant { return instant{t.wall + int64(d), t.mono + int64(d)} }

// reached reports whether t has come by now, by either clock.
func (t instant) reached(now instant) bool { return now.mono >= t.mono || now.wall >= t.wall }

// until returns how far off t is, by the clock that says that it is nearer.
func (t instant) until(now instant) time.Duration {
	return time.Duration(min(t.mono-now.mono, t.wall-now.wall))
}

// sleep blocks for d or until ctx ends, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
