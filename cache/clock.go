package cache

import (
	"context"
	"time"

	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

// instant is a point in time by both clocks, in nanoseconds. A life ends when
// either clock says so: the wall clock may be set back, and the monotonic
// clock stops while the machine is suspended.
type instant struct{ wall, mono int64 }

func (c *Cache) now() instant { return c.instant(time.Now()) }

// instant returns t, a reading of the clock in this process, by both clocks.
func (c *Cache) instant(t time.Time) instant {
	return instant{t.UnixNano(), int64(t.Sub(c.base))}
}

func (t instant) add(d time.Duration) instant { return instant{t.wall + int64(d), t.mono + int64(d)} }

// reached reports whether t has come by now.
func (t instant) reached(now instant) bool { return now.mono >= t.mono || now.wall >= t.wall }

// until returns how far off t is, by the clock that says that it is nearer.
func (t instant) until(now instant) time.Duration {
	return time.Duration(min(t.mono-now.mono, t.wall-now.wall))
}

// held is a token and the bounds of its states. It never changes.
type held struct {
	staleAt   instant // from here on it is replaced in the background
	invalidAt instant // from here on it is not used
	token     upstream.Token
	life      time.Duration  // from issue to expiry
	version   shared.Version // of the value in Redis, if it is shared
}

// maxSkew is taken off a token's end for whole-second clocks, drift and the
// time between the look-up and the target's check; at most a tenth of the life.
const maxSkew = 2 * time.Second

// hold computes the states of a token of which left is left. ahead is the
// fraction of its life in which it is replaced.
func hold(token upstream.Token, life, left time.Duration, now instant, ahead float64) *held {
	invalid := left - min(maxSkew, life/10)
	stale := min(left-time.Duration(ahead*float64(life)), invalid)
	return &held{staleAt: now.add(stale), invalidAt: now.add(invalid), token: token, life: life}
}

// holdNew is hold for a token that was issued by our own clock, in a token request
// that began at began. If the wall clock was set back since, that is no life gained.
func holdNew(token upstream.Token, began, now instant, ahead float64) *held {
	setBack := max((now.mono-began.mono)-(now.wall-began.wall), 0)
	left := time.Duration(token.Expiry().UnixNano() - now.wall - setBack)
	return hold(token, token.Expiry().Sub(token.Issued()), left, now, ahead)
}

// sleep waits for d or the end of ctx, whose error it returns.
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
