package cache

import (
	"context"
	"errors"
	"time"

	"token-sidecar/upstream"
)

// loadResult is what a load came to.
type loadResult struct {
	token *cachedToken // with an error nil, or a shared token that has too little life for this load but is usable
	asked bool         // the token endpoint was asked
	after func(error)  // to be called with what became of the load once that is known to all who wait, if not nil
}

// waiterOfRequest returns the place in the request queue of a load of e that a request
// waits for. A request that was refused before, and comes when it was told to, has the
// deadline of one that has waited for its whole patience. A token that buys others comes
// first of all: whoever waits for it has been let through already.
func (c *Cache) waiterOfRequest(e *entry, n need) *waiter {
	now := time.Now()
	deadline, patience := now, e.source.queue.patience
	switch {
	case n == needFresh:
		deadline, patience = time.Time{}, c.config.TokenTimeout
	case e.promise != nil && !e.promise.at.After(now):
		deadline = e.promise.at.Add(-patience)
	}
	w := newWaiter(deadline, now.Add(patience))
	w.asked = true
	return w
}

// waiterOfRefresh returns the place in the request queue of a load that replaces a token
// which stays usable for as long as left says. Its deadline leaves time for the loads that
// go first, and for the token request.
func waiterOfRefresh(q *requestQueue, left time.Duration) *waiter {
	now := time.Now()
	return newWaiter(now.Add(left-3*q.patience), now.Add(left))
}

// awaitQueue blocks until l may make its token request.
func (c *Cache) awaitQueue(ctx context.Context, e *entry, l *load) error {
	if e.source.queue.tryPass() {
		return nil
	}
	return e.source.queue.pass(ctx, l.waiter, c.start)
}

// fetch makes the token request for e. It blocks until that ends, or for TokenTimeout.
func (c *Cache) fetch(ctx context.Context, e *entry) (loadResult, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.TokenTimeout)
	defer cancel()
	began := time.Now()
	token, err := e.source.Fetch(ctx, e.key, parentTokens{c})
	var parent *Error
	if !errors.As(err, &parent) { // else no token request was made
		outcome := "ok"
		if cause := causeOf(err); cause != nil {
			outcome = string(cause.Class)
		} else if err != nil {
			outcome = string(upstream.ClassUnavailable)
		}
		e.source.metrics.TokenRequest(outcome, time.Since(began))
		if cause := causeOf(err); err == nil {
			e.source.metrics.ClockSkew(0)
		} else if cause != nil && cause.Status != 0 { // else no clock was seen
			e.source.metrics.ClockSkew(cause.Skew)
		}
		e.source.recordRequest(began, err)
	}
	if err != nil {
		return loadResult{asked: parent == nil}, err
	}
	if upstream.Narrower(token.Scope(), e.key.Scope) {
		e.source.metrics.NarrowScope()
		c.config.Log.Warn().Str("upstream", e.key.Upstream).Msg("the granted scope is narrower than the one asked for")
	}
	return loadResult{token: newIssuedToken(token, c.instant(began), c.now(), c.ahead()), asked: true}, nil
}

// ahead returns the fraction of a life in which to refresh, varied. A new token is fresh for a while,
// whatever is set.
func (c *Cache) ahead() float64 { return min(c.config.RefreshAhead*jitter(), 0.95) }

// parentTokens hands the tokens of the cache to providers that buy other tokens with them.
type parentTokens struct{ c *Cache }

// Token implements [upstream.TokenSource]: it returns a token that is fresh, unless none
// can be had.
func (p parentTokens) Token(ctx context.Context, key upstream.Key) (upstream.Token, error) {
	token, _, err := p.c.waitForToken(ctx, key, needFresh)
	if errors.Is(err, context.DeadlineExceeded) { // of the load that wants it, which then has made no token request
		err = &Error{RetryAfter: time.Second, Cause: &upstream.Error{Upstream: key.Upstream, Class: upstream.ClassUnavailable,
			Reason: "the token that others are got with has not come in time"}}
	}
	return token, err
}

// Reject implements [upstream.TokenSource].
func (p parentTokens) Reject(ctx context.Context, key upstream.Key, rejected upstream.Token) {
	p.c.reject(ctx, key, rejected, maxParentPause)
}
