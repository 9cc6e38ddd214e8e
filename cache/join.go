package cache

import (
	"context"
	"fmt"
	"time"

	"token-sidecar/upstream"
)

// await returns the token of a key that has none within its limit in memory.
func (c *Cache) await(ctx context.Context, key upstream.Key, end limit) (upstream.Token, error) {
	s := c.sources[key.Upstream]
	if s == nil {
		return upstream.Token{}, fmt.Errorf("no upstream is named %q", key.Upstream)
	}
	began := time.Now()
	token, waited, err := c.join(ctx, key, s, end)
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

// limit says from when on a held token is not good enough.
type limit func(*held) instant

func untilInvalid(h *held) instant { return h.invalidAt }
func untilStale(h *held) instant   { return h.staleAt }
func halfway(h *held) instant      { return h.invalidAt.add(-h.life / 2) }

// join returns the token of key if it is within its limit, else that of its
// flight, which it starts if there is none. It tells whether it waited.
func (c *Cache) join(ctx context.Context, key upstream.Key, s *source, end limit) (token upstream.Token, waited bool, err error) {
	for {
		e := c.table.getOrAdd(key, s, &c.agenda)
		token, f, err := c.board(e, end)
		c.table.giveBack(e, &c.agenda)
		switch {
		case err == errGone:
			continue // nobody used it, and so it went just now
		case err != nil:
			return upstream.Token{}, false, err
		case f == nil:
			return token, false, nil
		}
		token, err = f.wait(ctx)
		return token, true, err
	}
}

// board returns the token of e if it is within its limit, else its flight.
func (c *Cache) board(e *entry, end limit) (upstream.Token, *flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone.Load() {
		return upstream.Token{}, nil, errGone
	}
	e.setUsed()
	now := c.now()
	h := e.held.Load()
	if h != nil && !end(h).reached(now) {
		return h.token, nil, nil
	}
	if e.flight == nil {
		usable := h != nil && !h.invalidAt.reached(now)
		if err := c.launch(e, &flight{used: true, refresh: usable}, now); err != nil {
			c.plan(e, now)
			return upstream.Token{}, nil, err
		}
	}
	return upstream.Token{}, e.flight, nil
}

// parents is the cache as a source of the tokens that buy other tokens.
type parents struct{ c *Cache }

// Token returns a token that is fresh: one about to end must not buy another
// that may end with it.
func (p parents) Token(ctx context.Context, key upstream.Key) (upstream.Token, error) {
	token, _, err := p.c.join(ctx, key, p.c.sources[key.Upstream], untilStale)
	return token, err
}

// Reject implements [upstream.TokenSource].
func (p parents) Reject(ctx context.Context, key upstream.Key, rejected upstream.Token) {
	p.c.reject(ctx, key, rejected, parentCoolDown)
}
