package cache

import (
	"context"
	"time"

	"token-sidecar/upstream"
)

// coolDown is the least time between two replacements of one key's token on a
// target's word. A 401 does not prove that a token is bad: Mydex answers it to
// a token without the right scope too, and no new token mends that.
const coolDown = 30 * time.Second

// parentCoolDown is the same for tokens that buy others. A refused grant leaves
// open which of the two is at fault, and a token that was replaced so short a
// time ago is not.
const parentCoolDown = 5 * time.Second

// Reject reports that a target answered 401 to rejected. If that is the token
// in use, it makes one token request for a better one and blocks until that
// ends or ctx does; many may report the same token, and they share the one
// request. Others go on with the old token meanwhile, since it may well be
// good for what they ask. Afterwards Token returns the new token, or the same
// if there is no other.
func (c *Cache) Reject(ctx context.Context, key upstream.Key, rejected upstream.Token) {
	c.reject(ctx, key, rejected, coolDown)
}

func (c *Cache) reject(ctx context.Context, key upstream.Key, rejected upstream.Token, pause time.Duration) {
	e := c.table.get(key)
	if e == nil {
		return
	}
	defer e.release()
	e.mu.Lock()
	now := c.now()
	h := e.held.Load()
	if h == nil || !h.token.Same(rejected) {
		e.mu.Unlock()
		e.source.metrics.Rejection("adopted")
		return
	}
	f := e.flight
	if f == nil {
		if e.replaced != (instant{}) && !e.replaced.add(pause).reached(now) {
			e.mu.Unlock()
			e.source.metrics.Rejection("cooled_down")
			return
		}
		f = &flight{used: true}
		if err := c.launch(e, f, now); err != nil {
			e.mu.Unlock()
			if err == errGone {
				c.reject(ctx, key, rejected, pause) // of the entry that has taken its place
				return
			}
			e.source.metrics.Rejection("failed")
			return
		}
		e.replaced = now
	}
	f.rejected = rejected
	e.mu.Unlock()
	e.source.metrics.Rejection("replaced")
	_, _ = f.wait(ctx) // Token tells what came of it
}
