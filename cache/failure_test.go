package cache_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

func runtimeGoexit() { runtime.Goexit() }

// held returns how many entries the cache reports, in whatever state.
func held(t *testing.T, m *metrics.Metrics) float64 {
	t.Helper()
	return total(t, m, "token_sidecar_tokens")
}

// total adds up the series of one name.
func total(t *testing.T, m *metrics.Metrics, name string) float64 {
	t.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, series := range f.GetMetric() {
			if f.GetName() == name {
				sum += series.GetGauge().GetValue() + series.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// TestTokenOutlivesAnOutageOfItsEndpoint has the token endpoint fail for 60 s around a token's end.
//
// Cases F5, F9.
func TestTokenOutlivesAnOutageOfItsEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, down := breakable(time.Minute)
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		first := mustToken(t, c, key(s, "a"))
		time.Sleep(40 * time.Second)
		down.Store(true)
		before := s.count()
		refusedAt := time.Duration(0)
		for i := range 600 {
			time.Sleep(100 * time.Millisecond)
			token, err := c.Token(t.Context(), key(s, "a"))
			switch {
			case err == nil && !token.Same(first):
				t.Fatal("a token came from a dead endpoint")
			case err == nil && !time.Now().Before(first.Expiry()):
				t.Fatal("an expired token was served")
			case err != nil && refusedAt == 0:
				refusedAt = time.Since(first.Issued())
			}
			var refused *cache.Error
			if err != nil && (!errors.As(err, &refused) || refused.RetryAfter <= 0) {
				t.Fatalf("request %d: %v does not say when to try again", i, err)
			}
		}
		if refusedAt < 58*time.Second || refusedAt > 60*time.Second {
			t.Errorf("the old token served for %s of its 60 s", refusedAt)
		}
		if n := s.count() - before; n < 3 || n > 75 {
			t.Errorf("%d token requests in 60 s of outage, want no more than one in 0.8 s", n)
		}
		down.Store(false)
		healed := time.Now()
		for {
			if _, err := c.Token(t.Context(), key(s, "a")); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(healed); took > time.Second {
			t.Errorf("healed %s after the endpoint, want within a second, since requests fail", took)
		}
	})
}

// TestOutageOfManyKeysCostsFewRequests counts over all keys of one upstream.
//
// Case F5.
func TestOutageOfManyKeysCostsFewRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, down := breakable(time.Minute)
		down.Store(true)
		c := newCache(t, s, cache.Config{TokenRate: 1000}) // what the limit holds back is no outage
		defer c.Close()
		for i := range 6000 {
			if _, err := c.Token(t.Context(), key(s, fmt.Sprint(i%500))); err == nil {
				t.Fatal("a token came from a dead endpoint")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := s.count(); n > 78 {
			t.Errorf("%d token requests for 500 keys in 60 s of outage, want no more than one in 0.8 s", n)
		}
		down.Store(false)
		lastFailure := time.Duration(0)
		for began, i := time.Now(), 0; i < 1000; i++ {
			if _, err := c.Token(t.Context(), key(s, fmt.Sprint(i%500))); err != nil {
				lastFailure = time.Since(began)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if lastFailure > 2*time.Second {
			t.Errorf("the last request failed %s after the endpoint came back", lastFailure)
		}
	})
}

// Case F5.
func TestRetryAfterIsHonored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Minute, answer: func(n int, _ upstream.Key) error {
			if n == 1 {
				return &upstream.Error{Upstream: "up", Class: upstream.ClassThrottled, RetryAfter: 90 * time.Second}
			}
			return nil
		}}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		for i := range 89 {
			_, err := c.Token(t.Context(), key(s, fmt.Sprint(i)))
			var refused *cache.Error
			if !errors.As(err, &refused) || refused.RetryAfter > 90*time.Second-time.Duration(i)*time.Second {
				t.Fatalf("second %d: %v", i, err)
			}
			time.Sleep(time.Second)
		}
		if s.count() != 1 {
			t.Errorf("%d token requests while asked for quiet", s.count())
		}
		time.Sleep(2 * time.Second)
		mustToken(t, c, key(s, "late"))
	})
}

// Case F8.
func TestRefusedCredentialStopsTheUpstreamUntilItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *stub
		s = &stub{name: "up", life: time.Minute, answer: func(int, upstream.Key) error {
			if s.credential.Load() == 0 {
				return failing(upstream.ClassCredential)
			}
			return nil
		}}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		for i := range 100 {
			_, err := c.Token(t.Context(), key(s, fmt.Sprint(i)))
			var refused *cache.Error
			if !errors.As(err, &refused) || refused.Cause.Class != upstream.ClassCredential {
				t.Fatalf("got %v", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if s.count() != 1 {
			t.Errorf("%d token requests with a refused credential", s.count())
		}
		s.credential.Store(1)
		mustToken(t, c, key(s, "after"))
	})
}

// Case F8.
func TestRefusedCredentialIsRetriedSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Minute, answer: func(int, upstream.Key) error {
			return failing(upstream.ClassCredential)
		}}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		c.Pin(key(s, ""))
		time.Sleep(time.Hour)
		if n := s.count(); n < 4 || n > 15 {
			t.Errorf("%d token requests in an hour with a refused credential", n)
		}
	})
}

// Case D11.
func TestRefusedSubjectStopsOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var connected atomic.Bool
		s := &stub{name: "up", life: time.Hour, answer: func(_ int, k upstream.Key) error {
			if k.Subject == "alice" && !connected.Load() {
				return failing(upstream.ClassSubject)
			}
			return nil
		}}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		for range 20 {
			if _, err := c.Token(t.Context(), key(s, "alice")); err == nil {
				t.Fatal("alice got a token")
			}
			mustToken(t, c, key(s, "bob"))
			time.Sleep(time.Second)
		}
		if n := s.of(key(s, "alice")); n != 1 {
			t.Errorf("%d token requests for alice within 20 s", n)
		}
		connected.Store(true)
		time.Sleep(10 * time.Second)
		mustToken(t, c, key(s, "alice"))
	})
}

// TestOneFailingKeyDoesNotOpenTheBreaker has one key's endpoint errors leave the
// others alone, whether these are asked for in between or only after six of them in a row.
//
// Case D11.
func TestOneFailingKeyDoesNotOpenTheBreaker(t *testing.T) {
	for _, failures := range []int{1, 6} {
		synctest.Test(t, func(t *testing.T) {
			s := &stub{name: "up", life: time.Hour, answer: func(_ int, k upstream.Key) error {
				if k.Subject == "alice" {
					return failing(upstream.ClassUnavailable)
				}
				return nil
			}}
			c := newCache(t, s, cache.Config{})
			defer c.Close()
			for i := range 100 {
				_, _ = c.Token(t.Context(), key(s, "alice"))
				if s.of(key(s, "alice")) >= failures {
					mustToken(t, c, key(s, fmt.Sprint(i)))
				}
				time.Sleep(time.Second)
			}
		})
	}
}

// TestRefusedKeysAreForgotten lets failures of many subjects pass by.
//
// Case J1.
func TestRefusedKeysAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Hour, answer: func(int, upstream.Key) error {
			return failing(upstream.ClassSubject)
		}}
		m := metrics.New("test")
		c := cache.New(cache.Config{Upstreams: []upstream.Upstream{s}, Metrics: m, TokenRate: 1e6})
		defer c.Close()
		for i := range 1000 {
			_, _ = c.Token(t.Context(), key(s, fmt.Sprint(i)))
		}
		if n := held(t, m); n != 1000 {
			t.Errorf("%v entries for 1,000 refused subjects", n)
		}
		time.Sleep(5 * time.Minute)
		if n := held(t, m); n != 0 {
			t.Errorf("%v entries are left of refused subjects", n)
		}
		if s.count() != 1000 {
			t.Errorf("%d token requests for 1,000 refused subjects", s.count())
		}
	})
}

func TestTokenRateIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Hour}
		c := newCache(t, s, cache.Config{TokenRate: 10})
		defer c.Close()
		began := time.Now()
		for i := range 110 {
			mustToken(t, c, key(s, fmt.Sprint(i)))
		}
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("110 token requests at 10 a second, 10 at once, took %s", took)
		}
	})
}

// TestNarrowScopeIsCounted has the provider grant less than was asked for.
func TestNarrowScopeIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Hour, scope: "read"}
		m := metrics.New("test")
		c := cache.New(cache.Config{Upstreams: []upstream.Upstream{s}, Metrics: m})
		defer c.Close()
		for _, asked := range []string{"read", "read write", "write"} {
			if token := mustToken(t, c, upstream.Key{Upstream: "up", Scope: asked}); token.Scope() != "read" {
				t.Errorf("the token says it was granted %q", token.Scope())
			}
		}
		if n := total(t, m, "token_sidecar_narrow_scope_total"); n != 2 {
			t.Errorf("counted %v tokens of narrower scope, want 2", n)
		}
	})
}

// TestHangingUpstreamDelaysNoOther has another upstream's requests not notice.
//
// Case F11.
func TestHangingUpstreamDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := &stub{name: "hung", life: time.Minute, delay: time.Hour}
		well := &stub{name: "well", life: time.Minute, delay: time.Second}
		c := cache.New(cache.Config{Upstreams: []upstream.Upstream{hung, well}, Metrics: metrics.New("test")})
		defer c.Close()
		for i := range 300 {
			go func() { _, _ = c.Token(t.Context(), key(hung, fmt.Sprint(i))) }()
		}
		for i := range 30 { // in which the hung requests time out and are made again
			before := time.Now()
			mustToken(t, c, key(well, fmt.Sprint(i)))
			if took := time.Since(before); took != time.Second {
				t.Fatalf("a token took %s while another upstream hangs, want its own second", took)
			}
		}
	})
}

// TestLoadsAreBounded asks for more new subjects than the endpoint, which
// hangs, can be asked for. The entries of the loads under way stay, whatever the
// bound on entries; those of the refused do not.
//
// Case J1.
func TestLoadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Hour, delay: time.Hour}
		m := metrics.New("test")
		c := cache.New(cache.Config{Upstreams: []upstream.Upstream{s}, Metrics: m, TokenRate: 1e9, MaxTokens: 1500})
		defer c.Close()
		var refused atomic.Int32
		for i := range 2400 {
			go func() {
				_, err := c.Token(t.Context(), key(s, fmt.Sprint(i)))
				var failed *cache.Error
				if errors.As(err, &failed) && failed.Cause.Class == upstream.ClassThrottled && failed.RetryAfter > 0 {
					refused.Add(1)
				}
			}()
		}
		synctest.Wait()
		if n := held(t, m); n > 2200 || refused.Load() != 2400-2048 {
			t.Errorf("%v entries, %d refused at once", n, refused.Load())
		}
	})
}

// TestFailureIsTold has a token endpoint refuse with a clock that is ahead, then not be reached, then
// answer: the log has each part of a failure as a field, and the clock stands in its series until an
// answer says otherwise.
//
// Case U5.
func TestFailureIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := []*upstream.Error{
			{Upstream: "up", Class: upstream.ClassSubject, Code: "access_denied", Status: 403, Skew: time.Minute, Reason: "no"},
			{Upstream: "up", Class: upstream.ClassUnavailable, Cause: "dns_error", Reason: "no answer"},
			nil,
		}
		s := &stub{name: "up", life: time.Hour, answer: func(n int, _ upstream.Key) error {
			if failures[n-1] == nil {
				return nil
			}
			return failures[n-1]
		}}
		var log bytes.Buffer
		m := metrics.New("test")
		c := cache.New(cache.Config{Upstreams: []upstream.Upstream{s}, Metrics: m, Log: zerolog.New(&log)})
		defer c.Close()
		for i, want := range []struct {
			skew float64
			log  string
		}{
			{60, `"class":"subject","code":"access_denied","http_status":403,"clock_skew":"1m0s","error":`},
			{60, `"class":"unavailable","cause":"dns_error","error":`},
			{0, ""},
		} {
			log.Reset()
			_, err := c.Token(t.Context(), key(s, fmt.Sprint("subject-", i)))
			if (err == nil) != (failures[i] == nil) {
				t.Fatalf("token request %d: %v", i+1, err)
			}
			if got := total(t, m, "token_sidecar_clock_skew_seconds"); got != want.skew {
				t.Errorf("after token request %d the clock is %g s ahead, want %g", i+1, got, want.skew)
			}
			if !strings.Contains(log.String(), want.log) || want.log == "" && log.Len() > 0 {
				t.Errorf("after token request %d the log says %s", i+1, &log)
			}
		}
	})
}
