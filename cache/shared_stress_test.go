package cache

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/cache/shared"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// fleetOn returns n replicas of i with the Redis of a network.
func (i *issuer) fleetOn(t *testing.T, network *redistest.Network, n int) (all []*Cache) {
	t.Helper()
	for range n {
		c, _ := i.joinOn(t, network)
		all = append(all, c)
	}
	return all
}

// TestRecoveryIsNoticed has a token endpoint fail for ten seconds, while eight
// replicas use tokens that end meanwhile.
//
// Case R16.
func TestRecoveryIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		i := &issuer{life: 12 * time.Second, delay: 50 * time.Millisecond}
		replicas := i.fleetOn(t, network, 8)
		var mu sync.Mutex
		var healed time.Time
		firstGood, lastBad := time.Duration(-1), time.Duration(0)
		var all sync.WaitGroup
		begin := time.Now()
		for r, c := range replicas {
			for k := range 10 {
				all.Go(func() {
					for time.Since(begin) < 60*time.Second {
						_, err := c.Token(t.Context(), subject(fmt.Sprint("s", k)))
						mu.Lock()
						if since := time.Since(healed); !healed.IsZero() && err != nil {
							lastBad = max(lastBad, since)
						} else if !healed.IsZero() && firstGood < 0 {
							firstGood = since
						}
						mu.Unlock()
						time.Sleep(time.Duration(90+r) * time.Millisecond)
					}
				})
			}
		}
		time.Sleep(20 * time.Second)
		i.fail.Store(&upstream.Error{Upstream: "up", Class: upstream.ClassUnavailable, Status: 503})
		time.Sleep(22 * time.Second) // all tokens have ended for ten seconds by then
		mu.Lock()
		healed = time.Now()
		mu.Unlock()
		i.fail.Store(nil)
		all.Wait()
		if firstGood < 0 || firstGood > time.Second+i.delay+110*time.Millisecond || lastBad > 2*time.Second {
			t.Errorf("the first good answer came after %s, and the last bad one after %s", firstGood, lastBad)
		}
	})
}

// TestRevocationAfterRevocation has a target revoke a token and, five seconds
// later, its replacement, while eight replicas send 400 requests a second.
//
// Case R3.
func TestRevocationAfterRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		i := &issuer{life: time.Hour, delay: 100 * time.Millisecond}
		var revoked sync.Map
		var last atomic.Pointer[time.Time]
		begin := time.Now()
		var all sync.WaitGroup
		for _, c := range i.fleetOn(t, network, 8) {
			for n := range 5 {
				all.Go(func() {
					time.Sleep(time.Duration(n) * 20 * time.Millisecond)
					for time.Since(begin) < 20*time.Second {
						if send(t, c, &revoked) {
							now := time.Now()
							last.Store(&now)
						}
						time.Sleep(100 * time.Millisecond)
					}
				})
			}
		}
		revoke := func(want int32) {
			revoked.Store(fmt.Sprint("alice-", i.calls.Load()), true)
			now := time.Now()
			time.Sleep(4 * time.Second)
			if bad := last.Load(); bad != nil && bad.Sub(now) > 1500*time.Millisecond {
				t.Errorf("apps saw 401s for %s", bad.Sub(now))
			}
			if n := i.calls.Load(); n != want {
				t.Errorf("%d token requests, want %d", n, want)
			}
		}
		time.Sleep(2 * time.Second)
		revoke(2)
		time.Sleep(time.Second)
		revoke(3)
		all.Wait()
	})
}

// send sends a request as the proxy does, and reports whether the app sees a 401.
func send(t *testing.T, c *Cache, revoked *sync.Map) bool {
	for range 2 {
		token, err := c.Token(t.Context(), subject("alice"))
		if err != nil {
			t.Errorf("no token: %v", err)
			return false
		}
		if _, bad := revoked.Load(token.AccessToken()); !bad {
			return false
		}
		c.Reject(t.Context(), subject("alice"), token)
	}
	return true
}

// TestRefusedReplacementStaysRefused has a subject go away: its token is refused by
// the target, and the provider gives no other. No replica may come to use that token
// again, neither from its memory nor from Redis.
//
// Case R2.
func TestRefusedReplacementStaysRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		i := &issuer{life: time.Hour}
		replicas := i.fleetOn(t, network, 3)
		p := namesOn(t, network, replicas[0].config.Shared, "alice")
		for _, c := range replicas {
			mustGet(t, c, "alice")
		}
		i.fail.Store(&upstream.Error{Upstream: "up", Class: upstream.ClassSubject, Status: 400})
		refusals := func(c *Cache) {
			t.Helper()
			token, err := c.Token(t.Context(), subject("alice"))
			if err == nil {
				c.Reject(t.Context(), subject("alice"), token)
				_, err = c.Token(t.Context(), subject("alice"))
			}
			var known *Error
			if !errors.As(err, &known) || known.Cause.Class != upstream.ClassSubject {
				t.Errorf("after the refusal: %v", err)
			}
		}
		for _, c := range replicas {
			refusals(c)
			synctest.Wait()
			if network.Redis.Exists(p.value) {
				t.Error("the refused token is in Redis still")
			}
		}
		for range 60 {
			time.Sleep(5 * time.Second)
			for _, c := range append(replicas, i.fleetOn(t, network, 1)...) {
				if _, err := c.Token(t.Context(), subject("alice")); err == nil {
					t.Fatal("the refused token came back")
				}
			}
		}
	})
}

// TestAFailedReplacementIsTriedAgain has the replacement of a revoked token fail,
// of a key that nobody asks for afterwards, and of one that is asked for all the time.
//
// Case R3.
func TestAFailedReplacementIsTriedAgain(t *testing.T) {
	for _, used := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			network := redistest.NewNetwork(t)
			i := &issuer{life: time.Hour}
			c, _ := i.joinOn(t, network)
			c.Pin(subject("alice"))
			first, _ := c.Token(t.Context(), subject("alice"))
			i.fail.Store(&upstream.Error{Upstream: "up", Class: upstream.ClassUnavailable, Status: 503})
			c.Reject(t.Context(), subject("alice"), first)
			i.fail.Store(nil)
			for began := time.Now(); time.Since(began) < 3*time.Second; time.Sleep(50 * time.Millisecond) {
				if used {
					token, _ := c.Token(t.Context(), subject("alice"))
					c.Reject(t.Context(), subject("alice"), token)
					if !token.Same(first) {
						break
					}
				}
			}
			if token, err := c.Token(t.Context(), subject("alice")); err != nil || token.Same(first) {
				t.Errorf("used %v: three seconds after the endpoint came back the revoked token is in use: %v", used, err)
			}
		})
	}
}

// TestAHungEndpointIsAskedByOne has forty replicas wait for the token of one key, of
// an endpoint that hangs.
//
// Case R4.
func TestAHungEndpointIsAskedByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		i := &issuer{life: time.Hour, delay: time.Hour}
		var all sync.WaitGroup
		begin := time.Now()
		for _, c := range i.fleetOn(t, network, 40) {
			all.Go(func() {
				for time.Since(begin) < 5*time.Second {
					asked := time.Now()
					_, err := c.Token(t.Context(), subject("alice"))
					var known *Error
					if !errors.As(err, &known) || known.RetryAfter <= 0 {
						t.Errorf("from an endpoint that hangs: %v", err)
					}
					if took := time.Since(asked); took > 25*time.Second {
						t.Errorf("a request waited for %s", took)
					}
					time.Sleep(time.Second)
				}
			})
		}
		all.Wait()
		if n := i.peak.Load(); n > 2 {
			t.Errorf("%d token requests for one key at a time", n)
		}
	})
}

// TestSlowRedisIsShared has Redis 130 ms away.
//
// Case R10.
func TestSlowRedisIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		network.Play(redistest.Far(130 * time.Millisecond))
		i := &issuer{life: time.Hour, delay: 200 * time.Millisecond}
		replicas := i.fleetOn(t, network, 10)
		for _, c := range replicas {
			go c.config.Shared.Begin(t.Context())
		}
		time.Sleep(5 * time.Second)
		var all sync.WaitGroup
		for _, c := range replicas {
			for k := range 5 {
				all.Go(func() { mustGet(t, c, fmt.Sprint("s", k)) })
			}
		}
		all.Wait()
		if n := i.calls.Load(); n != 5 {
			t.Errorf("%d token requests for 5 keys", n)
		}
	})
}

// TestLongTokenAdoptsNoDyingOne has a replica that holds nothing find a shared token of
// which little is left, when it needs one to hand on: it gets another, and makes do with
// what it found only if there is no other.
func TestLongTokenAdoptsNoDyingOne(t *testing.T) {
	for _, down := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			network := redistest.NewNetwork(t)
			i := &issuer{life: time.Hour}
			first, _ := i.joinOn(t, network)
			mustGet(t, first, "alice")
			time.Sleep(45 * time.Minute)
			if down {
				i.fail.Store(&upstream.Error{Upstream: "up", Class: upstream.ClassUnavailable, Status: 503})
			}
			cold, _ := i.joinOn(t, network)
			token, err := cold.LongToken(t.Context(), subject("alice"))
			want := map[bool]string{false: "alice-2", true: "alice-1"}[down]
			if err != nil || token.AccessToken() != want {
				t.Errorf("down %v: got %q, want %s: %v", down, token.AccessToken(), want, err)
			}
			if left := time.Until(token.Expiry()); (left < 16*time.Minute) != down {
				t.Errorf("down %v: its expiry says that %s are left", down, left)
			}
		})
	}
}

// TestAdoptionsTakeNoTurns has a replica that holds nothing find more shared tokens at
// once than it may make token requests.
func TestAdoptionsTakeNoTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		i := &issuer{life: time.Hour}
		first, _ := i.joinOn(t, network)
		const n = 100
		for k := range n {
			mustGet(t, first, fmt.Sprint("s", k))
		}
		synctest.Wait()
		m := metrics.New("test")
		store := mustShare(t, shared.Config{URL: upstream.NewSecret("redis://redis.test"), Dial: network.Dial, Ring: ring("a"), Metrics: m})
		slow := New(Config{Upstreams: []upstream.Upstream{&replica{issuer: i}}, Metrics: m, Shared: store, TokenRate: 2})
		defer slow.Close()
		for k := range n {
			if took := spentBy(t, slow, fmt.Sprint("s", k)); took != 0 {
				t.Fatalf("adoption %d took %s", k, took)
			}
		}
		if calls := i.calls.Load(); calls != n {
			t.Errorf("%d token requests for %d tokens", calls, n)
		}
		for k := range 2 { // its own two turns are there still
			if took := spentBy(t, slow, fmt.Sprint("new-", k)); took != 0 {
				t.Errorf("token request %d waited %s for its turn", k, took)
			}
		}
	})
}
