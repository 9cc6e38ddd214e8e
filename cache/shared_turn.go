package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

// want returns what the load takes in the step in which it looks for a shared token: the
// lease if the request queue has let it through, and a turn of the budget with it. A
// request can wait for its own patience, and longer by as much as it has waited so far, up to
// twice that; so can a refresh, once its deadline has passed. Until then its turn must come nearly at
// once, so that hardly any request has to wait behind it.
func (s *sharedLoad) want() shared.Want {
	w := shared.Want{Lease: s.passed}
	if b := s.e.source.budget; b != nil && s.passed {
		w.Budget = b.bucketOf(s.load.credential)
		w.Wait, w.Longest, w.Promise = s.e.source.queue.horizon(s.load.waiter)
	}
	return w
}

// unchecked is the longest wait for a turn after which nobody looks whether the turn still
// stands. A load that is later than that by itself has no turn any more.
const unchecked = 100 * time.Millisecond

// errVoid is what is left of a turn that a stop of the fleet took away, or at whose time
// this process stood still: another may be had.
var errVoid = errors.New("the turn is void")

// awaitTurn records the turn t of the budget and blocks until it has come. If t is refused, it
// returns at once with an error: a request is told when to come again, and a refresh tries
// again by itself.
func (s *sharedLoad) awaitTurn(ctx context.Context, t shared.Turn) error {
	b := s.e.source.budget
	if b == nil {
		return nil
	}
	left, asked := s.e.source.queue.timeLeft(s.load.waiter)
	b.record(t, asked)
	if t.Refused {
		return s.noTurn(t, left, asked)
	}
	s.probe = t.Doubted || t.Stopped != ""
	if t.Wait == 0 {
		return nil
	}
	began := time.Now()
	b.waiting.Add(1)
	b.metrics.Waiting.Inc()
	err := sleep(ctx, t.Wait)
	b.waiting.Add(-1)
	b.metrics.Waiting.Dec()
	switch {
	case err != nil:
		return err
	case time.Since(began) > t.Wait+unchecked:
		return errVoid
	case t.Wait <= unchecked:
		return nil
	}
	now, stands := b.store.Stands(ctx, b.bucketOf(s.load.credential), t)
	switch {
	case now.Refused:
		b.record(now, asked)
		return s.noTurn(now, left, asked)
	case !stands:
		return errVoid
	}
	return nil
}

// maxVoids bounds how often a load asks for another turn because its own was void.
const maxVoids = 2

// anotherTurn begins the load anew, after its turn was void.
func (s *sharedLoad) anotherTurn(ctx context.Context) (loadResult, error) {
	if s.voids++; s.voids > maxVoids {
		left, asked := s.e.source.queue.timeLeft(s.load.waiter)
		return loadResult{}, s.noTurn(shared.Turn{Refused: true, Wait: time.Second}, left, asked)
	}
	return s.run(ctx)
}

// takeTurnWithoutLease takes a turn of the budget without a lease, and blocks until it has come.
// answered is whether Redis answered when it was asked last.
func (s *sharedLoad) takeTurnWithoutLease(ctx context.Context, answered bool) error {
	w := s.want()
	if w.Budget == nil {
		return nil
	}
	t := shared.Turn{Without: true}
	if answered {
		if taken, err := s.store.Take(ctx, s.place, w); err == nil {
			t = taken
		}
	}
	return s.awaitTurn(ctx, t)
}

// noTurn returns the error of a load that gets no turn. One that no request waits for
// tries again the later, the more time is left until its token is due, and the more loads
// of this replica are under way.
func (s *sharedLoad) noTurn(t shared.Turn, left time.Duration, asked bool) error {
	reason := tooMany(s.e.key.Upstream, t.Wait)
	if t.Stopped != "" {
		reason = &Error{RetryAfter: t.Wait, Cause: &upstream.Error{Upstream: s.e.key.Upstream,
			Class: t.Stopped, Reason: "as another replica was told; few token requests are made until it works again"}}
	}
	if !asked {
		wait := max(t.Wait, left/32, time.Duration(s.e.source.loads.Load())*10*time.Millisecond)
		return &deferred{reason: reason, again: time.Duration((0.5 + rand.Float64()) * float64(wait))}
	}
	return promised(reason)
}

// credentialStop is how long the fleet stops for a credential that is refused.
const credentialStop = 10 * time.Second

// reportToFleet tells all replicas that a load for e has failed with err, if that says
// something of the token endpoint.
func (c *Cache) reportToFleet(e *entry, l *load, err error) {
	b, failed := e.source.budget, causeOf(err)
	var parent *Error
	if b == nil || failed == nil || decided(failed.Class) || errors.As(err, &parent) {
		return
	}
	class, wait := failed.Class, max(failed.RetryAfter, probePause())
	switch class {
	case upstream.ClassCredential:
		wait = credentialStop
	case upstream.ClassMalformed:
		class = upstream.ClassUnavailable
	}
	b.store.Failed(c.afterwards(), b.bucketOf(l.credential), class, wait)
}
