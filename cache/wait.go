package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"token-sidecar/upstream"
)

// await returns the token of a key that has none in memory that will do for n. It blocks
// until the key's load ends or ctx does, and counts how the request was served.
func (c *Cache) await(ctx context.Context, key upstream.Key, n need) (upstream.Token, error) {
	began := time.Now()
	token, waited, err := c.waitForToken(ctx, key, n)
	switch s := c.sources[key.Upstream]; {
	case s == nil:
	case refusesSubject(err):
		s.metrics.Refused.Inc() // which is the provider's decision, and no failure
	case err != nil:
		s.metrics.Failed.Inc()
	case waited:
		s.metrics.Waited.Inc()
		s.metrics.TokenWait(ctx, time.Since(began))
	default:
		s.metrics.Fresh.Inc() // it was put there meanwhile, or is fresh enough to be handed on
	}
	return token, err
}

// refusesSubject reports whether err says that there is no token for the key's subject.
func refusesSubject(err error) bool {
	cause := causeOf(err)
	return cause != nil && cause.Class == upstream.ClassSubject
}

// waitForToken returns the token of key if it will do for n, else that of its load, which
// it starts if there is none. If that brings none, what is left of the token in memory
// will have to do, as long as it is usable. waited tells whether it waited for a load.
func (c *Cache) waitForToken(ctx context.Context, key upstream.Key, n need) (token upstream.Token, waited bool, err error) {
	s := c.sources[key.Upstream]
	if s == nil {
		return upstream.Token{}, false, fmt.Errorf("no upstream is named %q", key.Upstream)
	}
	for loads := 0; ; {
		e := c.table.findOrAdd(key, s)
		token, l, err := c.tokenOrLoad(ctx, e, n)
		c.table.release(e)
		if l != nil {
			loads++
			token, err = l.wait(ctx)
		}
		switch {
		case err == nil && l != nil && l.need < n && loads < 2:
			continue // the load was begun by another, who needs less life
		case err == nil:
			return token, l != nil, nil
		case n > needUsable && ctx.Err() == nil && !errors.Is(err, ErrClosed):
			if t := e.token.Load(); t.usable(c.now()) {
				return t.token, l != nil, nil
			}
		}
		return upstream.Token{}, l != nil, err
	}
}

// tokenOrLoad returns the token of e if it will do for n, else the load of e, which it
// starts if there is none.
func (c *Cache) tokenOrLoad(ctx context.Context, e *entry, n need) (upstream.Token, *load, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := c.now()
	t := e.token.Load()
	if n.metBy(t, now) {
		e.touch()
		return t.token, nil, nil
	}
	e.used.Store(true)
	w := c.waiterOfRequest(e, n)
	if e.load != nil {
		e.source.queue.hurry(e.load.waiter, w)
		return upstream.Token{}, e.load, nil
	}
	l := &load{used: true, subject: upstream.SubjectTokenOf(ctx), refresh: t.usable(now), need: n, waiter: w, needed: now}
	if err := c.startLoad(e, l, now); err != nil {
		c.plan(e, now)
		return upstream.Token{}, nil, err
	}
	return upstream.Token{}, l, nil
}
