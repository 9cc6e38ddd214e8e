package cache

import (
	"context"
	"time"

	"token-sidecar/upstream"
)

// Reject reports that a target answered 401 to rejected. If that is the token in use, it
// makes one token request for a better one and blocks until that ends or ctx does; many
// may report the same token, and they share the one request. Others go on with the old
// token meanwhile, since it may well be good for what they ask. Afterwards Token returns
// the new token, or the same if there is no other.
func (c *Cache) Reject(ctx context.Context, key upstream.Key, rejected upstream.Token) {
	c.reject(ctx, key, rejected, maxReplacePause)
}

// reject is Reject with the longest pause between two replacements.
func (c *Cache) reject(ctx context.Context, key upstream.Key, rejected upstream.Token, longest time.Duration) {
	e := c.table.find(&key)
	if e == nil {
		return
	}
	e.mu.Lock()
	now := c.now()
	if t := e.token.Load(); t == nil || !t.token.Same(rejected) {
		e.mu.Unlock()
		e.source.metrics.Rejection("adopted")
		return
	}
	e.rejections.add(rejected, now, longest)
	l, action, err := c.replace(ctx, e, rejected, now)
	e.mu.Unlock()
	if err == errGone {
		c.reject(ctx, key, rejected, longest) // of the entry that has taken its place
		return
	}
	e.source.metrics.Rejection(action)
	if l != nil {
		_, _ = l.wait(ctx) // Token tells what came of it
	}
}

// replace returns the load that replaces the rejected token of e, nil if none may start
// now, and what it is for the metrics. While a token request may not be made it still
// looks at what other replicas share. e.mu is held.
func (c *Cache) replace(ctx context.Context, e *entry, rejected upstream.Token, now instant) (*load, string, error) {
	if e.load != nil {
		e.load.rejected = rejected
		e.source.queue.hurry(e.load.waiter, c.waiterOfRequest(e, needUsable))
		return e.load, "replaced", nil
	}
	l := &load{used: true, subject: upstream.SubjectTokenOf(ctx), rejected: rejected, waiter: c.waiterOfRequest(e, needUsable), needed: now}
	action := "replaced"
	if next := e.rejections.next; !next.reached(now) {
		action = "cooled_down"
		l.forbidden = &Error{RetryAfter: next.until(now), Cause: &upstream.Error{Upstream: e.key.Upstream,
			Class: upstream.ClassUnavailable, Reason: "a token was replaced a short while ago"}}
	}
	err := c.startLoad(e, l, now)
	switch {
	case err == errGone:
		return nil, "", err
	case err != nil && action == "replaced":
		e.rejections.again = true
		c.plan(e, now)
		return nil, "failed", nil
	case err != nil:
		return nil, action, nil
	}
	return l, action, nil
}
