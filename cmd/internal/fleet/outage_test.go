package fleet

import (
	"cmp"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// budget is what Redis may cost a request, however it fails.
	budget = 250 * time.Millisecond
	// slack is what else a request for a new key may cost, beside what it costs
	// a replica without Redis at the same time on the same machine.
	slack = 100 * time.Millisecond
	// recovery is the time after which all must share again.
	recovery = 10 * time.Second
)

const controlName = "control-" // how subjects of the replica without Redis begin

// outage is one way for Redis to fail.
type outage struct {
	name    string
	atStart bool   // it fails before the replicas start
	cause   string // that every replica's log must name; empty: any or none
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
	name     string
	requests int
	failures int
	warm     time.Duration // slowest of the keys in use
	cold     time.Duration // slowest of new keys
	control  time.Duration // slowest of new keys at a replica without Redis
	alone    int           // token requests while Redis failed
	shared   time.Duration // from recovery until all shared again
}

// scene is the traffic of one outage.
type scene struct {
	t        *testing.T
	replicas []*replica
	stop     chan struct{}
	working  sync.WaitGroup

	mu sync.Mutex // guards r
	r  result
}

func TestE2_E3_E6_E7_E8_Outages(t *testing.T) {
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
	t.Logf("%-28s %8s %8s %9s %9s %9s %8s %8s", "Redis", "requests", "failures", "warm", "cold", "control", "alone", "shared")
	for _, r := range table {
		t.Logf("%-28s %8d %8d %7dms %7dms %7dms %8d %7.1fs", r.name, r.requests, r.failures,
			r.warm.Milliseconds(), r.cold.Milliseconds(), r.control.Milliseconds(), r.alone, r.shared.Seconds())
	}
}

// run hurts Redis under traffic, heals it, and waits until all share again.
func (o outage) run(t *testing.T) result {
	p := newProvider(t, 4*time.Second)
	s := &scene{t: t, stop: make(chan struct{}), r: result{name: o.name}}
	redis := o.set(t)
	if o.atStart {
		redis.hurt()
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
	time.Sleep(time.Second)
	if !o.atStart {
		s.awaitSharing(p, "before")
		redis.hurt()
	}
	before := p.requestsBut(controlName)
	time.Sleep(4 * time.Second) // a whole life: all tokens have to be replaced
	redis.heal()
	s.r.alone = p.requestsBut(controlName) - before
	s.r.shared = s.awaitSharing(p, "after")
	for _, r := range s.replicas {
		if o.cause != "" && !strings.Contains(r.warnings(), fmt.Sprintf("\"cause\":%q", o.cause)) {
			t.Errorf("a log does not name the cause %s", o.cause)
		}
	}
	s.end()
	checkTarget(t, p)
	if limit := budget + slack + s.r.control; s.r.warm > limit || s.r.cold > limit {
		t.Errorf("the slowest requests took %s (key in use) and %s (new key), want at most %s",
			s.r.warm, s.r.cold, limit)
	}
	return s.r
}

// useWarm uses ten subjects in turn.
func (s *scene) useWarm(r *replica) {
	for n := 0; s.pause(10 * time.Millisecond); n++ {
		subject := fmt.Sprint("warm-", n%10)
		a := r.ask(subject)
		slowest := &s.r.warm
		if n < 10 {
			slowest = &s.r.cold
		}
		s.note(a, subject, slowest)
	}
}

// useCold uses a new subject each time, the same at every replica.
func (s *scene) useCold(r *replica, name string, slowest *time.Duration) {
	for n := 0; s.pause(40 * time.Millisecond); n++ {
		subject := fmt.Sprint(name, n)
		s.note(r.ask(subject), subject, slowest)
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

// note counts an answer. slowest, a field of s.r, is raised if it took longer.
func (s *scene) note(a answer, subject string, slowest *time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r.requests++
	if err := a.mine(subject); err != nil {
		s.r.failures++
		s.t.Error(err)
	}
	*slowest = max(*slowest, a.took)
}

// awaitSharing waits until all replicas share and returns how long it took.
func (s *scene) awaitSharing(p *provider, name string) time.Duration {
	s.t.Helper()
	began := time.Now()
	for n := 0; !s.sharesAll(p, fmt.Sprint(name, "-", n)); n++ {
		if time.Since(began) > recovery {
			s.t.Errorf("%s the outage: the replicas do not share within %s", name, recovery)
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(began)
}

// sharesAll asks all replicas for new subjects, so many that every master of a
// cluster has one, each at all at once, and reports whether one token request
// each was enough.
func (s *scene) sharesAll(p *provider, name string) bool {
	for i := range 8 {
		subject := fmt.Sprint(name, "-", i)
		for _, a := range burst(s.replicas, 1, subject) {
			if err := a.mine(subject); err != nil {
				s.t.Error(err)
			}
		}
		if p.requests(subject) != 1 {
			return false
		}
	}
	return true
}

func (s *scene) end() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.working.Wait()
}
