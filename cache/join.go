package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"token-sidecar/upstream"
)

// await returns the token of a key that has none in memory that will do for n.
func (c *Cache) await(ctx context.Context, key upstream.Key, n need) (upstream.Token, error) {
	s := c.sources[key.Upstream]
	if s == nil {
		return upstream.Token{}, fmt.Errorf("no upstream is named %q", key.Upstream)
	}
	began := time.Now()
	token, waited, err := c.join(ctx, key, s, n)
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

// need says how much life a token must have left.
type need int

const (
	needUsable need = iota
	needFresh       // to buy other tokens: one about to end must not buy another that may end with it
	needHalf        // to be handed on
)

// met reports whether h will do at now.
func (n need) met(h *held, now instant) bool {
	switch n {
	case needFresh:
		return !h.staleAt.reached(now)
	case needHalf:
		return !h.invalidAt.add(-h.life / 2).reached(now)
	}
	return !h.invalidAt.reached(now)
}

// join returns the token of key if it will do for n, else that of its flight, which it
// starts if there is none. If that brings none, what is left of the held token will
// have to do, as long as it is usable. join tells whether it waited.
func (c *Cache) join(ctx context.Context, key upstream.Key, s *source, n need) (token upstream.Token, waited bool, err error) {
	for flights := 0; ; {
		e := c.table.getOrAdd(key, s, &c.agenda)
		token, f, err := c.board(e, n)
		c.table.giveBack(e, &c.agenda)
		if err == errGone {
			continue // nobody used it, and so it went just now
		}
		if f != nil {
			flights++
			token, err = f.wait(ctx)
		}
		switch {
		case err == nil && f != nil && f.need < n && flights < 2:
			continue // it was another's, who needs less life
		case err == nil:
			return token, f != nil, nil
		case n > needUsable && ctx.Err() == nil && !errors.Is(err, ErrClosed):
			if h := e.held.Load(); h != nil && needUsable.met(h, c.now()) {
				return h.token, f != nil, nil
			}
		}
		return upstream.Token{}, f != nil, err
	}
}

// board returns the token of e if it will do for n, else its flight.
func (c *Cache) board(e *entry, n need) (upstream.Token, *flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone.Load() {
		return upstream.Token{}, nil, errGone
	}
	e.setUsed()
	now := c.now()
	h := e.held.Load()
	if h != nil && n.met(h, now) {
		return h.token, nil, nil
	}
	if e.flight != nil {
		e.source.line.hurry(e.flight.turn, c.turnOfRequest(e, n))
		return upstream.Token{}, e.flight, nil
	}
	f := &flight{used: true, refresh: h != nil && needUsable.met(h, now), need: n, turn: c.turnOfRequest(e, n), needed: now}
	if err := c.launch(e, f, now); err != nil {
		c.plan(e, now)
		return upstream.Token{}, nil, err
	}
	return upstream.Token{}, f, nil
}

// turnOfRequest returns the turn of a load of e that a request waits for. A request
// that had no turn before and comes when it was told to goes before those who have
// waited as long as they will. A token that buys others comes first of all: whoever
// waits for it has had its turn.
func (c *Cache) turnOfRequest(e *entry, n need) *turn {
	now := time.Now()
	deadline, patience := now, e.source.line.patience
	switch {
	case n == needFresh:
		deadline, patience = time.Time{}, c.config.TokenTimeout
	case !e.promise.at.IsZero() && !e.promise.at.After(now):
		deadline = e.promise.at.Add(-patience)
	}
	t := newTurn(deadline, now.Add(patience))
	t.asked = true
	return t
}

// parents is the cache as a source of the tokens that buy other tokens.
type parents struct{ c *Cache }

// Token returns a token that is fresh, unless none can be had.
func (p parents) Token(ctx context.Context, key upstream.Key) (upstream.Token, error) {
	token, _, err := p.c.join(ctx, key, p.c.sources[key.Upstream], needFresh)
	return token, err
}

// Reject implements [upstream.TokenSource].
func (p parents) Reject(ctx context.Context, key upstream.Key, rejected upstream.Token) {
	p.c.reject(ctx, key, rejected, maxParentPause)
}
