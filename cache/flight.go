package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"token-sidecar/upstream"
)

// flight is one load of one key, which any number of callers wait for. It runs
// on the cache's own context: a caller who leaves fails nobody else.
type flight struct {
	done  chan struct{} // closed at the end; token and err are set before
	token upstream.Token
	err   error

	need       need                 // how much life its token must have left
	refresh    bool                 // of a token that is still usable
	used       bool                 // whether the key was used since the refresh before
	turn       *turn                // to make the token request
	needed     instant              // when the key has no token without this load
	rejected   upstream.Token       // by a target; guarded by the entry's mu
	credential upstream.Fingerprint // in use when the flight began
	generation int                  // of the gate then
	forbidden  error                // why no token request may be made now: only shared tokens are looked for
}

// wait blocks until the flight ends or ctx does.
func (f *flight) wait(ctx context.Context) (upstream.Token, error) {
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return upstream.Token{}, ctx.Err()
	}
}

// launch starts f for e, unless an earlier failure forbids it, or e is gone. e.mu
// is held.
func (c *Cache) launch(e *entry, f *flight, now instant) error {
	if !c.table.take(e) {
		return errGone
	}
	err := c.depart(e, f, now)
	if err != nil {
		e.release()
	}
	return err
}

// errGone says that the table has let an entry go. Its key may have another.
var errGone = errors.New("the entry is gone")

func (c *Cache) depart(e *entry, f *flight, now instant) error {
	f.credential = e.source.Fingerprint()
	entered := false
	err := f.forbidden
	if err == nil {
		err = c.pending(e, f, now)
	}
	if err == nil {
		f.generation, err = e.source.gate.enter(now, f.needed, f.credential)
		entered = err == nil
	}
	if err != nil && !c.mayPeek(e, now) {
		return err
	}
	f.forbidden = err
	f.done = make(chan struct{})
	if err = e.source.takeOff(f); err == nil && !c.start(func() { c.fly(e, f) }) {
		e.source.flights.Add(-1)
		err = ErrClosed
	}
	if err != nil {
		if entered {
			_ = e.source.gate.leave(f.generation, e.key, errBroken, now, f.credential)
		}
		return err
	}
	e.flight = f
	e.resting.Store(false)
	return nil
}

// pending returns an *Error while no token request may be made for e. e.mu is held.
func (c *Cache) pending(e *entry, f *flight, now instant) error {
	if err := e.source.gate.refusing(now, f.credential); err != nil {
		return err
	}
	if e.failure.void(endpointState{f.credential, e.source.gate.recovered()}) {
		e.failure = nil
	}
	if err := e.failure.pending(now, f.needed); err != nil {
		return err
	}
	if wait := time.Until(e.promise.at); wait > 0 && !f.refresh && f.need != needFresh {
		return &Error{e.promise.cause, wait}
	}
	return nil
}

// maxFlights bounds the loads of one upstream at a time: their entries cannot be let
// go, so that subjects asked for faster than tokens come must not pile up.
const maxFlights = 2048

// takeOff counts one more flight. If there are as many as may be, one whose turn has a
// later deadline makes room for f, and else f has none. A load that others wait for
// within their own is not counted against them.
func (s *source) takeOff(f *flight) error {
	if s.flights.Add(1) > maxFlights && f.need != needFresh && !s.line.makeRoom(f.turn.deadline) {
		s.flights.Add(-1)
		return tooMany(s.Name(), max(s.line.drained(), time.Second))
	}
	return nil
}

// errBroken is what is left of a load that panicked or ended its goroutine.
var errBroken = errors.New("the load did not return")

// fly makes the load and settles what came of it, whatever happens in between.
func (c *Cache) fly(e *entry, f *flight) {
	var l loaded
	err := errBroken
	defer func() {
		if r := recover(); r != nil {
			// The value may hold anything, a token included: only its type is told.
			c.config.Log.Error().Str("upstream", e.key.Upstream).Str("panic", fmt.Sprintf("%T", r)).
				Msg("token request panicked")
			err = errBroken
		}
		c.settle(e, f, l, err)
		e.source.flights.Add(-1)
		if err != nil && l.asked {
			c.tellFleet(e, f, err)
		}
		if l.after != nil {
			l.after() // nobody waits for it
		}
	}()
	l, err = c.load(c.ctx, e, f)
}

// loaded is what a load came to.
type loaded struct {
	held  *held  // nil if it failed; with an error, a token that would do for less
	asked bool   // the token endpoint was asked
	after func() // to be called once the token is in use, if not nil
}

// load gets a token for e: a shared one if there is a newer one, else by a
// token request, when its turn comes.
func (c *Cache) load(ctx context.Context, e *entry, f *flight) (loaded, error) {
	if c.config.Shared != nil {
		return c.loadShared(ctx, e, f)
	}
	if err := c.takeTurn(ctx, e, f); err != nil {
		return loaded{}, err
	}
	return c.fetch(ctx, e)
}

// takeTurn waits until f may make its token request.
func (c *Cache) takeTurn(ctx context.Context, e *entry, f *flight) error {
	if e.source.line.now() {
		return nil
	}
	return e.source.line.wait(ctx, f.turn, c.start)
}

// fetch makes the token request.
func (c *Cache) fetch(ctx context.Context, e *entry) (loaded, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.TokenTimeout)
	defer cancel()
	began := time.Now()
	token, err := e.source.Fetch(ctx, e.key, parents{c})
	outcome := "ok"
	var cause *upstream.Error
	if errors.As(err, &cause) {
		outcome = string(cause.Class)
	} else if err != nil {
		outcome = string(upstream.ClassUnavailable)
	}
	var parent *Error
	if !errors.As(err, &parent) { // else none was made
		e.source.metrics.TokenRequest(outcome, time.Since(began))
		e.source.note(began, err)
	}
	if err != nil {
		return loaded{asked: true}, err
	}
	if upstream.Narrower(token.Scope(), e.key.Scope) {
		e.source.metrics.NarrowScope()
		c.config.Log.Warn().Str("upstream", e.key.Upstream).Msg("the granted scope is narrower than the one asked for")
	}
	return loaded{held: holdNew(token, c.instant(began), c.now(), c.ahead()), asked: true}, nil
}

// settle ends the flight of e with a token or an error.
func (c *Cache) settle(e *entry, f *flight, l loaded, err error) {
	e.mu.Lock()
	now := c.now()
	if err == nil && l.held.invalidAt.reached(now) {
		err = &upstream.Error{Upstream: e.key.Upstream, Class: upstream.ClassMalformed,
			Reason: "the token's life was over when it arrived"}
	}
	var own *unasked
	ours := errors.As(err, &own)
	err = tellGate(e, f, l, err, ours, now)
	if l.held != nil && !l.held.invalidAt.reached(now) {
		c.table.hold(e, l.held)
	}
	switch {
	case err == nil:
		e.failure, e.promise = nil, promise{}
		f.token = l.held.token
	case f.forbidden != nil:
		f.err = f.forbidden // nothing new was learned
	case ours:
		f.err, e.promise = own.reason, promise{own.promise, own.reason.Cause}
	default:
		c.fail(e, f, err, now)
		f.err = &Error{e.failure.cause, c.nextAttempt(e, now)}
	}
	if err != nil {
		e.keepUse(f, ours, now)
	}
	e.rejections.settle(f, err, now)
	if f.refresh && !ours {
		e.source.metrics.Refresh(err == nil)
	}
	e.flight = nil
	c.plan(e, now)
	if ours && own.again > 0 && !e.gone.Load() {
		c.schedule(e, now.add(own.again))
	}
	e.release()
	e.mu.Unlock()
	close(f.done)
}

// tellGate reports to the gate what came of f, unless f made no token request. It
// returns what that turned out to mean: see leave.
func tellGate(e *entry, f *flight, l loaded, err error, ours bool, now instant) error {
	switch {
	case f.forbidden != nil:
		return err
	case ours || err == nil && !l.asked:
		_ = e.source.gate.leave(f.generation, e.key, errNoNews, now, f.credential)
		return err
	}
	return e.source.gate.leave(f.generation, e.key, err, now, f.credential)
}

// keepUse sees to the mark of use after f has failed. While there is a token to replace
// it stays, so that this is tried again. Where there is none and f had no turn it goes:
// the next turn is for a request, if one comes.
func (e *entry) keepUse(f *flight, ours bool, now instant) {
	switch h := e.held.Load(); {
	case h != nil && needUsable.met(h, now):
		if f.used {
			e.setUsed()
		}
	case ours:
		e.takeUsed()
	}
}

// errNoNews says that a load did not ask the token endpoint: because the token came
// from another replica, or because it was not its turn.
var errNoNews = errors.New("no news of the token endpoint")
