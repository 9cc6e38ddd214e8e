package cache

import (
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

// rejectionHistory is what rejections remember once a target has refused a token. It has
// a type of its own because the entries of most keys never need its memory.
type rejectionHistory struct {
	token    upstream.Token // the last that a target refused; it is never taken from other replicas
	replaced int            // how often a refused token was replaced
	next     instant        // no replacement before
	last     instant        // when a target refused a token last
	longest  time.Duration  // the longest pause between two replacements
	again    bool           // the replacement failed and is tried again in the background
}

// add remembers that a target refused token.
func (r *rejections) add(token upstream.Token, now instant, longest time.Duration) {
	if r.rejectionHistory == nil || r.last.add(forgetRejections).reached(now) {
		r.rejectionHistory = &rejectionHistory{}
	}
	r.token, r.last, r.longest = token, now, longest
}

// exclude reports whether token must not be taken from other replicas: it was refused,
// or is older than one that was.
func (r rejections) exclude(token upstream.Token) bool {
	return r.rejectionHistory != nil &&
		(token.Same(r.token) || !token.Issued().After(r.token.Issued()))
}

// due reports whether t, which may be nil, is to be replaced although it is fresh.
func (r rejections) due(t *cachedToken) bool {
	return r.rejectionHistory != nil && r.again && t != nil && t.token.Same(r.token)
}

// replacementEnded remembers that a load which was to replace a refused token has ended
// with err.
func (r rejections) replacementEnded(err error, now instant) {
	if r.rejectionHistory == nil {
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
