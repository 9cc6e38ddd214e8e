package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

// budget is what Redis may cost a request, however it fails. Here it bounds the
// median; that no request costs more is shown where time is exact, in the cache.
const budget = 250 * time.Millisecond

const controlName = "control-" // how subjects of the replica without Redis begin

// outage is one way for Redis to fail.
type outage struct {
	name    string
	atStart bool   // it fails before the replicas start
	cause   string // that a log must name; empty: any or none
	// set sets Redis up and returns how to hurt and to heal it. hurt and heal
	// return when the fault is there and when it is over.
	set func(t *testing.T) stage
}

type stage struct {
	url        string
	mode       string // empty: standalone
	hurt, heal func()
}

// result is one line of the table.
type result struct {
	name                string
	requests            int
	failures            int
	warm, cold, control []time.Duration // that requests took while Redis failed: for keys in use, for new ones, and for new ones without Redis
	alone               int             // token requests while Redis failed
	shared              time.Duration   // from recovery until all shared again
}

// scene is the traffic of one outage.
type scene struct {
	t        *testing.T
	replicas []*replica
	stop     chan struct{}
	working  sync.WaitGroup
	hurt     atomic.Bool // Redis fails

	mu sync.Mutex // guards r
	r  result
}

// TestRequestsOutliveOutagesOfRedis has Redis fail in every way under traffic: no request
// fails, the median of what they take exceeds that of a replica without Redis on the
// same machine by the budget at most, the log names the cause, and the replicas share
// again once it is over.
//
// Cases E2, E3, E6, E7, E8.
func TestRequestsOutliveOutagesOfRedis(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var table []result
	t.Run("all", func(t *testing.T) {
		for _, o := range outages() {
			t.Run(o.name, func(t *testing.T) {
				t.Parallel()
				r := o.run(t)
				mu.Lock()
				defer mu.Unlock()
				table = append(table, r)
			})
		}
	})
	t.Logf("%-28s %8s %8s %14s %14s %14s %6s %7s", "Redis", "requests", "failures", "warm p50, max", "cold p50, max", "control", "alone", "shared")
	for _, r := range table {
		t.Logf("%-28s %8d %8d %s %s %s %6d %6.1fs", r.name, r.requests, r.failures, times(r.warm), times(r.cold), times(r.control), r.alone, r.shared.Seconds())
	}
}

func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// times tells the median and the greatest.
func times(all []time.Duration) string {
	return fmt.Sprintf("%5dms %5dms", median(all).Milliseconds(), slices.Max(append(all, 0)).Milliseconds())
}

// run hurts Redis under traffic, heals it, and waits until all share again.
func (o outage) run(t *testing.T) result {
	p := newProvider(t, 4*time.Second)
	s := &scene{t: t, stop: make(chan struct{}), r: result{name: o.name}}
	redis := o.set(t)
	if o.atStart {
		redis.hurt()
		s.hurt.Store(true)
	}
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+redis.url, "SIDECAR_REDIS_MODE="+cmp.Or(redis.mode, "standalone"))
	s.replicas = f.replicas(3)
	t.Cleanup(s.end)
	for _, r := range s.replicas {
		s.working.Go(func() { s.useWarm(r) })
		s.working.Go(func() { s.useCold(r, "cold-", &s.r.cold) })
	}
	control := f.startAlone()
	s.working.Go(func() { s.useCold(control, controlName, &s.r.control) })
	if !o.atStart {
		s.awaitSharing(p, "before")
		redis.hurt()
		s.hurt.Store(true)
	}
	before := p.requestsBut(controlName)
	time.Sleep(4 * time.Second) // a whole life: all tokens have to be replaced
	s.hurt.Store(false)
	redis.heal()
	s.r.alone = p.requestsBut(controlName) - before
	s.r.shared = s.awaitSharing(p, "after")
	s.checkCause(o.cause)
	s.end()
	checkTarget(t, p)
	// Beside the budget a request with Redis costs more work than one without, which
	// takes the longer the busier the machine is.
	if limit := budget + 3*median(s.r.control); median(s.r.warm) > limit || median(s.r.cold) > limit {
		t.Errorf("half of the requests took longer than %s (key in use) and %s (new key), want at most %s",
			median(s.r.warm), median(s.r.cold), limit)
	}
	return s.r
}

// checkCause looks for the cause in the logs. One that tells it is enough: each
// replica tells of single failures once a minute, and that may have been another.
func (s *scene) checkCause(cause string) {
	s.t.Helper()
	if !slices.ContainsFunc(s.replicas, func(r *replica) bool {
		return cause == "" || strings.Contains(r.warnings(), fmt.Sprintf("\"cause\":%q", cause))
	}) {
		s.t.Errorf("no log names the cause %s", cause)
	}
}

// useWarm uses ten subjects in turn.
func (s *scene) useWarm(r *replica) {
	for n := 0; s.pause(50 * time.Millisecond); n++ {
		subject := fmt.Sprint("warm-", n%10)
		s.note(r.ask(subject), subject, &s.r.warm)
	}
}

// useCold uses a new subject each time, the same at every replica.
func (s *scene) useCold(r *replica, name string, took *[]time.Duration) {
	for n := 0; s.pause(100 * time.Millisecond); n++ {
		subject := fmt.Sprint(name, n)
		s.note(r.ask(subject), subject, took)
	}
}

func (s *scene) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.stop:
		return false
	}
}

// note counts an answer, and adds to took, a field of s.r, how long it took if Redis
// fails.
func (s *scene) note(a answer, subject string, took *[]time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r.requests++
	if err := a.mine(subject); err != nil {
		s.r.failures++
		s.t.Error(err)
	}
	if s.hurt.Load() {
		*took = append(*took, a.took)
	}
}

// awaitSharing waits until all replicas share and returns how long it took. It asks
// for eight subjects, so many that every master of a cluster has one, each at all
// replicas at once, and for another in the place of one that took several token
// requests.
func (s *scene) awaitSharing(p *provider, name string) time.Duration {
	s.t.Helper()
	began, n := time.Now(), 0
	for range 8 {
		testkit.Eventually(s.t, name+" the outage the replicas share", func() error {
			n++
			subject := fmt.Sprint(name, "-", n)
			for _, a := range burst(s.replicas, 1, subject) {
				if err := a.mine(subject); err != nil {
					s.t.Error(err)
				}
			}
			if asked := p.TokenRequestsFor(subject); asked != 1 {
				time.Sleep(100 * time.Millisecond)
				return fmt.Errorf("%d token requests for one key", asked)
			}
			return nil
		})
	}
	return time.Since(began)
}

func (s *scene) end() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.working.Wait()
}
