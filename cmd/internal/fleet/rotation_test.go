package fleet

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// rotation is the settings of the key ring one after the other: the new key
// opens, then seals, then the old one goes.
var rotation = [][]string{{"a"}, {"a", "b"}, {"b", "a"}, {"b"}}

// TestSealingKeyRotatesWithoutAMiss takes two replicas through a rotation in every order, one
// replacement at a time, while both are in use.
//
// Case D7.
func TestSealingKeyRotatesWithoutAMiss(t *testing.T) {
	t.Parallel()
	p := newProvider(t, time.Hour)
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+startRedis(t).URL())
	for order := range 1 << (len(rotation) - 1) {
		rotate(t, f, order)
	}
	checkTarget(t, p)
}

// rotate makes one rotation. The bits of order say which replica goes first at
// each step.
func rotate(t *testing.T, f *fleet, order int) {
	var slots [2]slot
	var steps [2]int
	start := func(i int) *replica { return f.start("SIDECAR_REDIS_KEYS=" + ring(rotation[steps[i]]...)) }
	for i := range slots {
		slots[i].replace(start(i))
	}
	stop := make(chan struct{})
	var using sync.WaitGroup
	for i := range slots {
		using.Go(func() { useUntil(t, stop, &slots[i], fmt.Sprint("order-", order)) })
	}
	for step := 1; step < len(rotation); step++ {
		for _, i := range [2]int{order >> (step - 1) & 1, 1 - order>>(step-1)&1} {
			steps[i] = step
			slots[i].replace(start(i)).stop()
			replicas := []*replica{slots[0].replica, slots[1].replica}
			subject := fmt.Sprintf("order-%d-step-%d-replica-%d", order, step, i)
			before := excuses(t, replicas)
			burst(replicas, 1, subject)
			excused := excuses(t, replicas) - before
			// Names are made with the key that seals. While the replicas seal with
			// different ones, those who ask at the same time do not know of each other.
			most := 1
			if rotation[steps[0]][0] != rotation[steps[1]][0] {
				most = 2
			}
			if n := f.provider.TokenRequestsFor(subject); n < 1 || n > most+excused {
				t.Errorf("order %03b, steps %v: %d token requests for one key, want %d and at most %d that are excused", order, steps, n, most, excused)
			}
			findsLater(t, f.provider, replicas[1-i], replicas[i], subject+"-later")
		}
	}
	close(stop)
	using.Wait()
	for i := range slots {
		slots[i].replica.stop()
	}
}

// findsLater has a replica get a token of a subject and, when it is shared, another one
// that holds none find it, whatever keys they seal with. What an excuse cost is not judged.
func findsLater(t *testing.T, p *provider, first, other *replica, subject string) {
	t.Helper()
	before := excuses(t, []*replica{first, other})
	if err := first.ask(subject).mine(subject); err != nil {
		t.Error(err)
	}
	if err := other.ask(subject).mine(subject); err != nil {
		t.Error(err)
	}
	if n := p.TokenRequestsFor(subject); n != 1 && excuses(t, []*replica{first, other}) == before {
		t.Errorf("%s: %d token requests of two replicas one after the other, want 1", subject, n)
	}
}

// slot is a replica and its successors.
type slot struct {
	mu      sync.RWMutex // held for reading while the replica is asked
	replica *replica
}

// replace puts r in the slot and returns the one before, which nobody asks any more.
func (s *slot) replace(r *replica) (old *replica) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, s.replica = s.replica, r
	return old
}

func (s *slot) ask(subject string) answer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.replica.ask(subject)
}

// useUntil uses ten subjects in turn at whatever replica is in the slot.
func useUntil(t *testing.T, stop chan struct{}, slot *slot, name string) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
		subject := fmt.Sprint(name, "-used-", n%10)
		if err := slot.ask(subject).mine(subject); err != nil {
			t.Error(err)
		}
	}
}
