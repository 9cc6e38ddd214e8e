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
	s := c.sources[key.Upstream]
	if s == nil {
		return upstream.Token{}, fmt.Errorf("no upstream is named %q", key.Upstream)
	}
	began := time.Now()
	token, waited, err := c.tokenFromLoad(ctx, key, s, n)
	if err != nil {
		s.metrics.Failed.Inc()
		return upstream.Token{}, err
	}
	if waited {
		s.metrics.Waited.Inc()
		s.metrics.TokenWait(time.Since(began))
	} else {
		s.metrics.Fresh.Inc() // it was put there meanwhile, or is fresh enough to be handed on
	}
	return token, nil
}

// tokenFromLoad returns the token of key if it will do for n, else that of its load, which
// it starts if there is none. If that brings none, what is left of the token in memory
// will have to do, as long as it is usable. waited tells whether it waited for a load.
func (c *Cache) tokenFromLoad(ctx context.Context, key upstream.Key, s *source, n need) (token upstream.Token, waited bool, err error) {
	for loads := 0; ; {
		e := c.table.findOrAdd(key, s)
		token, l, err := c.tokenOrLoad(e, n)
		c.table.release(e)
		if err == errGone {
			continue // it came due, and was let go, just before it was asked for
		}
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
func (c *Cache) tokenOrLoad(e *entry, n need) (upstream.Token, *load, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone.Load() {
		return upstream.Token{}, nil, errGone
	}
	e.used.Store(true)
	now := c.now()
	t := e.token.Load()
	if n.metBy(t, now) {
		return t.token, nil, nil
	}
	w := c.waiterOfRequest(e, n)
	if e.load != nil {
		e.source.queue.hurry(e.load.waiter, w)
		return upstream.Token{}, e.load, nil
	}
	l := &load{used: true, refresh: t.usable(now), need: n, waiter: w, needed: now}
	if err := c.startLoad(e, l, now); err != nil {
		c.plan(e, now)
		return upstream.Token{}, nil, err
	}
	return upstream.Token{}, l, nil
}

// waiterOfRequest returns the place in the request queue of a load of e that a request
// waits for. A request that was refused before and comes when it was told to goes before
// those who have waited as long as they will. A token that buys others comes first of
// all: whoever waits for it has been let through already.
func (c *Cache) waiterOfRequest(e *entry, n need) *waiter {
	now := time.Now()
	deadline, patience := now, e.source.queue.patience
	switch {
	case n == needFresh:
		deadline, patience = time.Time{}, c.config.TokenTimeout
	case !e.promise.at.IsZero() && !e.promise.at.After(now):
		deadline = e.promise.at.Add(-patience)
	}
	w := newWaiter(deadline, now.Add(patience))
	w.asked = true
	return w
}
