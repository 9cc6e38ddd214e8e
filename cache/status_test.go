package cache_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache"
	"token-sidecar/cache/internal/redistest"
	"token-sidecar/cache/shared"
	"token-sidecar/cache/shared/goredis"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// only returns the status of a cache with one upstream.
func only(t *testing.T, c *cache.Cache) cache.SourceStatus {
	t.Helper()
	synctest.Wait()
	all := c.Status()
	if len(all) != 1 || all[0].Upstream != "up" {
		t.Fatalf("%+v", all)
	}
	return all[0]
}

func TestStatusFollowsATokensLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: 100 * time.Second, delay: 5 * time.Second}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		began := time.Now()
		if got := only(t, c); got != (cache.SourceStatus{Upstream: "up"}) {
			t.Errorf("at first: %+v", got)
		}
		c.Pin(key(s, ""))
		if got := only(t, c); got.Invalid != 1 || got.Loading != 1 || got.Pinned.Keys != 1 || got.Pinned.Loading != 1 || !got.NextRefresh.IsZero() ||
			!got.Last.Began.IsZero() {
			t.Errorf("while it loads: %+v", got)
		}
		time.Sleep(5 * time.Second)
		got := only(t, c)
		if got.Fresh != 1 || got.Pinned.Usable != 1 || got.Loading != 0 || got.Last != (cache.TokenRequest{Began: began, Took: 5 * time.Second}) {
			t.Errorf("once loaded: %+v", got)
		}
		// It ends two seconds early, and is replaced in the last fifth, varied.
		if end := got.Pinned.Expiry.Sub(began); end != 98*time.Second {
			t.Errorf("it is usable until %s", end)
		}
		if at := got.NextRefresh.Sub(began); at < 75*time.Second || at > 85*time.Second || got.Pinned.NextRefresh != got.NextRefresh {
			t.Errorf("it is refreshed after %s, of all after %s", got.Pinned.NextRefresh.Sub(began), at)
		}
		time.Sleep(time.Until(got.NextRefresh))
		if got := only(t, c); got.Stale != 1 || got.Fresh != 0 || got.Pinned.Loading != 1 || got.Pinned.Usable != 1 {
			t.Errorf("while it is refreshed: %+v", got)
		}
		time.Sleep(5 * time.Second)
		if got := only(t, c); got.Fresh != 1 || got.Last.Began.Sub(began) < 75*time.Second {
			t.Errorf("once refreshed: %+v", got)
		}
	})
}

func TestStatusTellsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var class atomic.Value
		class.Store(upstream.ClassSubject)
		s := &stub{name: "up", life: time.Hour, answer: func(_ int, k upstream.Key) error {
			if k.Subject == "" {
				return nil
			}
			return failing(class.Load().(upstream.Class))
		}}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		c.Pin(key(s, ""))
		synctest.Wait()
		_, _ = c.Token(t.Context(), key(s, "refused"))
		if got := only(t, c); got.Refused != 1 || got.Retrying != 0 || got.Failure != nil || got.Stopped != nil || got.Fresh != 1 ||
			got.Last.Failure.Class != upstream.ClassSubject || got.Pinned.Failure != nil {
			t.Errorf("a refused subject: %+v", got)
		}
		class.Store(upstream.ClassUnavailable)
		_, _ = c.Token(t.Context(), key(s, "unlucky"))
		got := only(t, c)
		if wait := time.Until(got.NextAttempt); got.Retrying != 1 || got.Failure.Class != upstream.ClassUnavailable || wait <= 0 || wait > 2*time.Second {
			t.Errorf("a failure: %+v", got)
		}
		class.Store(upstream.ClassCredential)
		_, _ = c.Token(t.Context(), key(s, "third"))
		got = only(t, c)
		if wait := time.Until(got.StoppedUntil); got.Stopped.Class != upstream.ClassCredential || wait < 48*time.Second || wait > 72*time.Second {
			t.Errorf("a refused credential: %+v", got)
		}
	})
}

// TestStatusOfSharedTokens leaves a Redis alone that is not there.
func TestStatusOfSharedTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		network.Play(redistest.Refused())
		s := &stub{name: "up", life: time.Hour}
		store := sharedOn(t, network)
		if got := store.Status(); got != (shared.Status{}) {
			t.Errorf("at first: %+v", got)
		}
		c := newCache(t, s, cache.Config{Shared: store})
		for _, name := range strings.Fields("a b c") {
			mustToken(t, c, key(s, name))
		}
		began := time.Now()
		_ = c.Close()
		if got := store.Status(); got != (shared.Status{Asked: true, Since: began, Cause: "connection_refused"}) {
			t.Errorf("without Redis: %+v", got)
		}
	})
}

// sharedOn returns the shared tokens of the Redis on a network.
func sharedOn(t *testing.T, n *redistest.Network) *shared.Store {
	t.Helper()
	store, err := shared.New(shared.Config{Driver: goredis.Driver{}, URL: upstream.NewSecret("redis://redis.test"), Dial: n.Dial, Metrics: metrics.New("test"),
		Ring: []shared.SealKey{{ID: "k1", Key: upstream.NewSecret(strings.Repeat("k", 32))}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}
