package cache_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// exchanging is a stub that notes which token of a user it was to exchange last.
type exchanging struct {
	*stub
	got atomic.Pointer[string]
}

// Fetch implements [upstream.Upstream].
func (s *exchanging) Fetch(ctx context.Context, key upstream.Key, tokens upstream.TokenSource) (upstream.Token, error) {
	given := upstream.SubjectTokenOf(ctx).Reveal()
	s.got.Store(&given)
	return s.stub.Fetch(ctx, key, tokens)
}

// A key on demand is never refreshed without a request: not while its token is stale and used,
// not when that is over, not after its replacement has failed. Each token request has what
// the request had that it is made for.
func TestKeyOnDemandIsLoadedForRequestsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refuses atomic.Bool
		s := &exchanging{stub: &stub{name: "up", life: 100 * time.Second, answer: func(int, upstream.Key) error {
			if refuses.Load() {
				return failing(upstream.ClassSubject)
			}
			return nil
		}}}
		c := cache.New(cache.Config{Upstreams: []upstream.Upstream{s}, Metrics: metrics.New("test")})
		defer c.Close()
		k := key(s.stub, "hash")
		k.Kind = upstream.KindExchanged
		with := func(token string) context.Context {
			return upstream.WithSubjectToken(t.Context(), upstream.NewSecret(token))
		}
		expect := func(when string, requests int, token string) {
			t.Helper()
			synctest.Wait()
			if s.count() != requests || *s.got.Load() != token {
				t.Errorf("%s: %d token requests, want %d; the last one for %q, want %q", when, s.count(), requests, *s.got.Load(), token)
			}
		}
		for range 97 {
			if _, err := c.Token(with("one"), k); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		expect("to the end of the token", 1, "one")
		time.Sleep(10 * time.Minute)
		expect("when it is over", 1, "one")
		token, err := c.Token(with("two"), k)
		if err != nil {
			t.Fatal(err)
		}
		expect("asked again", 2, "two")
		refuses.Store(true)
		c.Reject(with("three"), k, token)
		expect("rejected", 3, "three")
		time.Sleep(10 * time.Minute)
		expect("after a replacement that failed", 3, "three")
	})
}

// buying is a stub whose tokens of subjects are bought with one that has none.
type buying struct{ *stub }

// Fetch implements [upstream.Upstream].
func (s buying) Fetch(ctx context.Context, key upstream.Key, tokens upstream.TokenSource) (upstream.Token, error) {
	if key.Subject != "" {
		parent := key
		parent.Subject = ""
		time.Sleep(time.Millisecond) // so that the time of this load ends first
		if _, err := tokens.Token(ctx, parent); err != nil {
			return upstream.Token{}, err
		}
	}
	return s.stub.Fetch(ctx, key, tokens)
}

// A load that only waits for the token which it buys others with has made no token request.
func TestWaitingForAnotherTokenIsNoTokenRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := buying{&stub{name: "up", life: time.Hour, delay: time.Hour}}
		m := metrics.New("test")
		c := cache.New(cache.Config{Upstreams: []upstream.Upstream{s}, Metrics: m})
		defer c.Close()
		_, err := c.Token(t.Context(), key(s.stub, "person"))
		var failed *cache.Error
		if !errors.As(err, &failed) || strings.Contains(err.Error(), "broken off") {
			t.Errorf("it fails with %v", err)
		}
		time.Sleep(10 * time.Millisecond) // the request for the other token ends
		if requests := total(t, m, "token_sidecar_token_requests_total"); requests != 1 || s.count() != 1 {
			t.Errorf("%v token requests are counted, %d were made", requests, s.count())
		}
	})
}

// A token is fresh when it comes, however early it is to be replaced.
func TestNewTokensAreFresh(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			s := &stub{name: "up", life: time.Hour}
			c := newCache(t, s, cache.Config{RefreshAhead: 0.9})
			mustToken(t, c, key(s, "person"))
			time.Sleep(time.Second)
			mustToken(t, c, key(s, "person"))
			synctest.Wait()
			if s.count() != 1 {
				t.Errorf("%d token requests", s.count())
			}
		})
	}
}

// A look-up for a subject that the provider refuses is neither good nor bad: it must not use up what is
// left of the objective.
func TestRefusedSubjectsAreNoFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Hour, answer: func(_ int, k upstream.Key) error {
			if k.Subject == "refused" {
				return failing(upstream.ClassSubject)
			}
			return failing(upstream.ClassScope)
		}}
		m := metrics.New("test")
		c := cache.New(cache.Config{Upstreams: []upstream.Upstream{s}, Metrics: m})
		defer c.Close()
		for _, subject := range []string{"refused", "refused", "other"} {
			if _, err := c.Token(t.Context(), key(s, subject)); err == nil {
				t.Error("there is a token")
			}
		}
		if _, all := m.Lookups("up"); all != 1 || total(t, m, "token_sidecar_token_lookups_total") != 3 {
			t.Errorf("%d look-ups count, want that of the other", all)
		}
	})
}
