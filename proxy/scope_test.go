package proxy

import (
	"testing"
	"time"

	"token-sidecar/upstream"
)

// TestNarrowerScopeIsNamedInTheAnswer: if the token endpoint has granted less than was asked
// for, the app learns what.
func TestNarrowerScopeIsNamedInTheAnswer(t *testing.T) {
	for granted, told := range map[string]string{
		"":                "",
		"read write":      "",
		"write read":      "",
		"read write more": "",
		"read":            "read",
		"more":            "more",
	} {
		s := newSide(t, setup{})
		s.idp.answer = func(n int64) (upstream.Token, error) { return newToken(n, granted, time.Hour) }
		s.up.say("HTTP/1.1 200 OK\r\nX-Token-Scope: forged\r\nContent-Length: 0\r\n\r\n")
		a := s.get("/alpha/x", "X-Token-Scope: read write")
		if got := a.header.Get("X-Token-Scope"); a.status != 200 || got != told {
			t.Errorf("granted %q: %d, the app is told %q, want %q", granted, a.status, got, told)
		}
	}
}
