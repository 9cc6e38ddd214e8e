package shared

import (
	"testing"

	"github.com/alicebob/miniredis/v2"

	"token-sidecar/upstream"
)

// TestRefusedConnectionFailsEveryScript has a Redis that refuses the password. A script
// whose reply nobody reads has failed like any other, and each is told by the code of
// Redis.
//
// Case U2.
func TestRefusedConnectionFailsEveryScript(t *testing.T) {
	server := miniredis.RunT(t)
	server.RequireUserAuth("sidecar", "right")
	s := mustNew(t, Config{URL: upstream.NewSecret("redis://sidecar:wrong@" + server.Addr()), Timeout: patient, Budgets: true})
	p := s.Place(upstream.Fingerprint{}, someKey)
	for name, run := range map[string]func(){
		"add":       func() { s.Add(t.Context(), p, s.Seal(p, someToken(t)), Version{}) },
		"look":      func() { _, _ = s.Look(t.Context(), p, Version{}, Want{}) },
		"recovered": func() { s.Recovered(t.Context(), s.Budget(upstream.Fingerprint{}, 1)) },
	} {
		s.breaker = breaker{}
		run()
		if s.breaker.failures != 1 || s.breaker.cause != "WRONGPASS" {
			t.Errorf("%s: %d failures, by %q", name, s.breaker.failures, s.breaker.cause)
		}
	}
	if n := outcomes(t, s, "ok"); n != 0 {
		t.Errorf("%g operations are counted as done", n)
	}
}
