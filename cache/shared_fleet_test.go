package cache

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache/internal/redistest"
)

// Case F1.
func TestFleetMakesOneTokenRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		i := &issuer{life: time.Hour, delay: 300 * time.Millisecond}
		var all sync.WaitGroup
		for range 10 {
			c, _ := i.joinOn(t, network)
			for range 100 {
				all.Go(func() {
					began := time.Now()
					if got := mustGet(t, c, "alice"); got != "alice-1" {
						t.Errorf("got %s", got)
					}
					if took := time.Since(began); took > i.delay+maxPoll*3/2 {
						t.Errorf("a request waited for %s", took)
					}
				})
			}
		}
		all.Wait()
		if n := i.calls.Load(); n != 1 {
			t.Errorf("%d token requests of ten replicas, want 1", n)
		}
	})
}

func TestReplicasRejectTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		i := &issuer{life: time.Hour, delay: 100 * time.Millisecond}
		var replicas []*Cache
		for range 5 {
			c, _ := i.joinOn(t, network)
			mustGet(t, c, "alice")
			replicas = append(replicas, c)
		}
		var all sync.WaitGroup
		for _, c := range replicas {
			for range 20 {
				all.Go(func() {
					bad, _ := c.Token(t.Context(), subject("alice"))
					if bad.AccessToken() != "alice-1" {
						return // another one of this replica was first
					}
					c.Reject(t.Context(), subject("alice"), bad)
					if got := mustGet(t, c, "alice"); got != "alice-2" {
						t.Errorf("got %s after the rejection", got)
					}
				})
			}
		}
		all.Wait()
		if n := i.calls.Load(); n != 2 {
			t.Errorf("%d token requests, want the first and one replacement", n)
		}
	})
}

// TestRefreshIsAdopted has three replicas use a token for twenty of its lives: one of
// them replaces it each time, and the others adopt what that one got. No request waits.
func TestRefreshIsAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		i := &issuer{life: time.Minute, delay: time.Second}
		var replicas []*Cache
		for range 3 {
			c, _ := i.joinOn(t, network)
			mustGet(t, c, "alice")
			replicas = append(replicas, c)
		}
		const span = 20 * time.Minute
		for began, n := time.Now(), 0; time.Since(began) < span; n++ {
			if waited := spentBy(t, replicas[n%3], "alice"); waited != 0 {
				t.Fatalf("a request waited for %s", waited)
			}
			time.Sleep(time.Second)
		}
		// A life is replaced after 76 to 84 % of it, and a second more; by whoever is first.
		least, most := int32(span/(i.life*84/100+time.Second)), int32(span/(i.life*76/100))+1
		if n := i.calls.Load(); n < least || n > most {
			t.Errorf("%d token requests in %s, want %d to %d", n, span, least, most)
		}
		refreshed := 0.0
		for _, c := range replicas {
			if cause, _ := c.sources["up"].breaker.state(); cause != nil {
				t.Error("the breaker is open")
			}
			ok, failed := refreshes(t, c)
			if refreshed += ok; failed != 0 {
				t.Errorf("%v refreshes are counted as failed", failed)
			}
		}
		// An adopted token is a refresh that succeeded: each replica had one per life.
		if refreshed < float64(3*(least-1)) || refreshed > float64(3*most) {
			t.Errorf("%v refreshes of three replicas are counted, with %d token requests", refreshed, i.calls.Load())
		}
	})
}

// refreshes returns how many of the refreshes of c its metrics say were good, and how
// many were not.
func refreshes(t *testing.T, c *Cache) (ok, failed float64) {
	t.Helper()
	one := []*Cache{c}
	return counted(t, one, "refreshes_total", "ok", "up"), counted(t, one, "refreshes_total", "failed", "up")
}
