package fleet

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

// leaseTime is how long the program's lease outlives a holder that died.
const leaseTime = 2 * time.Second

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

func TestF1_ColdBurstIsOneTokenRequest(t *testing.T) {
	p := newProvider(t, time.Hour)
	p.setDelay(func(string, int) time.Duration { return 300 * time.Millisecond })
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+startRedis(t).URL())
	replicas := f.replicas(fleetSize)
	for round := range 3 {
		subject := fmt.Sprint("cold-", round)
		var slowest time.Duration
		for _, a := range burst(replicas, 100, subject) {
			if err := a.mine(subject); err != nil {
				t.Error(err)
			}
			slowest = max(slowest, a.took)
		}
		t.Logf("1,000 requests, %d token requests, slowest %s", p.requests(subject), slowest)
		if n := p.requests(subject); n != 1 {
			t.Errorf("%d token requests for one key, want 1", n)
		}
	}
}

// TestE4_DeadHolderIsReplaced kills the replica that makes the token request, at
// an endpoint that takes 5 s.
func TestE4_DeadHolderIsReplaced(t *testing.T) {
	t.Parallel()
	const answering = 5 * time.Second
	p := newProvider(t, time.Hour)
	p.setDelay(func(string, int) time.Duration { return answering })
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+startRedis(t).URL())
	replicas := f.replicas(5)
	const each = 10
	answered := make(chan []answer)
	go func() { answered <- burst(replicas, each, "alice") }()
	holder := awaitHolder(t, replicas)
	time.Sleep(1500 * time.Millisecond) // into the request: the lease has been renewed meanwhile
	replicas[holder].kill()
	killed := time.Now()
	var slowest time.Duration
	for i, a := range <-answered {
		if i/each == holder {
			continue // it died
		}
		if err := a.mine("alice"); err != nil {
			t.Error(err)
		}
		slowest = max(slowest, a.sent.Add(a.took).Sub(killed))
	}
	t.Logf("%d token requests, the last answer came %s after the kill", p.requests("alice"), slowest)
	if n := p.requests("alice"); n != 2 {
		t.Errorf("%d token requests, want that of the dead holder and one more", n)
	}
	// Waiters look every 100 ms at least; the rest is for a slow machine.
	if limit := leaseTime + answering + 500*time.Millisecond; slowest > limit {
		t.Errorf("the last answer came %s after the kill, want at most %s", slowest, limit)
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
