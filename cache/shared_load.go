package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"token-sidecar/cache/shared"
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
	others   bool           // whether names of a ring that is being rotated are still to be looked at
	voids    int            // how many turns of the budget were void
	probe    bool           // replicas have told of failures, and the token request shows whether there are more
}

// loadShared adopts the shared token if it is better than ours, else takes the
// lease and makes the token request, else waits for whoever holds the lease.
// If Redis fails in any way, it makes the token request alone.
func (c *Cache) loadShared(ctx context.Context, e *entry, f *flight) (loaded, error) {
	store := c.config.Shared
	l := &sharedLoad{c: c, e: e, f: f, store: store, place: store.Place(f.credential, e.key)}
	if h := e.held.Load(); h != nil {
		l.known = h.version
	} else {
		l.others = store.Rotating()
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
		want := l.want()
		want.Lease = want.Lease && !l.others
		looked, err := l.store.Look(patience, l.place, l.known, want)
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
				return l.alone(ctx, true)
			}
			continue
		case l.others:
			l.others = false
			if found, err := l.store.Other(patience, l.place); err == nil && l.better(found) {
				return loaded{held: l.c.adopt(found)}, nil
			}
		case l.f.forbidden != nil:
			return loaded{}, l.f.forbidden
		case !l.turn:
			if err := l.takeTurn(ctx); err != nil {
				return loaded{}, err
			}
			patience = ctx // the wait for the turn is over, and that for Redis has hardly begun
		case looked.Lease != nil:
			return l.leased(ctx, looked)
		case looked.Turn.Refused:
			return loaded{}, l.await(ctx, looked.Turn)
		case !looked.Busy || busy.tooLong(looked.Holder, l.longestHold()):
			return l.alone(ctx, true) // none of our replicas holds the lease
		case busy.patient(l.longestHold()):
			patience = ctx // Redis works
			if err := sleep(ctx, looked.Begins+rand.N(poll)+poll/2); err != nil {
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
		if b := l.e.source.budget; b != nil {
			b.note(shared.Turn{Without: true}, false)
		}
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
	return l.alone(ctx, false)
}

// alone makes the token request without a lease. answered is whether Redis answered when
// it was asked last.
func (l *sharedLoad) alone(ctx context.Context, answered bool) (loaded, error) {
	if !l.turn {
		if err := l.takeTurn(ctx); err != nil {
			return loaded{}, err
		}
		if l.store.Available() {
			return l.run(ctx) // Redis may answer again, and others have the token by now
		}
	}
	if err := l.takeAlone(ctx, answered); err == errVoid {
		return l.anotherTurn(ctx)
	} else if err != nil {
		return loaded{}, err
	}
	got, err := l.c.fetch(ctx, l.e)
	resume := l.resume(err)
	var sealed shared.Sealed
	if err == nil {
		sealed = l.seal(got)
	}
	got.after = func() {
		if err == nil {
			l.store.Add(l.c.afterwards(), l.place, sealed, l.known)
		}
		resume()
	}
	return got, err
}

// resume returns what is to be done after a token request, which has failed with err if
// that is not nil: it may show that the token endpoint works again.
func (l *sharedLoad) resume(err error) func() {
	cause := causeOf(err)
	if works := err == nil || cause != nil && decided(cause.Class); !l.probe || !works {
		return func() {}
	}
	return func() { l.store.Recovered(l.c.afterwards(), l.e.source.budget.of(l.f.credential)) }
}

// leased waits for the turn that came with the lease, and makes the token request.
func (l *sharedLoad) leased(ctx context.Context, looked shared.Looked) (loaded, error) {
	err := l.await(ctx, looked.Turn)
	if err == errVoid {
		looked.Lease.Release(l.c.afterwards())
		return l.anotherTurn(ctx)
	}
	if err != nil {
		return loaded{after: func() { looked.Lease.Release(l.c.afterwards()) }}, err
	}
	return l.fetchLeased(ctx, looked.Lease)
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
	resume := l.resume(err)
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
		resume()
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
