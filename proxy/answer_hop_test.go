package proxy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"token-sidecar/upstream"
)

// TestConnectionHeaderOfATargetCannotStripCacheRules: the sidecar removes what a target's
// Connection header names before it adds what tells caches whose answer it is.
//
// Case P5.
func TestConnectionHeaderOfATargetCannotStripCacheRules(t *testing.T) {
	s, _, _ := withSubjects(t)
	for path, cache := range map[string]string{"/mydatahelps.participant/x": "no-store", "/mydatahelps.participant/~alice/x": "private"} {
		for _, lines := range [][]string{
			{"Connection: Cache-Control, Vary, Content-Type, Date, X-Hop, Connection"},
			{"Connection: cache-control", "connection: VARY\t, content-type,,", "Connection: x-hop"},
			{"Connection: Cache-Control, Vary, Content-Type, X-Hop", "Content-Type: text/html", "Cache-Control: public", "Vary: Accept"},
		} {
			s.up.say("HTTP/1.1 200 OK\r\n" + joinLines(lines) + "X-Hop: 1\r\nX-Kept: 1\r\nContent-Length: 6\r\n\r\n<html>")
			a := s.get(path, "X-Other: 1", subjectLine(path))
			if a.status != 200 || !slices.Equal(a.header["Cache-Control"], []string{cache}) || !slices.Equal(a.header["Vary"], varies) {
				t.Errorf("%q: %d, Cache-Control %q, Vary %q", lines, a.status, a.header["Cache-Control"], a.header["Vary"])
			}
			if a.header["Content-Type"] != nil || a.header["X-Hop"] != nil || a.header.Get("X-Kept") != "1" || a.body != "<html>" {
				t.Errorf("%q: %q", lines, a.header)
			}
		}
	}
}

// subjectLine names a subject unless path does.
func subjectLine(path string) string {
	if strings.Contains(path, "~") {
		return "X-None: 1"
	}
	return "X-Token-Subject: alice"
}

// TestConnectionHeaderOfATargetCannotStripTheScope: the app learns which scope was granted,
// whatever the target's Connection header names.
//
// Case P5.
func TestConnectionHeaderOfATargetCannotStripTheScope(t *testing.T) {
	s := newSide(t, setup{})
	s.idp.answer = func(n int64) (upstream.Token, error) { return newToken(n, "read", time.Hour) }
	s.up.say("HTTP/1.1 200 OK\r\nConnection: X-Token-Scope\r\nX-Token-Scope: forged\r\nContent-Length: 0\r\n\r\n")
	if a := s.get("/alpha/x", "X-Token-Scope: read write"); a.status != 200 || !slices.Equal(a.header["X-Token-Scope"], []string{"read"}) {
		t.Errorf("%d %q", a.status, a.header["X-Token-Scope"])
	}
}

// TestAnswersToUpgradesKeepNoOtherHopByHopHeader: an answer to a handshake says Upgrade, and nothing
// else of its hop.
//
// Case P5.
func TestAnswersToUpgradesKeepNoOtherHopByHopHeader(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(func(r *upRequest) bool {
		r.say("HTTP/1.1 101 Switching Protocols\r\nConnection: keep-alive, upgrade, X-Hop\r\nUpgrade: WebSocket\r\nUpgrade: h2c\r\nX-Hop: 1\r\n" +
			"Keep-Alive: 5\r\nX-Kept: 1\r\n\r\n")
		return false
	})
	c := dialRaw(t, s.addr)
	c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	a := c.read("GET")
	if a.status != 101 || !slices.Equal(a.header["Connection"], []string{"Upgrade"}) || !slices.Equal(a.header["Upgrade"], []string{"WebSocket"}) ||
		a.header["X-Hop"] != nil || a.header["Keep-Alive"] != nil || a.header.Get("X-Kept") != "1" {
		t.Errorf("%d %q", a.status, a.header)
	}
}
