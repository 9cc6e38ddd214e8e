package cache_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache"
	"token-sidecar/cache/internal/redistest"
	"token-sidecar/cache/shared"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// refreshed returns how many refreshes the metrics say were good, and how many failed.
func refreshed(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, f := range families {
		for _, series := range f.GetMetric() {
			for _, label := range series.GetLabel() {
				if f.GetName() == "token_sidecar_refreshes_total" && label.GetName() == "outcome" {
					counts[label.GetValue()] += series.GetCounter().GetValue()
				}
			}
		}
	}
	return fmt.Sprint(counts)
}

// TestRefreshesAreCountedByOutcome has a token replaced, and then not, and tells how
// the metrics count that. The first load of a key, and one for a key whose token is
// over, are no refreshes.
func TestRefreshesAreCountedByOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		s := &stub{name: "up", life: 100 * time.Second, answer: func(int, upstream.Key) error {
			if down.Load() {
				return failing(upstream.ClassSubject)
			}
			return nil
		}}
		m := metrics.New("test")
		c := cache.New(cache.Config{Upstreams: []upstream.Upstream{s}, Metrics: m})
		defer c.Close()
		for _, step := range []struct {
			wait time.Duration
			down bool
			want string
		}{
			{0, false, "map[failed:0 ok:0]"},
			{90 * time.Second, false, "map[failed:0 ok:1]"},
			{90 * time.Second, true, "map[failed:1 ok:1]"},
			{time.Minute, true, "map[failed:1 ok:1]"}, // the old token is over
			{time.Minute, false, "map[failed:1 ok:1]"},
			{90 * time.Second, false, "map[failed:1 ok:2]"},
		} {
			down.Store(step.down)
			time.Sleep(step.wait)
			_, _ = c.Token(t.Context(), key(s, "a"))
			synctest.Wait()
			if got := refreshed(t, m); got != step.want {
				t.Errorf("after %s, down %v: %s, want %s", step.wait, step.down, got, step.want)
			}
		}
	})
}

// TestAdoptedRefreshIsCounted has a replica whose token endpoint fails refresh a token
// with one that another replica has shared: a refresh that succeeded.
func TestAdoptedRefreshIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		s := &stub{name: "up", life: 100 * time.Second, answer: func(n int, _ upstream.Key) error {
			if n > 1 {
				return failing(upstream.ClassUnavailable)
			}
			return nil
		}}
		m, store := metrics.New("test"), sharedOn(t, network)
		c := cache.New(cache.Config{Upstreams: []upstream.Upstream{s}, Metrics: m, Shared: store})
		defer c.Close()
		mustToken(t, c, key(s, "a"))
		time.Sleep(time.Minute)
		mustToken(t, c, key(s, "a")) // so that it is refreshed
		network.Redis.FlushAll()
		now := time.Now()
		newer, _ := upstream.NewToken("of-another", "", now, now.Add(time.Hour))
		store.Add(context.Background(), store.Place(s.Fingerprint(), key(s, "a")), store.Seal(store.Place(s.Fingerprint(), key(s, "a")), newer), shared.Version{})
		time.Sleep(30 * time.Second)
		if got := mustToken(t, c, key(s, "a")); !got.Same(newer) {
			t.Errorf("got %s", got.AccessToken())
		}
		if got := refreshed(t, m); got != "map[failed:0 ok:1]" || s.count() != 1 {
			t.Errorf("%s with %d token requests", got, s.count())
		}
	})
}
