package cache

import (
	"context"
	"errors"
	"time"

	"token-sidecar/upstream"
)

// loadResult is what a load came to.
type loadResult struct {
	token *cachedToken // nil if it failed; with an error, a token that would do for less
	asked bool         // the token endpoint was asked
	after func()       // to be called once the token is in use, if not nil
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
	token, err := e.source.Fetch(ctx, e.key, parents{c})
	var parent *Error
	if !errors.As(err, &parent) { // else no token request was made
		outcome := "ok"
		if cause := causeOf(err); cause != nil {
			outcome = string(cause.Class)
		} else if err != nil {
			outcome = string(upstream.ClassUnavailable)
		}
		e.source.metrics.TokenRequest(outcome, time.Since(began))
		e.source.requested(began, err)
	}
	if err != nil {
		return loadResult{asked: true}, err
	}
	if upstream.Narrower(token.Scope(), e.key.Scope) {
		e.source.metrics.NarrowScope()
		c.config.Log.Warn().Str("upstream", e.key.Upstream).Msg("the granted scope is narrower than the one asked for")
	}
	return loadResult{token: newIssuedToken(token, c.instant(began), c.now(), c.ahead()), asked: true}, nil
}

// ahead returns the fraction of a life in which to refresh, varied.
func (c *Cache) ahead() float64 { return c.config.RefreshAhead * jitter() }

// parents is the cache as the source of the tokens that buy other tokens.
type parents struct{ c *Cache }

// Token implements [upstream.TokenSource]: it returns a token that is fresh, unless none
// can be had.
func (p parents) Token(ctx context.Context, key upstream.Key) (upstream.Token, error) {
	token, _, err := p.c.tokenFromLoad(ctx, key, p.c.sources[key.Upstream], needFresh)
	return token, err
}

// Reject implements [upstream.TokenSource].
func (p parents) Reject(ctx context.Context, key upstream.Key, rejected upstream.Token) {
	p.c.reject(ctx, key, rejected, maxParentPause)
}
