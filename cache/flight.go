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

	refresh    bool                 // of a token that is still usable
	used       bool                 // whether the key was used since the refresh before
	rejected   upstream.Token       // by a target; guarded by the entry's mu
	credential upstream.Fingerprint // in use when the flight began
	began      int                  // what the gate said of that
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
	err := e.failure.pending(now)
	if err == nil {
		f.began, err = e.source.gate.enter(now, f.credential)
	}
	if err != nil && !c.mayPeek(e, now) {
		return err
	}
	f.forbidden = err
	f.done = make(chan struct{})
	if c.flights.Add(1) > maxFlights {
		c.flights.Add(-1)
		if err == nil {
			e.source.gate.leave(f.began, e.key, errBroken, now, f.credential)
		}
		return tooMany(e.key.Upstream)
	}
	if !c.start(func() { c.fly(e, f) }) {
		c.flights.Add(-1)
		return ErrClosed
	}
	e.flight = f
	e.resting.Store(false)
	return nil
}

// maxFlights bounds the loads at a time: their entries cannot be let go, so
// that subjects asked for faster than tokens come must not pile up.
const maxFlights = 2048

func tooMany(name string) error {
	return &Error{RetryAfter: time.Second, Cause: &upstream.Error{Upstream: name,
		Class: upstream.ClassThrottled, Reason: "more token requests are due than may be made at a time"}}
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
		c.flights.Add(-1)
		if l.after != nil {
			l.after() // nobody waits for it
		}
	}()
	ctx, cancel := context.WithTimeout(c.ctx, c.flightTime())
	defer cancel()
	l, err = c.load(ctx, e, f)
}

// loaded is what a load came to.
type loaded struct {
	held  *held  // nil if it failed
	asked bool   // the token endpoint was asked
	after func() // to be called once the token is in use, if not nil
}

// load gets a token for e: a shared one if there is a newer one, else by a
// token request.
func (c *Cache) load(ctx context.Context, e *entry, f *flight) (loaded, error) {
	if c.config.Shared == nil {
		return c.fetch(ctx, e)
	}
	return c.loadShared(ctx, e, f)
}

// fetch makes the token request.
func (c *Cache) fetch(ctx context.Context, e *entry) (loaded, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.TokenTimeout)
	defer cancel()
	if err := e.source.limiter.Wait(ctx); err != nil {
		return loaded{}, tooMany(e.key.Upstream)
	}
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
	return loaded{held: holdNew(token, c.now(), c.ahead()), asked: true}, nil
}

// settle ends the flight of e with a token or an error.
func (c *Cache) settle(e *entry, f *flight, l loaded, err error) {
	e.mu.Lock()
	now := c.now()
	if err == nil && l.held.invalidAt.reached(now) {
		err = &upstream.Error{Upstream: e.key.Upstream, Class: upstream.ClassMalformed,
			Reason: "the token's life was over when it arrived"}
	}
	if f.forbidden == nil {
		verdict := err
		if err == nil && !l.asked {
			verdict = errAdopted
		}
		e.source.gate.leave(f.began, e.key, verdict, now, f.credential)
	}
	switch {
	case err == nil:
		c.table.hold(e, l.held)
		e.failure = nil
		f.token = l.held.token
	case f.forbidden != nil:
		f.err = f.forbidden // nothing new was learned
	default:
		c.fail(e, f, err, now)
		f.err = &Error{e.failure.cause, max(e.failure.until.until(now), time.Millisecond)}
	}
	if f.refresh {
		e.source.metrics.Refresh(err == nil)
	}
	e.flight = nil
	c.plan(e, now)
	e.release()
	e.mu.Unlock()
	close(f.done)
}

// errAdopted says that a token came from another replica: good news, but not of
// the token endpoint.
var errAdopted = errors.New("adopted")

// fail notes a failed load. e.mu is held.
func (c *Cache) fail(e *entry, f *flight, err error, now instant) {
	var life time.Duration
	if h := e.held.Load(); h != nil && !h.invalidAt.reached(now) {
		life = h.life
	}
	if e.failure == nil {
		e.failure = &failure{}
	}
	e.failure.note(e.key.Upstream, err, now, life)
	if f.used && life > 0 {
		e.setUsed() // keep trying while there is a token to replace
	}
	if !f.rejected.IsZero() && e.failure.lasting() {
		// The target refuses this token and the provider gives no other.
		c.table.hold(e, nil)
	}
	if c.ctx.Err() == nil {
		c.config.Log.Warn().Str("upstream", e.key.Upstream).Str("kind", string(e.key.Kind)).
			Stringer("retry_in", e.failure.until.until(now).Round(time.Millisecond)).
			Str("error", e.failure.cause.Error()).Msg("token request failed")
	}
}
