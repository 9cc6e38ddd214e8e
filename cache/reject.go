package cache

import (
	"context"
	"time"

	"token-sidecar/upstream"
)

// A 401 does not prove that a token is bad: Mydex answers it to a token without the
// right scope too, and no new token mends that. So after a replacement the next one
// must wait, twice as long each time, from firstReplacePause to maxReplacePause. After
// forgetRejections without a 401 nothing of that is remembered.
const (
	firstReplacePause = time.Second
	maxReplacePause   = 30 * time.Second
	forgetRejections  = 5 * time.Minute
)

// maxParentPause is maxReplacePause for tokens that buy others. A refused grant leaves
// open which of the two is at fault, and a token that was replaced so short a time ago
// is not.
const maxParentPause = 5 * time.Second

// rejections are what targets said of the tokens of one key. The zero value is
// nothing. It is guarded by the entry's mu.
type rejections struct{ *rejectionHistory }

type rejectionHistory struct {
	token    upstream.Token // the last that a target refused; it is never adopted
	replaced int            // how often, since it was last forgotten
	next     instant        // no replacement before
	last     instant        // when a target refused a token last
	longest  time.Duration  // the longest pause between two replacements
	again    bool           // the replacement failed and is tried again in the background
}

// note notes that a target refused token.
func (r *rejections) note(token upstream.Token, now instant, longest time.Duration) {
	if r.rejectionHistory == nil || r.last.add(forgetRejections).reached(now) {
		r.rejectionHistory = &rejectionHistory{}
	}
	r.token, r.last, r.longest = token, now, longest
}

// bars reports whether token must not be adopted: it was refused, or is older than one
// that was.
func (r rejections) bars(token upstream.Token) bool {
	if r.rejectionHistory == nil {
		return false
	}
	return token.Same(r.token) || !token.Issued().After(r.token.Issued())
}

// due reports whether the token that h holds is to be replaced although it is fresh.
func (r rejections) due(h *held) bool {
	return r.rejectionHistory != nil && r.again && h != nil && h.token.Same(r.token)
}

// settle notes that the load f has ended with err.
func (r rejections) settle(f *flight, err error, now instant) {
	if r.rejectionHistory == nil || f.rejected.IsZero() {
		return
	}
	if err == nil {
		pause := min(firstReplacePause<<min(r.replaced, 10), r.longest)
		r.replaced++
		r.next, r.again = now.add(pause), false
		return
	}
	r.again = r.next.reached(now)
}

// Reject reports that a target answered 401 to rejected. If that is the token
// in use, it makes one token request for a better one and blocks until that
// ends or ctx does; many may report the same token, and they share the one
// request. Others go on with the old token meanwhile, since it may well be
// good for what they ask. Afterwards Token returns the new token, or the same
// if there is no other.
func (c *Cache) Reject(ctx context.Context, key upstream.Key, rejected upstream.Token) {
	c.reject(ctx, key, rejected, maxReplacePause)
}

func (c *Cache) reject(ctx context.Context, key upstream.Key, rejected upstream.Token, longest time.Duration) {
	e := c.table.get(key)
	if e == nil {
		return
	}
	defer e.release()
	e.mu.Lock()
	now := c.now()
	if h := e.held.Load(); h == nil || !h.token.Same(rejected) {
		e.mu.Unlock()
		e.source.metrics.Rejection("adopted")
		return
	}
	e.rejections.note(rejected, now, longest)
	f, action, err := c.replace(e, rejected, now)
	e.mu.Unlock()
	if err == errGone {
		c.reject(ctx, key, rejected, longest) // of the entry that has taken its place
		return
	}
	e.source.metrics.Rejection(action)
	if f != nil {
		_, _ = f.wait(ctx) // Token tells what came of it
	}
}

// replace returns the flight that replaces the rejected token of e, nil if none may
// start now, and what it is for the metrics. While a token request may not be made it
// still looks at what other replicas share. e.mu is held.
func (c *Cache) replace(e *entry, rejected upstream.Token, now instant) (*flight, string, error) {
	if e.flight != nil {
		e.flight.rejected = rejected
		return e.flight, "replaced", nil
	}
	f := &flight{used: true, rejected: rejected, turn: c.turnOfRequest(e, needUsable), needed: now}
	action := "replaced"
	if next := e.rejections.next; !next.reached(now) {
		action = "cooled_down"
		f.forbidden = &Error{RetryAfter: next.until(now), Cause: &upstream.Error{Upstream: e.key.Upstream,
			Class: upstream.ClassUnavailable, Reason: "a token was replaced a short while ago"}}
	}
	err := c.launch(e, f, now)
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
	return f, action, nil
}
