package soak

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

const (
	soakSubjects = 5000
	soakHot      = 100
)

// soakRate is how many requests there are a second. The race detector, which is there
// in the short run, leaves time for fewer.
func soakRate() int {
	if soaking() {
		return 500
	}
	return 200
}

// TestLongRunLeaksNothing has tokens that live for a second, more subjects than the
// cache holds, and faults everywhere. What the sidecar holds after each fault
// was there once must be what it holds at the end; nobody gets an answer that
// is not for him; no token is used after its end; and no secret gets out, not
// even with every word logged and in a dump of all goroutines.
//
// Cases H8, I1, I3.
func TestLongRunLeaksNothing(t *testing.T) {
	tours, rest := 1, 15*time.Second
	if soaking() {
		tours, rest = 6, 9*time.Minute
	}
	seed := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("SOAK_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("SOAK_SEED=%d", seed)

	p := newProvider(t, time.Second)
	redis := startRedis(t)
	s := start(t, p, append(redis.environ(), "SIDECAR_MAX_TOKENS=1000", "SIDECAR_TOKEN_TIMEOUT=2s",
		"SIDECAR_LOG_LEVEL=trace", "GOTRACEBACK=all")...)
	l := newLoad(t, s, p, soakSubjects, soakHot)
	stored := newScanner("redis")
	all := troubles(p, redis)

	warm := l.during(soakRate(), func() {
		for range tours {
			tour(all)
		}
	})
	warm.check(t, "every fault in turn", 500)
	before := l.settle(p)
	t.Log("after the first part: ", before)

	stop := make(chan struct{})
	timer := time.AfterFunc(rest, func() { close(stop) })
	defer timer.Stop()
	wild := l.during(soakRate(), func() { chaos(t, all, seed, stop) })
	wild.check(t, "random faults", 500)
	after := l.settle(p)
	t.Log("at the end: ", after)
	testkit.Eventually(t, "no more is held than before", func() error { return grown(before, l.sidecar.usage()) })
	p.check(t)
	if n := s.metric("token_sidecar_tokens", ""); n > 1000 {
		t.Errorf("%v tokens are held, want at most 1000", n)
	}
	l.lookInside(redis, stored)
	for _, out := range []*scanner{s.stderr, s.pages, l.answers, stored} {
		out.report(t)
		t.Logf("searched %d bytes of %s", out.seen(), out.where)
	}
	if n := s.stdout.seen(); n > 0 {
		t.Errorf("%d bytes on stdout", n)
	}
}

// check fails the test for answers that must not be, and for so few good ones that
// they show little.
func (r result) check(t *testing.T, when string, least int) {
	t.Helper()
	t.Logf("%s: %s", when, r)
	for _, fault := range r.faults {
		t.Error(fault)
	}
	if r.statuses[200] < least {
		t.Errorf("%d requests succeeded, want %d at least", r.statuses[200], least)
	}
}

// lookInside searches what Redis is told and holds, the pages of the admin
// listener under load, and the stacks of a sidecar at work.
func (l *load) lookInside(redis *redisServer, stored *scanner) {
	l.t.Helper()
	s := l.sidecar
	unmonitor := redis.monitor(stored)
	found := 0
	r := l.during(soakRate(), func() {
		for n, end := 0, time.Now().Add(testkit.Patience); n < 10 || found < 50 && time.Now().Before(end); n++ {
			time.Sleep(100 * time.Millisecond)
			for _, path := range []string{"/", "/metrics", "/readyz", "/livez", "/" + canaryPath + "?q=" + canaryQuery} {
				s.show(path)
			}
			found = max(found, redis.search(stored))
		}
	})
	unmonitor()
	r.check(l.t, "while it was looked at", 50)
	if found < 50 {
		l.t.Errorf("at most %d values were found in redis", found)
	}
	dead := l.during(soakRate(), func() {
		time.Sleep(300 * time.Millisecond)
		s.dump()
	})
	if n := strings.Count(s.stderr.String(), "\ngoroutine "); n < 20 {
		l.t.Errorf("%d goroutines in the dump of a sidecar at work: %s", n, dead)
	}
	l.t.Logf("%d values in redis", found)
}
