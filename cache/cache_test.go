package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stub is an upstream whose token requests are a function.
type stub struct {
	name       string
	delay      time.Duration
	life       time.Duration
	scope      string // granted
	credential atomic.Int32
	answer     func(n int, key upstream.Key) error  // nil: always a token
	lifeOf     func(key upstream.Key) time.Duration // nil: life

	mu    sync.Mutex // guards the counts
	calls map[upstream.Key]int
	total int
	at    []time.Duration // of each call, from the first
	zero  time.Time
}

func (s *stub) Name() string                                                         { return s.name }
func (s *stub) Routes() []upstream.Route                                             { return nil }
func (s *stub) CloseIdleConnections()                                                {}
func (s *stub) Bind(t upstream.Token, _ upstream.Fingerprint) (upstream.Token, bool) { return t, true }
func (s *stub) Fingerprint() upstream.Fingerprint {
	return upstream.Fingerprint{byte(s.credential.Load())}
}
func (s *stub) Key(kind upstream.Kind, subject, scope string) (upstream.Key, error) {
	return upstream.Key{Upstream: s.name, Kind: kind, Subject: subject, Scope: scope}, nil
}

func (s *stub) Fetch(ctx context.Context, key upstream.Key, _ upstream.TokenSource) (upstream.Token, error) {
	s.mu.Lock()
	if s.calls == nil {
		s.calls, s.zero = map[upstream.Key]int{}, time.Now()
	}
	s.calls[key]++
	s.total++
	n := s.total
	s.at = append(s.at, time.Since(s.zero))
	s.mu.Unlock()
	began := time.Now()
	if s.delay > 0 {
		select {
		case <-time.After(s.delay):
		case <-ctx.Done():
			return upstream.Token{}, &upstream.Error{Upstream: s.name, Class: upstream.ClassUnavailable, Reason: "no answer"}
		}
	}
	if s.answer != nil {
		if err := s.answer(n, key); err != nil {
			return upstream.Token{}, err
		}
	}
	life := s.life
	if s.lifeOf != nil {
		life = s.lifeOf(key)
	}
	return upstream.NewToken(fmt.Sprintf("%s-%d", key.Subject, n), s.scope, began, began.Add(life))
}

func (s *stub) count() int { s.mu.Lock(); defer s.mu.Unlock(); return s.total }

func (s *stub) times() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Duration(nil), s.at...)
}

func (s *stub) of(key upstream.Key) int { s.mu.Lock(); defer s.mu.Unlock(); return s.calls[key] }

func newCache(t testing.TB, s *stub, config cache.Config) *cache.Cache {
	config.Upstreams = []upstream.Upstream{s}
	config.Metrics = metrics.New("test")
	c := cache.New(config)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func key(s *stub, subject string) upstream.Key {
	k, _ := s.Key(upstream.KindAccess, subject, "")
	return k
}

func mustToken(t *testing.T, c *cache.Cache, k upstream.Key) upstream.Token {
	t.Helper()
	token, err := c.Token(t.Context(), k)
	if err != nil {
		t.Fatalf("token for %s: %v", k.Subject, err)
	}
	return token
}

func failing(class upstream.Class) error {
	return &upstream.Error{Upstream: "up", Class: class, Reason: "as the test wants"}
}

// breakable returns an upstream whose token endpoint fails while down is set.
func breakable(life time.Duration) (s *stub, down *atomic.Bool) {
	down = &atomic.Bool{}
	return &stub{name: "up", life: life, answer: func(int, upstream.Key) error {
		if down.Load() {
			return failing(upstream.ClassUnavailable)
		}
		return nil
	}}, down
}

// Cases F1, F2.
func TestThousandFirstRequestsShareOneTokenRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Hour, delay: 500 * time.Millisecond}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		leaver, leave := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer leave()
		var wrong, left atomic.Int32
		var all sync.WaitGroup
		for i := range 1000 {
			ctx := t.Context()
			if i == 0 {
				ctx = leaver
			}
			all.Go(func() {
				token, err := c.Token(ctx, key(s, "a"))
				switch {
				case i == 0 && errors.Is(err, context.DeadlineExceeded):
					left.Add(1)
				case err != nil || token.AccessToken() != "a-1":
					wrong.Add(1)
				}
			})
			if i == 0 {
				synctest.Wait() // the one who leaves is the one who started the load
			}
		}
		all.Wait()
		if s.count() != 1 || wrong.Load() != 0 || left.Load() != 1 {
			t.Errorf("%d token requests, %d wrong answers, %d left; want 1, 0, 1", s.count(), wrong.Load(), left.Load())
		}
	})
}

// Case F2.
func TestLoadWithoutWaitersStillFillsTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Hour, delay: 500 * time.Millisecond}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := c.Token(ctx, key(s, "a"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, want the caller's own deadline", err)
		}
		time.Sleep(time.Second)
		began := time.Now()
		mustToken(t, c, key(s, "a"))
		if s.count() != 1 || time.Since(began) != 0 {
			t.Errorf("%d token requests and a wait of %s; want 1 and none", s.count(), time.Since(began))
		}
	})
}

// TestRefreshAhead uses a key once a second for ten lifetimes.
func TestRefreshAhead(t *testing.T) {
	for _, life := range []time.Duration{2 * time.Second, time.Minute, 20 * time.Minute, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s := &stub{name: "up", life: life, delay: min(life/100, time.Second)}
			c := newCache(t, s, cache.Config{})
			defer c.Close()
			mustToken(t, c, key(s, "a"))
			for range 1000 {
				time.Sleep(life / 100)
				before := time.Now()
				token := mustToken(t, c, key(s, "a"))
				if waited := time.Since(before); waited != 0 {
					t.Fatalf("a request waited %s for its token", waited)
				}
				if !time.Now().Before(token.Expiry()) {
					t.Fatal("an expired token was served")
				}
			}
			calls := s.times()
			for i := 1; i < len(calls); i++ {
				if gap := calls[i] - calls[i-1]; gap < life*3/4 || gap >= life {
					t.Errorf("life %s: token requests %s apart, want one per life, in its last quarter", life, gap)
				}
			}
			if n := len(calls); n < 11 || n > 14 {
				t.Errorf("life %s: %d token requests in ten lives", life, n)
			}
		})
	}
}

// Case E10.
func TestRefreshesVaryInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Hour}
		c := newCache(t, s, cache.Config{TokenRate: 1e6})
		defer c.Close()
		for i := range 1000 {
			mustToken(t, c, key(s, fmt.Sprint(i)))
		}
		perSecond := map[time.Duration]int{}
		time.Sleep(time.Hour)
		for _, at := range s.times()[1000:] {
			perSecond[at.Truncate(time.Second)]++
		}
		for at, n := range perSecond {
			if n > 20 {
				t.Errorf("%d of 1,000 refreshes fell into second %s", n, at)
			}
		}
		if len(perSecond) < 200 {
			t.Errorf("1,000 refreshes within %d seconds", len(perSecond))
		}
	})
}

func TestUnusedKeysAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Minute}
		m := metrics.New("test")
		c := cache.New(cache.Config{Upstreams: []upstream.Upstream{s}, Metrics: m})
		defer c.Close()
		mustToken(t, c, key(s, "a"))
		time.Sleep(time.Hour)
		if n := s.count(); n != 2 {
			t.Errorf("%d token requests for a key used once, want the first and one refresh", n)
		}
		if n := held(t, m); n != 0 {
			t.Errorf("%v tokens are still held", n)
		}
	})
}

func TestUseInTheStaleSpanRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Minute, delay: time.Second}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		mustToken(t, c, key(s, "a"))
		time.Sleep(55 * time.Second) // refreshed once, unused since
		time.Sleep(47 * time.Second) // at rest
		before := time.Now()
		if token := mustToken(t, c, key(s, "a")); token.AccessToken() != "a-2" || time.Since(before) != 0 {
			t.Errorf("got %s after %s, want the stale token at once", token.AccessToken(), time.Since(before))
		}
		time.Sleep(2 * time.Second)
		if token := mustToken(t, c, key(s, "a")); token.AccessToken() != "a-3" {
			t.Error("the use of a stale token did not have it replaced")
		}
	})
}

func TestPinnedKeyIsKeptFreshUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Minute, delay: time.Second}
		c := newCache(t, s, cache.Config{MaxTokens: 10})
		defer c.Close()
		c.Pin(key(s, ""))
		for i := range 600 {
			time.Sleep(10 * time.Second)
			mustToken(t, c, key(s, fmt.Sprint(i)))
			before := time.Now()
			mustToken(t, c, key(s, ""))
			if time.Since(before) != 0 {
				t.Fatal("a pinned token was waited for")
			}
		}
	})
}

// TestClosedCacheEndsItsLoads has Close end a load under way, and later calls fail.
//
// Case H9.
func TestClosedCacheEndsItsLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Minute, delay: time.Minute}
		c := newCache(t, s, cache.Config{TokenTimeout: time.Hour})
		failed := make(chan error, 1)
		go func() {
			_, err := c.Token(t.Context(), key(s, "a"))
			failed <- err
		}()
		synctest.Wait()
		before := time.Now()
		_ = c.Close()
		if err := <-failed; err == nil || time.Since(before) != 0 {
			t.Errorf("the load ended with %v after %s", err, time.Since(before))
		}
		if _, err := c.Token(t.Context(), key(s, "b")); !errors.Is(err, cache.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}

// TestTokenOverOnArrival has the answer take longer than the token lives.
func TestTokenOverOnArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: 10 * time.Second, delay: 20 * time.Second}
		c := newCache(t, s, cache.Config{TokenTimeout: time.Minute})
		defer c.Close()
		_, err := c.Token(t.Context(), key(s, "a"))
		var refused *cache.Error
		if !errors.As(err, &refused) || refused.Cause.Class != upstream.ClassMalformed {
			t.Errorf("a token that was over on arrival gave %v", err)
		}
	})
}

// Case F3.
func TestPanicAndGoexitFreeTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Minute, answer: func(n int, _ upstream.Key) error {
			switch n {
			case 1:
				panic("canary-secret")
			case 2:
				runtimeGoexit()
			}
			return nil
		}}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		var failed *cache.Error
		if _, err := c.Token(t.Context(), key(s, "a")); !errors.As(err, &failed) {
			t.Fatalf("got %v, want an *Error", err)
		}
		time.Sleep(10 * time.Second) // the second attempt is made in the background
		if mustToken(t, c, key(s, "a")); s.count() != 3 {
			t.Errorf("%d token requests, want 3", s.count())
		}
	})
}

// TestLongToken asks for tokens to hand on, at every moment of five lives.
func TestLongToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Minute}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		for range 300 {
			token, err := c.LongToken(t.Context(), key(s, "a"))
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(token.Expiry()); left < 30*time.Second {
				t.Fatalf("a token with %s of its minute left was handed out", left)
			}
			time.Sleep(time.Second)
		}
		if n := s.count(); n < 10 || n > 12 {
			t.Errorf("%d token requests in five lives, want one each half", n)
		}
	})
}
