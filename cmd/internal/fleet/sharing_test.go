package fleet

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

// What TestRefreshesAreShared puts the fleet to: every replica uses every
// subject once per use, which is less than the time to a refresh.
const (
	fleetSize    = 10
	subjectCount = 500
	shortLife    = 3 * time.Second
	usePause     = 2 * time.Second
)

// earliest is when the first replica may replace a token: the last fifth of
// its life, varied by a fifth.
func earliest(life time.Duration) time.Duration { return time.Duration(0.76 * float64(life)) }

// load keeps every replica of a fleet using every subject.
type load struct {
	t        *testing.T
	subjects []string
	slots    []atomic.Pointer[replica] // those that take requests
	stop     chan struct{}
	working  sync.WaitGroup

	answers, slow, failed atomic.Int64 // slow: over 100 ms, told but not judged
	slowest               atomic.Int64
}

func startLoad(t *testing.T, replicas []*replica) *load {
	l := &load{t: t, slots: make([]atomic.Pointer[replica], len(replicas)), stop: make(chan struct{})}
	for i := range subjectCount {
		l.subjects = append(l.subjects, fmt.Sprintf("subject-%d", i))
	}
	for i, r := range replicas {
		l.slots[i].Store(r)
	}
	const workers = 4
	for i := range l.slots {
		for w := range workers {
			l.working.Go(func() { l.work(i, w, workers) })
		}
	}
	t.Cleanup(l.end)
	return l
}

// work uses every workers-th subject at replica i, spread over usePause.
func (l *load) work(i, w, workers int) {
	tick := time.NewTicker(usePause * time.Duration(workers) / subjectCount)
	defer tick.Stop()
	for n := w; ; n += workers {
		select {
		case <-tick.C:
		case <-l.stop:
			return
		}
		r := l.slots[i].Load()
		if r == nil {
			continue // killed, and not back yet
		}
		subject := l.subjects[n%subjectCount]
		a := r.ask(subject)
		if l.slots[i].Load() != r {
			continue // killed meanwhile
		}
		l.answers.Add(1)
		if err := a.mine(subject); err != nil {
			l.failed.Add(1)
			l.t.Errorf("replica %d: %v", i, err)
		}
		if a.took > 100*time.Millisecond {
			l.slow.Add(1)
		}
		if old := l.slowest.Load(); int64(a.took) > old {
			l.slowest.CompareAndSwap(old, int64(a.took))
		}
	}
}

// end stops the load and waits for it. It may be called twice.
func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.working.Wait()
}

// tally is what the token requests from one moment to another came to.
type tally struct {
	requests  int
	excess    int // made while the token before had much of its life left
	fewest    int // for one key
	most      int
	intervals time.Duration // mean time from one request for a key to the next
}

func (p *provider) tally(from, to time.Time, subjects []string) tally {
	var s tally
	last, count := map[string]time.Time{}, map[string]int{}
	var gaps int
	var total time.Duration
	for _, e := range p.historyByArrival() {
		before, any := last[e.key]
		last[e.key] = e.began
		if e.began.Before(from) || e.began.After(to) {
			continue
		}
		s.requests++
		count[e.key]++
		if any {
			gap := e.began.Sub(before)
			total, gaps = total+gap, gaps+1
			if gap < p.life*7/10 {
				s.excess++
			}
		}
	}
	s.fewest = s.requests
	for _, key := range subjects {
		s.fewest, s.most = min(s.fewest, count[key]), max(s.most, count[key])
	}
	s.intervals = total / time.Duration(max(gaps, 1))
	return s
}

// checkNeeded compares the token requests with what the lives of the tokens
// make necessary: one per key and interval, none while a token is fresh.
func (s tally) checkNeeded(t *testing.T, took, life time.Duration, keys int, tolerance float64) {
	t.Helper()
	most := float64(keys) * float64(took) / float64(earliest(life))
	least := float64(keys) * float64(took) / float64(life)
	t.Logf("%d token requests in %s, %.0f to %.0f are needed; %d (%.2f %%) excess; per key %d to %d, every %s",
		s.requests, took.Round(time.Millisecond), least, most, s.excess,
		100*float64(s.excess)/float64(s.requests), s.fewest, s.most, s.intervals.Round(time.Millisecond))
	if float64(s.excess) > tolerance*float64(s.requests) {
		t.Errorf("%d of %d token requests were excess, more than %.0f %%", s.excess, s.requests, 100*tolerance)
	}
	if n := float64(s.requests); n > (1+tolerance)*most || n < (1-tolerance)*least {
		t.Errorf("%d token requests, want %.0f to %.0f", s.requests, least, most)
	}
	if s.fewest < int(took/life)-1 {
		t.Errorf("a key had only %d token requests in %s", s.fewest, took)
	}
}

// waits returns how many look-ups of all replicas had to wait, and how many of
// them longer than 1 ms.
func waits(t *testing.T, replicas []*replica) (waited, long float64) {
	t.Helper()
	for _, r := range replicas {
		s := r.scrape(t)
		waited += s.sum("token_lookups_total", `result="waited"`)
		long += s.sum("token_wait_seconds_count") - s.sum("token_wait_seconds_bucket", `le="0.001"`)
	}
	return waited, long
}

// stallLimit is how long this machine may stand still before it is no use to
// ask whether requests waited: a token of 3 s is replaced 180 ms before its end.
const stallLimit = 100 * time.Millisecond

func TestRefreshesAreShared(t *testing.T) {
	p := newProvider(t, shortLife)
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+startRedis(t).URL())
	replicas := f.replicas(fleetSize)
	l := startLoad(t, replicas)
	time.Sleep(2 * shortLife) // the warm-up: every replica has met every subject
	waitedBefore, longBefore := waits(t, replicas)
	pulse := testkit.NewPulse(t)
	began := time.Now()
	time.Sleep(soak(20*time.Second, 60*time.Second))
	ended, stood := time.Now(), pulse.Worst()
	waited, long := waits(t, replicas)
	l.end()
	t.Logf("%d requests, slowest %s, %d over 100 ms; %.0f waited for a token, %.0f of them over 1 ms",
		l.answers.Load(), time.Duration(l.slowest.Load()), l.slow.Load(), waited-waitedBefore, long-longBefore)
	p.tally(began, ended, l.subjects).checkNeeded(t, ended.Sub(began), p.life, subjectCount, 0.02)
	t.Logf("the machine stood still for %s at most", stood)
	if long != longBefore && stood < stallLimit {
		t.Errorf("%.0f requests waited more than 1 ms for a token", long-longBefore)
	}
	checkTarget(t, p)
}

// checkTarget fails the test if the target saw a token it should not have.
func checkTarget(t *testing.T, p *provider) {
	t.Helper()
	if n := p.target.unknown.Load(); n > 0 {
		t.Errorf("%d requests came without a token or with a foreign one", n)
	}
	if n := p.target.expired.Load(); n > 0 {
		t.Errorf("%d requests were sent with an expired token", n)
	}
	if n := p.target.overtime.Load(); n > 0 {
		t.Logf("%d requests took so long that their token expired on the way", n)
	}
}

// TestKilledReplicasCostLittle kills one replica every 5 s and starts it again.
func TestKilledReplicasCostLittle(t *testing.T) {
	p := newProvider(t, shortLife)
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+startRedis(t).URL())
	replicas := f.replicas(fleetSize)
	l := startLoad(t, replicas)
	time.Sleep(2 * shortLife)
	began := time.Now()
	deadline := began.Add(soak(20*time.Second, 60*time.Second))
	for i := 0; time.Until(deadline) > 5*time.Second; i = (i + 1) % fleetSize {
		time.Sleep(4500 * time.Millisecond)
		l.slots[i].Store(nil)
		replicas[i].kill()
		time.Sleep(500 * time.Millisecond)
		replicas[i] = f.start()
		l.slots[i].Store(replicas[i])
	}
	time.Sleep(time.Until(deadline))
	ended := time.Now()
	l.end()
	t.Logf("%d requests, slowest %s, %d over 100 ms", l.answers.Load(),
		time.Duration(l.slowest.Load()), l.slow.Load())
	p.tally(began, ended, l.subjects).checkNeeded(t, ended.Sub(began), p.life, subjectCount, 0.10)
	checkTarget(t, p)
}
