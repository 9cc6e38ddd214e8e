package fleet

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// burst has each replica asked n times for subject at once, and returns all
// answers, those of replica i from i*n on.
func burst(replicas []*replica, n int, subject string) []answer {
	answers := make([]answer, n*len(replicas))
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = replicas[i/n].ask(subject) })
	}
	all.Wait()
	return answers
}

// TestColdBurstIsOneTokenRequest has a thousand requests for a new subject come
// to ten replicas at once.
//
// Case F1.
func TestColdBurstIsOneTokenRequest(t *testing.T) {
	p := newProvider(t, time.Hour)
	p.delayAnswers(func() time.Duration { return 300 * time.Millisecond })
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+startRedis(t).URL())
	replicas := f.replicas(fleetSize)
	for round := range 3 {
		subject := fmt.Sprint("cold-", round)
		before := excuses(t, replicas)
		for _, a := range burst(replicas, 100, subject) {
			if err := a.mine(subject); err != nil {
				t.Error(err)
			}
		}
		excused := excuses(t, replicas) - before
		n := p.TokenRequestsFor(subject)
		t.Logf("1,000 requests, %d token requests, %d excuses", n, excused)
		if n < 1 || n > 1+excused {
			t.Errorf("%d token requests for one key, want 1 and at most %d that are excused", n, excused)
		}
	}
}

// TestDeadHolderIsReplaced kills the replica that makes the token request while
// the endpoint has not answered, and after the lease has outlived its first term.
//
// Case E4.
func TestDeadHolderIsReplaced(t *testing.T) {
	t.Parallel()
	p := newProvider(t, time.Hour)
	p.SetTokenHold(func(ctx context.Context, r upstreamtest.TokenRequest) {
		if r.Number == 1 {
			<-ctx.Done() // until the holder dies
		}
	})
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+startRedis(t).URL(), "SIDECAR_TOKEN_TIMEOUT=2m")
	replicas := f.replicas(5)
	const each = 10
	answered := make(chan []answer)
	go func() { answered <- burst(replicas, each, "alice") }()
	holder := awaitHolder(t, replicas)
	testkit.Eventually(t, "the lease is renewed for longer than its first term", func() error {
		n := replicas[holder].scrape(t).sum("redis_operations_total", `operation="renew"`, `outcome="ok"`)
		if n < 5 { // one each quarter of the term
			return fmt.Errorf("%.0f renewals", n)
		}
		return nil
	})
	excused := replicas[holder].scrape(t).excuses()
	replicas[holder].kill()
	for i, a := range <-answered {
		if i/each == holder {
			continue // it died
		}
		if err := a.mine("alice"); err != nil {
			t.Error(err)
		}
	}
	excused += excuses(t, slices.Delete(slices.Clone(replicas), holder, holder+1))
	if n := p.TokenRequestsFor("alice"); n < 2 || n > 2+excused {
		t.Errorf("%d token requests, want that of the dead holder and one more, and at most %d that are excused", n, excused)
	}
}

// awaitHolder waits for one of the replicas to take a lease and returns which.
func awaitHolder(t *testing.T, replicas []*replica) (holder int) {
	t.Helper()
	testkit.Eventually(t, "a replica takes the lease", func() error {
		for i, r := range replicas {
			if r.scrape(t).sum("redis_operations_total", `operation="lease"`, `outcome="ok"`) > 0 {
				holder = i
				return nil
			}
		}
		return fmt.Errorf("none did")
	})
	return holder
}

// TestFreshTokensCostRedisNothing counts the commands of many requests.
func TestFreshTokensCostRedisNothing(t *testing.T) {
	t.Parallel()
	p := newProvider(t, time.Hour)
	server := startRedis(t)
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+server.URL())
	replicas := f.replicas(3)
	ask := func() {
		for i := range 20 {
			subject := fmt.Sprint("subject-", i)
			for _, r := range replicas {
				r.mustAsk(t, subject)
			}
		}
	}
	ask()
	awaitQuiet(t, server)
	before := server.commands()
	for range 50 {
		ask()
	}
	if n := server.commands() - before - 1; n != 0 { // less the counting itself
		t.Errorf("%d Redis commands for 3,000 requests with fresh tokens, want 0", n)
	}
}

// awaitQuiet waits until nobody but the test sends commands.
func awaitQuiet(t *testing.T, server *redisServer) {
	t.Helper()
	testkit.Eventually(t, "the replicas leave Redis alone", func() error {
		before := server.commands()
		time.Sleep(200 * time.Millisecond)
		if n := server.commands() - before - 1; n != 0 {
			return fmt.Errorf("%d commands in 200 ms", n)
		}
		return nil
	})
}
