package soak

import (
	"testing"
	"time"
)

// TestSmallMemoryIsEnough has a sidecar that is told to live in 48 MiB, in a
// container of 64 MiB, serve 500 requests a second of 1,000 subjects, or as many as
// the machine makes.
//
// Case J9.
func TestSmallMemoryIsEnough(t *testing.T) {
	const (
		limit    = 64 << 10 // KiB
		rate     = 500
		subjects = 1000
	)
	requests := 2500
	if soaking() {
		requests = 30_000
	}
	p := newProvider(t, 5*time.Second)
	s := start(t, p, append(startRedis(t).environ(), "GOMEMLIMIT=48MiB", "SIDECAR_LOG_LEVEL=info")...)
	l := newLoad(t, s, p, subjects, subjects)
	r := l.runUntil(rate, requests)
	peak := s.status("VmHWM")
	t.Logf("at most %.1f MiB; %s", float64(peak)/1024, r)
	if peak >= limit {
		t.Errorf("it had %d KiB at its peak, want less than %d", peak, limit)
	}
	for _, fault := range r.faults {
		t.Error(fault)
	}
	if r.statuses[200] != r.sent {
		t.Errorf("not all requests succeeded: %s", r)
	}
	p.check(t)
}
