package proxy

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"token-sidecar/upstream"
)

// issuer makes the tokens of a side. What a token endpoint may answer is tested in
// package upstream; here a function stands for it, so that tests need no socket for it
// and can run by a fake clock.
type issuer struct {
	count  atomic.Int64                          // token requests so far
	answer func(n int64) (upstream.Token, error) // to the n-th, counted from 1; nil: a token for an hour
}

// issuing is an upstream that asks an issuer instead of a token endpoint.
type issuing struct {
	upstream.Upstream
	from *issuer
}

// Fetch implements [upstream.Upstream].
func (u issuing) Fetch(context.Context, upstream.Key, upstream.TokenSource) (upstream.Token, error) {
	n := u.from.count.Add(1)
	if u.from.answer == nil {
		return newToken(n, "", time.Hour)
	}
	return u.from.answer(n)
}

// tokenOf is the n-th token of an issuer.
func tokenOf(n int64) string { return fmt.Sprintf("canary-%d-AbCdEf+/0123456789==", n) }

// newToken is the n-th token, issued now.
func newToken(n int64, scope string, life time.Duration) (upstream.Token, error) {
	now := time.Now()
	return upstream.NewToken(tokenOf(n), scope, now, now.Add(life))
}

// unavailable is how a token endpoint fails that is down.
func unavailable() (upstream.Token, error) {
	return upstream.Token{}, &upstream.Error{Upstream: "alpha", Class: upstream.ClassUnavailable, Status: 503, Reason: "down"}
}

// oauth2 is an upstream whose tokens come from the side's issuer.
func (s *side) oauth2(name, target string) upstream.Upstream {
	real := upstream.NewOAuth2(upstream.OAuth2Config{Name: name, ClientID: "id", ClientSecret: upstream.NewSecret("shh"),
		Config: upstream.Config{TokenURL: mustURL("http://127.0.0.1:1/token"), Target: mustURL(target), Scope: "read", AllowedScopes: "write"}})
	return issuing{real, s.idp}
}
