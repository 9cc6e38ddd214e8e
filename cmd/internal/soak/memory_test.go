package soak

import (
	"os"
	"testing"
	"time"
)

// TestJ9_SmallMemory has a sidecar that is told to live in 48 MiB, in a
// container of 64 MiB, serve 500 requests a second of 1,000
// subjects.
func TestJ9_SmallMemory(t *testing.T) {
	const (
		limit    = 64 << 10 // KiB
		rate     = 500
		subjects = 1000
	)
	length := 8 * time.Second
	if os.Getenv("SOAK") == "1" {
		length = time.Minute
	}
	p := newProvider(t, 5*time.Second)
	s := start(t, p, append(startRedis(t).environ(), "GOMEMLIMIT=48MiB", "SIDECAR_LOG_LEVEL=info")...)
	l := newLoad(t, s, subjects, subjects)
	straight := newLoad(t, s, subjects, subjects) // for comparison
	straight.base, straight.direct = p.target.URL, true
	direct := straight.runFor(rate, 2*time.Second)
	r := l.runFor(rate, length)
	peak := s.status("VmHWM")
	t.Logf("at most %.1f MiB; %s; without the sidecar p50 %s, p99 %s", float64(peak)/1024, r, direct.at(.5), direct.at(.99))
	if peak >= limit {
		t.Errorf("it had %d KiB at its peak, want less than %d", peak, limit)
	}
	for _, fault := range r.faults {
		t.Error(fault)
	}
	// Generous where the machine may have other things to do.
	if r.statuses[200] != r.sent || r.missed > r.sent/10 {
		t.Errorf("not all requests were sent and succeeded: %s", r)
	}
	if added := r.at(.99) - direct.at(.99); added > 500*time.Millisecond {
		t.Errorf("the sidecar adds %s to p99", added)
	}
	p.check(t)
}
