package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

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

// sharedLoad is one load by way of the tokens that replicas share.
type sharedLoad struct {
	c        *Cache
	e        *entry
	f        *flight
	store    *shared.Store
	place    shared.Place
	known    shared.Version // of the value that is there and of no use
	leftover *held          // a shared token that has too little life left for what it is needed for
	turn     bool           // whether a turn was taken
}

// loadShared adopts the shared token if it is better than ours, else takes the
// lease and makes the token request, else waits for whoever holds the lease.
// If Redis fails in any way, it makes the token request alone.
func (c *Cache) loadShared(ctx context.Context, e *entry, f *flight) (loaded, error) {
	store := c.config.Shared
	l := &sharedLoad{c: c, e: e, f: f, store: store, place: store.Place(f.credential, e.key)}
	if h := e.held.Load(); h != nil {
		l.known = h.version
	}
	l.turn = f.forbidden == nil && e.source.line.now()
	got, err := l.run(ctx)
	if l.turn && !got.asked {
		e.source.line.giveBack()
	}
	if err != nil && got.held == nil {
		got.held = l.leftover
	}
	return got, err
}

func (l *sharedLoad) run(ctx context.Context) (loaded, error) {
	// Until Redis has shown that it works, all questions to it together take no
	// longer than one may, if a request waits.
	patience, cancel := ctx, context.CancelFunc(func() {})
	if !l.f.refresh {
		patience, cancel = context.WithTimeout(ctx, l.store.Timeout())
	}
	defer cancel()
	var busy busyLease
	for poll, surprises := firstPoll, 0; ; {
		looked, err := l.store.Look(patience, l.place, l.known, l.turn)
		if err != nil {
			return l.withoutScript(ctx, patience, looked.Lease, err)
		}
		if l.better(looked.Found) {
			return loaded{held: l.c.adopt(looked.Found)}, nil
		}
		switch {
		case looked.Found.Version != shared.Version{}:
			// Something else is there and of no use. The next look passes over it.
			l.known = looked.Found.Version
			if surprises++; surprises > maxSurprises {
				return l.alone(ctx)
			}
			continue
		case l.f.forbidden != nil:
			return loaded{}, l.f.forbidden
		case !l.turn:
			if err := l.takeTurn(ctx); err != nil {
				return loaded{}, err
			}
			patience = ctx // the wait for the turn is over, and that for Redis has hardly begun
			continue
		case looked.Lease != nil:
			return l.leased(ctx, patience, looked.Lease)
		case !looked.Busy || busy.tooLong(looked.Holder, l.c.config.TokenTimeout):
			return l.alone(ctx) // none of our replicas holds the lease
		case busy.patient(l.c.config.TokenTimeout):
			patience = ctx // Redis works
			if err := sleep(ctx, rand.N(poll)+poll/2); err != nil {
				return loaded{}, err
			}
			poll = min(poll*3/2, maxPoll)
		default:
			return loaded{}, &unasked{reason: busyError(l.e.key.Upstream)}
		}
	}
}

// maxSurprises bounds how often a load passes over values that are of no use and
// change while it looks.
const maxSurprises = 3

// busyLease is the wait for a lease that others hold.
type busyLease struct {
	began  time.Time // of the wait
	holder string
	since  time.Time // when the holder was first seen
}

// tooLong notes who holds the lease, and reports whether that holder has had it for
// longer than any replica may: then it is none.
func (b *busyLease) tooLong(holder string, tokenTimeout time.Duration) bool {
	if b.holder != holder {
		b.holder, b.since = holder, time.Now()
	}
	return time.Since(b.since) > tokenTimeout+shared.LeaseTime
}

// patient reports whether to wait on. A wait that was in vain does not end in a token
// request without the lease: all who wait would make one together, of an endpoint that
// hangs.
func (b *busyLease) patient(tokenTimeout time.Duration) bool {
	if b.began.IsZero() {
		b.began = time.Now()
	}
	return time.Since(b.began) < tokenTimeout+2*shared.LeaseTime
}

func busyError(name string) *Error {
	return &Error{RetryAfter: time.Second, Cause: &upstream.Error{Upstream: name,
		Class: upstream.ClassUnavailable, Reason: "other replicas ask for this token, and have got none so far"}}
}

// takeTurn waits until the load may make its token request.
func (l *sharedLoad) takeTurn(ctx context.Context) error {
	err := l.c.takeTurn(ctx, l.e, l.f)
	l.turn = err == nil
	return err
}

// withoutScript goes on after a look has failed with err. If Redis' answer to an
// attempt to take the lease is missing, lease is what may be ours.
func (l *sharedLoad) withoutScript(ctx, patience context.Context, lease *shared.Lease, err error) (loaded, error) {
	if lease != nil {
		return l.fetchLeased(ctx, lease)
	}
	if errors.Is(err, shared.ErrNoScripts) {
		if found, err := l.store.Get(patience, l.place); err == nil && l.better(found) {
			return loaded{held: l.c.adopt(found)}, nil
		}
	}
	if l.f.forbidden != nil {
		return loaded{}, l.f.forbidden
	}
	return l.alone(ctx)
}

// alone makes the token request without a lease.
func (l *sharedLoad) alone(ctx context.Context) (loaded, error) {
	if !l.turn {
		if err := l.takeTurn(ctx); err != nil {
			return loaded{}, err
		}
	}
	got, err := l.c.fetch(ctx, l.e)
	if err == nil {
		sealed := l.seal(got)
		got.after = func() { l.store.Add(l.c.afterwards(), l.place, sealed, l.known) }
	}
	return got, err
}

// leased goes on with the lease: with a token that lies under a name of a ring that is
// being rotated, if there is one, and else with a token request.
func (l *sharedLoad) leased(ctx, patience context.Context, lease *shared.Lease) (loaded, error) {
	if l.e.held.Load() == nil {
		if found, err := l.store.Other(patience, l.place); err == nil && l.better(found) {
			return loaded{held: l.c.adopt(found), after: func() { lease.Release(l.c.afterwards()) }}, nil
		}
	}
	return l.fetchLeased(ctx, lease)
}

// fetchLeased makes the token request under the lease. A renewal under way at its
// end delays nobody: only what is done afterwards waits for it.
func (l *sharedLoad) fetchLeased(ctx context.Context, lease *shared.Lease) (loaded, error) {
	renewing, stop := context.WithCancel(l.c.afterwards())
	defer stop()
	renewed := make(chan struct{})
	if !l.c.start(func() {
		defer close(renewed)
		lease.Renew(renewing)
	}) {
		close(renewed)
	}
	got, err := l.c.fetch(ctx, l.e)
	var sealed shared.Sealed
	if err == nil {
		sealed = l.seal(got)
	}
	got.after = func() {
		<-renewed
		switch cause := causeOf(err); {
		case err == nil:
			lease.Store(l.c.afterwards(), sealed)
		case cause != nil && decided(cause.Class) && l.replaces():
			// The target refuses what is shared and the provider gives no other.
			lease.Forget(l.c.afterwards(), l.known)
		default:
			lease.Release(l.c.afterwards())
		}
	}
	return got, err
}

// replaces reports whether a target refused the token that the load is to replace.
func (l *sharedLoad) replaces() bool {
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	return !l.f.rejected.IsZero()
}

// seal returns the token that was fetched as it is to be shared.
func (l *sharedLoad) seal(got loaded) shared.Sealed {
	sealed := l.store.Seal(l.place, got.held.token)
	got.held.version = sealed.Version
	return sealed
}

// afterwards is the context of what is done for the other replicas: it does not
// end with the cache, and each operation has its own deadline.
func (c *Cache) afterwards() context.Context { return context.WithoutCancel(c.ctx) }

// better reports whether a shared token is better than what we have: with the life
// that is needed, newer than the one we hold, and not one that a target refused. Older
// ones are replays, by a restored Redis or by somebody who can write to it.
func (l *sharedLoad) better(got shared.Found) bool {
	if got.Token.IsZero() {
		return false
	}
	now := l.c.now()
	candidate := hold(got.Token, got.Life, got.Left, now, l.c.config.RefreshAhead)
	l.e.mu.Lock()
	barred := l.e.rejections.bars(got.Token)
	l.e.mu.Unlock()
	h := l.e.held.Load()
	usable := h != nil && needUsable.met(h, now)
	if barred || !needUsable.met(candidate, now) ||
		usable && !got.Token.Issued().After(h.token.Issued()) {
		return false
	}
	if !l.f.need.met(candidate, now) {
		l.leftover = candidate
		return false
	}
	return true
}

func (c *Cache) adopt(got shared.Found) *held {
	h := hold(got.Token, got.Life, got.Left, c.now(), c.ahead())
	h.version = got.Version
	return h
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
