package cache

import (
	"time"

	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

// cachedToken is a token and the times that bound its states: it is fresh until
// staleAt, stale from then until invalidAt, and invalid from then on. It never changes.
// With 64 bytes it fits into one line of a processor's memory: among a million tokens a
// look-up takes as long as the lines that it waits for.
type cachedToken struct {
	staleAt   instant // from here on it is replaced in the background
	invalidAt instant // from here on it is not used
	token     upstream.Token
	version   shared.Version // of its value in Redis, if it is shared
}

// life returns how long the token lives from its issue to its expiry.
func (t *cachedToken) life() time.Duration { return t.token.Expiry().Sub(t.token.Issued()) }

// usable reports whether t, which may be nil, is a token that may be used at now. A fresh one
// always may, since staleAt is never later than invalidAt. One that was issued under a client
// certificate that is no longer in use may not.
func (t *cachedToken) usable(now instant) bool {
	return t != nil && !t.over(now) && t.token.Certificate().InUse()
}

// over reports whether t is invalid at now.
func (t *cachedToken) over(now instant) bool { return t.invalidAt.reached(now) }

// fresh reports whether t, which may be nil, is a token that need not be replaced at now.
func (t *cachedToken) fresh(now instant) bool {
	return t != nil && !t.staleAt.reached(now) && t.token.Certificate().InUse()
}

// maxSkew is taken off a token's end for whole-second clocks, drift, and the time between
// the look-up here and the target's check; it is never more than a tenth of the life.
const maxSkew = 2 * time.Second

// newCachedToken computes the states of a token with the given life, of which left is
// left. ahead is the fraction of the life in which the token is replaced.
func newCachedToken(token upstream.Token, life, left time.Duration, now instant, ahead float64) *cachedToken {
	invalid := left - min(maxSkew, life/10)
	stale := min(left-time.Duration(ahead*float64(life)), invalid)
	return &cachedToken{staleAt: now.add(stale), invalidAt: now.add(invalid), token: token}
}

// newIssuedToken is newCachedToken for a token that was issued by our own clock, in a
// token request that began at began. If the wall clock was set back since, the token has
// gained no life by that.
func newIssuedToken(token upstream.Token, began, now instant, ahead float64) *cachedToken {
	setBack := max((now.mono-began.mono)-(now.wall-began.wall), 0)
	left := time.Duration(token.Expiry().UnixNano() - now.wall - setBack)
	return newCachedToken(token, token.Expiry().Sub(token.Issued()), left, now, ahead)
}

// need says how much life a token must have left.
type need int

const (
	needUsable need = iota // any at all
	needFresh              // it buys other tokens: one about to end must not buy another that may end with it
	needHalf               // it is handed on: half of its life
)

// metBy reports whether t, which may be nil, has the life that is needed at now.
func (n need) metBy(t *cachedToken, now instant) bool {
	switch n {
	case needFresh:
		return t.fresh(now)
	case needHalf:
		return t.usable(now) && !t.invalidAt.add(-t.life()/2).reached(now)
	}
	return t.usable(now)
}
