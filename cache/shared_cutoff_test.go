package cache

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/upstream"
)

// hasWithin waits until r has the given token of a subject, which it must have within
// so much time.
func hasWithin(t *testing.T, r *Cache, name, want string, most time.Duration) {
	t.Helper()
	began := time.Now()
	for {
		token, err := r.Token(t.Context(), subject(name))
		if err == nil && token.AccessToken() == want {
			return
		}
		if time.Since(began) > most {
			t.Fatalf("after %s there is no shared token: %v", most, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestReplicaCutOffFromTheIssuerUsesSharedTokens has one replica live on what others share.
//
// Case E9.
func TestReplicaCutOffFromTheIssuerUsesSharedTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		i := &issuer{life: time.Hour}
		lucky, _ := i.joinOn(t, network)
		cut, r := i.joinOn(t, network)
		r.cutOff.Store(true)
		for n := range 20 {
			_, _ = cut.Token(t.Context(), subject(fmt.Sprint("nobody-has-", n)))
		}
		_, _ = cut.Token(t.Context(), subject("alice")) // it looks for the token too soon
		want := mustGet(t, lucky, "alice")
		hasWithin(t, cut, "alice", want, lookPause)
	})
}

// TestQuietReplicaAsksRedisAgain has a replica whose token endpoint asks for
// quiet, so that only shared tokens help it, while Redis fails for a moment.
func TestQuietReplicaAsksRedisAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		lucky, _ := (&issuer{life: time.Hour}).joinOn(t, network)
		i := &issuer{life: time.Hour}
		i.fail.Store(&upstream.Error{Upstream: "up", Class: upstream.ClassThrottled, RetryAfter: 5 * time.Minute})
		quiet, _ := i.joinOn(t, network)
		_, _ = quiet.Token(t.Context(), subject("alice")) // it is told to be quiet
		network.Play(redistest.Says("-NOPERM this user has no permissions\r\n").On(func(command string) bool {
			return strings.Contains(command, "getrange\r\n")
		}))
		store := quiet.config.Shared
		for n := 0; store.Status().Since.IsZero() && n < 10; n++ {
			_, _ = store.Get(t.Context(), placeOf(store, "alice"))
		}
		if store.Status().Since.IsZero() {
			t.Fatal("Redis did not fail for a moment")
		}
		network.Play(redistest.Fault{})
		want := mustGet(t, lucky, "alice")
		hasWithin(t, quiet, "alice", want, time.Second) // the first pause of the breaker, and one of the peeks
		if n := i.calls.Load(); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
	})
}
