package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"token-sidecar/upstream"
)

// load is the making of one token, which any number of callers wait for. It runs on the
// cache's own context: a caller who leaves fails nobody else. Until startLoad returns it
// belongs to its caller; from then on only rejected and the waiter's deadline change, and
// at the end the result.
type load struct {
	done  chan struct{} // closed at the end; token and err are set before
	token upstream.Token
	err   error

	need       need                 // how much life its token must have left
	subject    upstream.Secret      // the token that is exchanged, of a key on demand
	refresh    bool                 // the key has a usable token without it
	used       bool                 // the key was used since the refresh before
	waiter     *waiter              // its wait until it may make a token request
	needed     instant              // when the key has no token without this load
	rejected   upstream.Token       // by a target; guarded by the entry's mu
	credential upstream.Fingerprint // in use when the load began
	generation int                  // of the breaker then
	forbidden  error                // why no token request may be made now: only shared tokens are looked for
}

// wait blocks until the load ends or ctx does.
func (l *load) wait(ctx context.Context) (upstream.Token, error) {
	select {
	case <-l.done:
		return l.token, l.err
	case <-ctx.Done():
		return upstream.Token{}, ctx.Err()
	}
}

// errGone says that the table has let an entry go. Its key may have another.
var errGone = errors.New("the entry is gone")

// startLoad runs l in the background. It fails if an earlier failure of the key or of the
// endpoint forbids a token request and there is no use in looking for a shared token, if
// too many loads are under way, if e has gone, or if the cache is closed. e.mu is held.
func (c *Cache) startLoad(e *entry, l *load, now instant) error {
	l.credential = e.source.Fingerprint()
	allowed := false
	err := l.forbidden
	if err == nil {
		err = c.checkRequest(e, l, now)
	}
	if err == nil {
		l.generation, err = e.source.breaker.allow(now, l.needed, l.credential)
		allowed = err == nil
	}
	if err != nil && !c.allowLook(e, now) {
		return err
	}
	l.forbidden = err
	l.done = make(chan struct{})
	if err = c.launch(e, l); err != nil {
		if allowed {
			_ = e.source.breaker.report(l.generation, e.key, errNotAsked, now, l.credential)
		}
		return err
	}
	e.load = l
	e.resting.Store(false)
	return nil
}

// checkRequest returns an *Error if what is known of the key, or of the credential, forbids a
// token request for e. It drops a failure that says nothing any more. e.mu is held.
func (c *Cache) checkRequest(e *entry, l *load, now instant) error {
	if err := e.source.breaker.checkCredential(now, l.credential); err != nil {
		return err
	}
	if e.failure.outdated(endpointVersion{l.credential, e.source.breaker.closed()}) {
		e.failure = nil
	}
	if err := e.failure.pending(now, l.needed); err != nil {
		return err
	}
	if wait := e.promise.left(); wait > 0 && !l.refresh && l.need != needFresh {
		return &Error{e.promise.cause, wait}
	}
	return nil
}

// launch starts the goroutine of l. It fails if e has gone, if there are too many loads,
// or if the cache is closed. e.mu is held.
func (c *Cache) launch(e *entry, l *load) error {
	if !c.table.keep(e) {
		return errGone
	}
	err := e.source.addLoad(l.waiter, l.need)
	if err == nil && !c.start(func() { c.runLoad(e, l) }) {
		e.source.loads.Add(-1)
		err = ErrClosed
	}
	if err != nil {
		c.table.release(e)
	}
	return err
}

// errPanicked is what is left of a load that panicked or ended its goroutine.
var errPanicked = errors.New("the load did not return")

// runLoad makes the load and sees to what came of it, whatever happens in between.
func (c *Cache) runLoad(e *entry, l *load) {
	var r loadResult
	err := errPanicked
	defer func() {
		if p := recover(); p != nil {
			// The value may hold anything, a token included: only its type is told.
			c.config.Log.Error().Str("upstream", e.key.Upstream).Str("panic", fmt.Sprintf("%T", p)).
				Msg("token request panicked")
			err = errPanicked
		}
		err = c.finishLoad(e, l, r, err)
		e.source.loads.Add(-1)
		if err != nil && r.asked {
			c.reportToFleet(e, l, err)
		}
		if r.after != nil {
			r.after(err) // nobody waits for it
		}
	}()
	r, err = c.loadToken(upstream.WithSubjectToken(c.ctx, l.subject), e, l)
}

// loadToken gets a token for e: a shared one if there is a newer one, else by a token
// request, as soon as that may be made.
func (c *Cache) loadToken(ctx context.Context, e *entry, l *load) (loadResult, error) {
	if c.config.Shared != nil {
		return c.loadShared(ctx, e, l)
	}
	if err := c.awaitQueue(ctx, e, l); err != nil {
		return loadResult{}, err
	}
	return c.fetch(ctx, e)
}

// finishLoad ends the load of e with a token or an error. It returns what that error turned
// out to mean.
func (c *Cache) finishLoad(e *entry, l *load, r loadResult, err error) error {
	e.mu.Lock()
	now := c.now()
	if err == nil && r.token.over(now) {
		err = &upstream.Error{Upstream: e.key.Upstream, Class: upstream.ClassMalformed,
			Reason: "the token's life was over when it arrived"}
	}
	var own *deferred
	ours := errors.As(err, &own)
	err = reportLoad(e, l, r, err, ours, now)
	if r.token.usable(now) {
		e.token.Store(r.token)
	}
	switch {
	case err == nil:
		e.failure, e.promise = nil, nil
		l.token = r.token.token
	case l.forbidden != nil:
		l.err = l.forbidden // nothing new was learned
	case ours:
		l.err, e.promise = own.reason, own.promise
	default:
		c.recordFailure(e, l, err, now)
		l.err = &Error{e.failure.cause, c.nextAttempt(e, now)}
	}
	if err != nil {
		e.setUsedAfter(l, ours, now)
	}
	if !l.rejected.IsZero() {
		e.rejections.replacementEnded(err, now)
	}
	if l.refresh && !ours {
		e.source.metrics.Refresh(err == nil)
	}
	e.load = nil
	c.plan(e, now)
	if ours && own.again > 0 && !e.gone.Load() {
		c.schedule(e, now.add(own.again))
	}
	c.table.release(e)
	e.mu.Unlock()
	close(l.done)
	return err
}

// reportLoad tells the breaker what came of l, unless l was not to make a token request.
// It returns what that turned out to mean.
func reportLoad(e *entry, l *load, r loadResult, err error, ours bool, now instant) error {
	switch {
	case l.forbidden != nil:
		return err
	case ours || err == nil && !r.asked:
		_ = e.source.breaker.report(l.generation, e.key, errNotAsked, now, l.credential)
		return err
	}
	return e.source.breaker.report(l.generation, e.key, err, now, l.credential)
}

// recordFailure remembers and logs a failed load, and drops the token if the provider has
// decided against the key after a target refused it. e.mu is held.
func (c *Cache) recordFailure(e *entry, l *load, err error, now instant) {
	var life time.Duration
	if t := e.token.Load(); t.usable(now) {
		life = t.life()
	}
	e.failure = newFailure(e.failure, e.key.Upstream, err, now, life,
		endpointVersion{l.credential, e.source.breaker.closed()})
	if !l.rejected.IsZero() && e.failure.lasting() {
		e.token.Store(nil) // the target refuses this token and the provider gives no other
	}
	if c.ctx.Err() == nil {
		cause := e.failure.cause
		line := c.config.Log.Warn().Str("upstream", e.key.Upstream).Str("kind", string(e.key.Kind)).
			Stringer("retry_in", c.nextAttempt(e, now).Round(time.Millisecond)).Str("class", string(cause.Class))
		if cause.Code != "" {
			line.Str("code", cause.Code)
		}
		if cause.Status != 0 {
			line.Int("http_status", cause.Status)
		}
		if cause.Cause != "" {
			line.Str("cause", cause.Cause)
		}
		if cause.Skew != 0 {
			line.Stringer("clock_skew", cause.Skew.Round(time.Second)) // theirs minus ours
		}
		line.Str("error", cause.Error()).Msg("token request failed")
	}
}

// setUsedAfter says whether e counts as used after l has failed. While there is a token to
// replace, e is used if it was when l began, so that the refresh is tried again. Where there
// is none and l made no token request, e is not used any more: the next token request is for
// a request, if one comes.
func (e *entry) setUsedAfter(l *load, ours bool, now instant) {
	switch {
	case e.token.Load().usable(now):
		if l.used {
			e.used.Store(true)
		}
	case ours:
		e.used.Store(false)
	}
}
