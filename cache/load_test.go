package cache

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/cache/shared"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// TestAReportOf401HurriesTheLoadUnderWay has a target refuse the token whose refresh waits
// in the queue behind every request.
func TestAReportOf401HurriesTheLoadUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := emptyCache(10)
		s := &source{queue: newRequestQueue("up", 1, 2*time.Second)}
		e := c.table.findOrAdd(numbered(1), s)
		e.load = &load{waiter: waiterOfRefresh(s.queue, time.Hour)}
		l, action, err := c.replace(t.Context(), e, upstream.Token{}, c.now())
		if l != e.load || action != "replaced" || err != nil {
			t.Fatalf("%s: %v", action, err)
		}
		if left, asked := s.queue.timeLeft(l.waiter); !asked || left != s.queue.patience {
			t.Errorf("a request waits for it: %v, for %s at most", asked, left)
		}
	})
}

// TestALoadThatMayOnlyLookMakesNoTokenRequest has Redis be of no use to a load that was begun
// while no token request may be made.
func TestALoadThatMayOnlyLookMakesNoTokenRequest(t *testing.T) {
	forbidden := errors.New("forbidden")
	s := &sharedLoad{load: &load{forbidden: forbidden}}
	for _, answered := range []bool{true, false} {
		if r, err := s.fetchWithoutLease(t.Context(), answered); err != forbidden || r.asked {
			t.Errorf("asked %v: %v", r.asked, err)
		}
	}
}

// TestQuestionsToRedisAreBoundedForWhoeverWaits tells loads that a request waits for from
// those that nobody waits for.
func TestQuestionsToRedisAreBoundedForWhoeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := emptyCache(10)
		e := c.table.findOrAdd(numbered(1), &source{queue: newRequestQueue("up", 1, 2*time.Second)})
		store := mustShare(t, shared.Config{URL: upstream.NewSecret("redis://redis.test"), Dial: redistest.NewNetwork(t).Dial,
			Ring: ring("a"), Metrics: metrics.New("test")})
		for what, load := range map[string]*load{
			"for a request":                      {waiter: c.waiterOfRequest(e, needUsable)},
			"for a request that has a token yet": {waiter: c.waiterOfRequest(e, needHalf), refresh: true},
			"at the start, for nobody":           {waiter: waiterOfRefresh(e.source.queue, 0)},
			"for nobody":                         {waiter: waiterOfRefresh(e.source.queue, time.Hour), refresh: true},
		} {
			ctx, cancel := (&sharedLoad{e: e, load: load, store: store}).patience(context.Background())
			if _, bounded := ctx.Deadline(); bounded == (what == "for nobody") {
				t.Errorf("%s: bounded %v", what, bounded)
			}
			cancel()
		}
	})
}

// TestTheFleetIsToldWhatARefusalMeans has a provider refuse two keys in a way that leaves open
// whether the key or the credential is meant: the second one is of the credential.
func TestTheFleetIsToldWhatARefusalMeans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		endpoint := &limited{life: time.Hour, first: &upstream.Error{Upstream: "up", Class: upstream.ClassSubject, Unsure: true}}
		c := endpoint.fleet(t, network, 1, 100)[0]
		told := func() string {
			time.Sleep(time.Second) // for what is done after a load
			for _, name := range network.Redis.Keys() {
				if strings.Contains(name, "{budget}") && !strings.HasSuffix(name, ":turn") {
					text, _ := network.Redis.Get(name)
					return strings.Fields(text)[4]
				}
			}
			return "no bucket"
		}
		for n, want := range []string{"0", "1"} {
			_, err := c.Token(t.Context(), numbered(n))
			if class := causeOf(err).Class; (class == upstream.ClassCredential) != (n == 1) {
				t.Errorf("key %d: %v", n, err)
			}
			if got := told(); got != want {
				t.Errorf("after key %d the fleet knows of %s failures, want %s", n, got, want)
			}
		}
	})
}
