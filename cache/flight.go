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

	refresh bool // of a token that is still usable
	forced  bool // a target rejected the token
	used    bool // whether the key was used since the refresh before
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

// await returns the token of a key that has none in memory.
func (c *Cache) await(ctx context.Context, key upstream.Key) (upstream.Token, error) {
	s := c.sources[key.Upstream]
	if s == nil {
		return upstream.Token{}, fmt.Errorf("no upstream is named %q", key.Upstream)
	}
	began := time.Now()
	token, err := c.join(ctx, key, s, untilInvalid)
	if err != nil {
		s.metrics.Failed.Inc()
		return upstream.Token{}, err
	}
	s.metrics.Waited.Inc()
	s.metrics.TokenWait(time.Since(began))
	return token, nil
}

// limit says from when on a held token is not good enough.
type limit func(*held) instant

func untilInvalid(h *held) instant { return h.invalidAt }
func untilStale(h *held) instant   { return h.staleAt }

// join returns the token of key if it is within its limit, else that of its
// flight, which it starts if there is none.
func (c *Cache) join(ctx context.Context, key upstream.Key, s *source, end limit) (upstream.Token, error) {
	for {
		e := c.table.getOrAdd(key, s, &c.agenda)
		e.mu.Lock()
		if e.gone.Load() {
			e.mu.Unlock()
			continue // it was let go just now
		}
		e.used.Store(true) // and not touch: what is asked for once is not hot
		now := c.now()
		h := e.held.Load()
		if h != nil && !end(h).reached(now) {
			e.mu.Unlock()
			return h.token, nil
		}
		if e.flight == nil {
			usable := h != nil && !h.invalidAt.reached(now)
			if err := c.launch(e, &flight{used: true, refresh: usable}, now); err != nil {
				c.plan(e, now)
				e.mu.Unlock()
				return upstream.Token{}, err
			}
		}
		f := e.flight
		e.mu.Unlock()
		return f.wait(ctx)
	}
}

// launch starts f for e, unless an earlier failure forbids it. e.mu is held.
func (c *Cache) launch(e *entry, f *flight, now instant) error {
	if err := e.failure.pending(now); err != nil {
		return err
	}
	credential := e.source.Fingerprint()
	if err := e.source.gate.enter(now, credential); err != nil {
		return err
	}
	f.done = make(chan struct{})
	if !c.start(func() { c.fly(e, f, credential) }) {
		return ErrClosed
	}
	e.flight = f
	e.flying.Store(true)
	e.resting.Store(false)
	return nil
}

// errBroken is what is left of a load that panicked or ended its goroutine.
var errBroken = errors.New("the load did not return")

// fly makes the load and settles what came of it, whatever happens in between.
func (c *Cache) fly(e *entry, f *flight, credential upstream.Fingerprint) {
	token, err := upstream.Token{}, errBroken
	defer func() {
		if r := recover(); r != nil {
			// The value may hold anything, a token included: only its type is told.
			c.config.Log.Error().Str("upstream", e.key.Upstream).Str("panic", fmt.Sprintf("%T", r)).
				Msg("token request panicked")
			err = errBroken
		}
		c.settle(e, f, token, err, credential)
	}()
	ctx, cancel := context.WithTimeout(c.ctx, c.config.TokenTimeout)
	defer cancel()
	token, err = c.load(ctx, e)
}

// load gets a token for e.
func (c *Cache) load(ctx context.Context, e *entry) (upstream.Token, error) {
	if err := e.source.limiter.Wait(ctx); err != nil {
		return upstream.Token{}, &Error{RetryAfter: time.Second, Cause: &upstream.Error{Upstream: e.key.Upstream,
			Class: upstream.ClassThrottled, Reason: "the rate limit for token requests is used up"}}
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
	}
	return token, err
}

// settle ends the flight of e with a token or an error.
func (c *Cache) settle(e *entry, f *flight, token upstream.Token, err error, credential upstream.Fingerprint) {
	e.mu.Lock()
	now := c.now()
	if err == nil {
		h := hold(token, now, c.ahead())
		if h.invalidAt.reached(now) {
			err = &upstream.Error{Upstream: e.key.Upstream, Class: upstream.ClassMalformed,
				Reason: "the token's life was over when it arrived"}
		} else {
			e.held.Store(h)
			e.failure = failure{}
		}
	}
	e.source.gate.leave(e.key, err, now, credential)
	if err != nil {
		c.fail(e, f, err, now)
		err = &Error{e.failure.cause, max(e.failure.until.until(now), time.Millisecond)}
		token = upstream.Token{}
	}
	if f.refresh {
		e.source.metrics.Refresh(err == nil)
	}
	e.flight = nil
	e.flying.Store(false)
	c.plan(e, now)
	f.token, f.err = token, err
	e.mu.Unlock()
	close(f.done)
}

// fail notes a failed load. e.mu is held.
func (c *Cache) fail(e *entry, f *flight, err error, now instant) {
	var life time.Duration
	if h := e.held.Load(); h != nil && !h.invalidAt.reached(now) {
		life = h.token.Expiry().Sub(h.token.Issued())
	}
	e.failure.note(e.key.Upstream, err, now, life)
	if f.used && life > 0 {
		e.used.Store(true) // keep trying while there is a token to replace
	}
	if f.forced && e.failure.lasting() {
		// The target refuses this token and the provider gives no other.
		e.held.Store(nil)
	}
	if c.ctx.Err() == nil {
		c.config.Log.Warn().Str("upstream", e.key.Upstream).Str("kind", string(e.key.Kind)).
			Stringer("retry_in", e.failure.until.until(now).Round(time.Millisecond)).
			Str("error", e.failure.cause.Error()).Msg("token request failed")
	}
}

// parents is the cache as a source of the tokens that buy other tokens.
type parents struct{ c *Cache }

// Token returns a token that is fresh: one about to end must not buy another
// that may end with it.
func (p parents) Token(ctx context.Context, key upstream.Key) (upstream.Token, error) {
	return p.c.join(ctx, key, p.c.sources[key.Upstream], untilStale)
}

// Reject implements [upstream.TokenSource].
func (p parents) Reject(ctx context.Context, key upstream.Key, rejected upstream.Token) {
	p.c.Reject(ctx, key, rejected)
}
