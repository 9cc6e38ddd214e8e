package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

// lookPause is the least time between two looks at the shared tokens for a key for which
// no token request may be made now.
const lookPause = 500 * time.Millisecond

// allowLook reports whether a load makes sense although no token request may be made:
// another replica may have got through. It does so once in a lookPause. e.mu is held.
func (c *Cache) allowLook(e *entry, now instant) bool {
	if c.config.Shared == nil || !c.config.Shared.Available() || !e.lookAfter.reached(now) {
		return false
	}
	e.lookAfter = now.add(lookPause)
	return true
}

// sharedLoad is one load by way of the tokens that replicas share. Its own goroutine
// alone uses it.
type sharedLoad struct {
	c        *Cache
	e        *entry
	load     *load
	store    *shared.Store
	place    shared.Place
	known    shared.Version // of the value that is there and of no use
	leftover *cachedToken   // a shared token that has too little life left for what it is needed for
	passed   bool           // the request queue has let the load through
	others   bool           // names of a ring that is being rotated are still to be looked at
	voids    int            // how many turns of the budget were void
	probe    bool           // replicas have told of failures, and the token request shows whether there are more
}

// loadShared takes the shared token if it is better than ours, else takes the lease and
// makes the token request, else waits for whoever holds the lease. If Redis fails in any
// way, it makes the token request without a lease.
func (c *Cache) loadShared(ctx context.Context, e *entry, l *load) (loadResult, error) {
	store := c.config.Shared
	s := &sharedLoad{c: c, e: e, load: l, store: store, place: store.Place(l.credential, e.key)}
	if t := e.token.Load(); t != nil {
		s.known = t.version
	} else {
		s.others = store.Rotating()
	}
	s.passed = l.forbidden == nil && e.source.queue.tryPass()
	r, err := s.run(ctx)
	if s.passed && !r.asked {
		e.source.queue.giveBack()
	}
	if err != nil && r.token == nil {
		r.token = s.leftover
	}
	return r, err
}

// run looks for the shared token until there is one, or until the load may make its token
// request, and makes that.
func (s *sharedLoad) run(ctx context.Context) (loadResult, error) {
	patience, cancel := s.patience(ctx)
	defer cancel()
	wait, useless := leaseWait{longest: s.longestLease(), poll: firstPoll}, 0
	for {
		want := s.want()
		want.Lease = want.Lease && !s.others
		looked, err := s.store.Look(patience, s.place, s.known, want)
		if err != nil {
			return s.withoutLook(ctx, patience, looked.Lease, err)
		}
		if s.better(&looked.Found) {
			return s.adopt(looked.Found), nil
		}
		switch {
		case looked.Found.Version != shared.Version{}:
			// Something else is there and of no use. The next look passes over it.
			s.known = looked.Found.Version
			if useless++; useless > maxUseless {
				return s.fetchWithoutLease(ctx, true)
			}
		case s.others:
			s.others = false
			if found, err := s.store.GetUnderOtherKeys(patience, s.place); err == nil && s.better(&found) {
				return s.adopt(found), nil
			}
		case s.load.forbidden != nil:
			return loadResult{}, s.load.forbidden
		case !s.passed:
			if err := s.awaitQueue(ctx); err != nil {
				return loadResult{}, err
			}
			patience = ctx // Redis has answered, and whoever waits has waited for other loads since
		case looked.Lease != nil:
			return s.fetchInTurn(ctx, looked)
		case looked.Turn.Refused:
			return loadResult{}, s.awaitTurn(ctx, looked.Turn)
		case !looked.Busy || wait.heldTooLong(looked.Holder):
			return s.fetchWithoutLease(ctx, true) // what stands there as the lease is none of ours
		case wait.inVain():
			return loadResult{}, &deferred{reason: busy(s.e.key.Upstream)}
		default:
			patience = ctx // Redis works
			if err := wait.sleep(ctx, looked.Begins); err != nil {
				return loadResult{}, err
			}
		}
	}
}

// patience returns the context of the questions to Redis until it has shown that it
// works: if a request waits, all of them together take no longer than one may.
func (s *sharedLoad) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, asked := s.e.source.queue.timeLeft(s.load.waiter); s.load.refresh && !asked {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.store.Timeout())
}

// maxUseless bounds how often a load passes over values that are of no use and change
// while it looks.
const maxUseless = 3

// awaitQueue blocks until the load may make its token request.
func (s *sharedLoad) awaitQueue(ctx context.Context) error {
	err := s.c.awaitQueue(ctx, s.e, s.load)
	s.passed = err == nil
	return err
}

// better reports whether a shared token is better than what we have: with the life that is
// needed, not one that a target refused, and newer than the one in memory if that is still
// usable. An older one is a replay, by a restored Redis or by somebody who can write to it. A
// token that lacks nothing but life is kept as leftover. If it is better, it is bound to the
// client certificate that it was issued under.
func (s *sharedLoad) better(found *shared.Found) bool {
	if found.Token.IsZero() {
		return false
	}
	token, inUse := s.e.source.Bind(found.Token, s.load.credential)
	if !inUse {
		return false
	}
	found.Token = token
	now := s.c.now()
	candidate := newCachedToken(found.Token, found.Life, found.Left, now, s.c.config.RefreshAhead)
	s.e.mu.Lock()
	excluded := s.e.rejections.exclude(found.Token)
	s.e.mu.Unlock()
	t := s.e.token.Load()
	if excluded || !candidate.usable(now) || t.usable(now) && !found.Token.Issued().After(t.token.Issued()) {
		return false
	}
	if !s.load.need.metBy(candidate, now) {
		candidate.version = found.Version
		s.leftover = candidate
		return false
	}
	return true
}

// adopt returns a shared token as the result of the load.
func (s *sharedLoad) adopt(found shared.Found) loadResult {
	t := newCachedToken(found.Token, found.Life, found.Left, s.c.now(), s.c.ahead())
	t.version = found.Version
	return loadResult{token: t}
}

// withoutLook goes on after a look has failed with err. If Redis' answer to an attempt to
// take the lease is missing, lease is what may be ours.
func (s *sharedLoad) withoutLook(ctx, patience context.Context, lease *shared.Lease, err error) (loadResult, error) {
	if lease != nil {
		if b := s.e.source.budget; b != nil {
			b.record(shared.Turn{Without: true}, false)
		}
		return s.fetchLeased(ctx, lease)
	}
	if errors.Is(err, shared.ErrNoScripts) {
		if found, err := s.store.Get(patience, s.place); err == nil && s.better(&found) {
			return s.adopt(found), nil
		}
	}
	return s.fetchWithoutLease(ctx, false)
}

// leaseWait is the wait for a lease that another replica holds.
type leaseWait struct {
	longest time.Duration // that a replica may hold a lease
	poll    time.Duration // until the next look, about
	began   time.Time
	holder  string
	since   time.Time // when the holder was first seen
}

const (
	firstPoll = 10 * time.Millisecond
	maxPoll   = 100 * time.Millisecond
)

// sleep blocks until it is time for the next look; begins is how long the holder still
// waits for its turn.
func (w *leaseWait) sleep(ctx context.Context, begins time.Duration) error {
	pause := begins + rand.N(w.poll) + w.poll/2
	w.poll = min(w.poll*3/2, maxPoll)
	return sleep(ctx, pause)
}

// heldTooLong reports whether the holder has had the lease for longer than any replica
// may: then it is none of ours.
func (w *leaseWait) heldTooLong(holder string) bool {
	if w.holder != holder {
		w.holder, w.since = holder, time.Now()
	}
	return time.Since(w.since) > w.longest+shared.LeaseTime
}

// inVain reports whether the wait has been as long as it can be of use. It does not end in
// a token request without the lease: all who wait would make one together, of an endpoint
// that hangs.
func (w *leaseWait) inVain() bool {
	if w.began.IsZero() {
		w.began = time.Now()
	}
	return time.Since(w.began) >= w.longest+2*shared.LeaseTime
}

// longestLease returns how long a replica may hold a lease that it renews: for its token
// request, and before that for its turn within the budget.
func (s *sharedLoad) longestLease() time.Duration {
	if s.e.source.budget == nil {
		return s.c.config.TokenTimeout
	}
	return s.c.config.TokenTimeout + 2*s.e.source.queue.patience
}

func busy(name string) *Error {
	return &Error{RetryAfter: time.Second, Cause: &upstream.Error{Upstream: name,
		Class: upstream.ClassUnavailable, Reason: "other replicas ask for this token, and have got none so far"}}
}
