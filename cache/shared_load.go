package cache

import (
	"context"
	"math/rand/v2"
	"time"

	"token-sidecar/cache/shared"
)

// flightTime bounds a whole flight: a wait for another replica's lease and
// token request, and then our own.
func (c *Cache) flightTime() time.Duration {
	if c.config.Shared == nil {
		return c.config.TokenTimeout
	}
	return shared.LeaseTime + 2*c.config.TokenTimeout + time.Second
}

// peekPause is the least time between two looks at the shared tokens for a key
// that may not be fetched now.
const peekPause = 500 * time.Millisecond

// mayPeek reports whether a flight makes sense although no token request may
// be made: another replica may have got through. e.mu is held.
func (c *Cache) mayPeek(e *entry, now instant) bool {
	if c.config.Shared == nil || !c.config.Shared.Available() || !e.peekAfter.reached(now) {
		return false
	}
	e.peekAfter = now.add(peekPause)
	return true
}

const (
	firstPoll = 10 * time.Millisecond
	maxPoll   = 100 * time.Millisecond
)

// loadShared adopts the shared token if it is better than ours, else takes the
// lease and makes the token request, else waits for whoever holds the lease.
// If Redis fails in any way, it makes the token request alone.
func (c *Cache) loadShared(ctx context.Context, e *entry, f *flight) (loaded, error) {
	store := c.config.Shared
	p := store.Place(f.credential, e.key)
	// The first look and the first attempt to take the lease together take no
	// longer than one operation may.
	patience, cancel := context.WithTimeout(ctx, store.Timeout())
	defer cancel()
	got, err := store.Get(patience, p)
	if err == nil && c.better(e, f, got) {
		return c.adopt(got), nil
	}
	if f.forbidden != nil {
		return loaded{}, f.forbidden
	}
	giveUp := time.Now().Add(shared.LeaseTime + c.config.TokenTimeout)
	for poll := firstPoll; err == nil; poll = min(poll*3/2, maxPoll) {
		var a shared.Acquired
		if a, err = store.Acquire(patience, p); err != nil {
			if a.Lease != nil {
				return c.fetchLeased(ctx, e, a.Lease) // the lease may be ours, or another's
			}
			break
		}
		patience = ctx // Redis works
		if c.better(e, f, a.Found) {
			l := c.adopt(a.Found)
			if a.Lease != nil {
				l.after = func() { a.Lease.Release(c.afterwards()) }
			}
			return l, nil
		}
		if a.Lease != nil {
			return c.fetchLeased(ctx, e, a.Lease)
		}
		if a.Left < 0 || a.Left > shared.LeaseTime || time.Now().After(giveUp) {
			break // a lease that no replica of ours made, or that stands too long
		}
		if err := sleep(ctx, rand.N(poll)+poll/2); err != nil {
			return loaded{}, err
		}
	}
	l, err := c.fetch(ctx, e)
	if err == nil {
		l.after = func() { store.Add(c.afterwards(), p, l.held.token) }
	}
	return l, err
}

// fetchLeased makes the token request under the lease. A renewal under way at its
// end delays nobody: only what is done afterwards waits for it.
func (c *Cache) fetchLeased(ctx context.Context, e *entry, lease *shared.Lease) (loaded, error) {
	renewing, stop := context.WithCancel(c.afterwards())
	defer stop()
	renewed := make(chan struct{})
	if !c.start(func() {
		defer close(renewed)
		lease.Renew(renewing)
	}) {
		close(renewed)
	}
	l, err := c.fetch(ctx, e)
	l.after = func() {
		<-renewed
		if err != nil {
			lease.Release(c.afterwards())
		} else {
			lease.Store(c.afterwards(), l.held.token)
		}
	}
	return l, err
}

// afterwards is the context of what is done for the other replicas: it does not
// end with the cache, and each operation has its own deadline.
func (c *Cache) afterwards() context.Context { return context.WithoutCancel(c.ctx) }

// better reports whether a shared token is better than what we have: usable,
// newer than the one we hold, and not one that a target refused. Older ones are
// replays, by a restored Redis or by somebody who can write to it.
func (c *Cache) better(e *entry, f *flight, got shared.Found) bool {
	if got.Token.IsZero() {
		return false
	}
	now := c.now()
	if hold(got.Token, got.Life, got.Left, now, c.config.RefreshAhead).invalidAt.reached(now) {
		return false
	}
	e.mu.Lock()
	rejected := f.rejected
	e.mu.Unlock()
	if !rejected.IsZero() && (got.Token.Same(rejected) || !got.Token.Issued().After(rejected.Issued())) {
		return false
	}
	h := e.held.Load()
	return h == nil || h.invalidAt.reached(now) || got.Token.Issued().After(h.token.Issued())
}

func (c *Cache) adopt(got shared.Found) loaded {
	return loaded{held: hold(got.Token, got.Life, got.Left, c.now(), c.ahead())}
}

// sleep waits for d or the end of ctx, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
