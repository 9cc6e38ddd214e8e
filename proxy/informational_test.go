package proxy

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"token-sidecar/upstream"
)

func TestInformationalAnswersPass(t *testing.T) {
	s := newSide(t, setup{})
	s.warm()
	s.up.say("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nSet-Cookie: a=b\r\nX-Echo: " + tokenOf(1) + "\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok("end"))
	c := dialRaw(t, s.addr)
	c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	got := c.rest(patience)
	if !strings.HasPrefix(got, "HTTP/1.1 103 Early Hints\r\nLink: </alpha/a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n") || strings.Count(got, "Link") != 1 {
		t.Errorf("the app sees %q", got)
	}
	c = dialRaw(t, s.addr)
	c.write("GET /alpha/x HTTP/1.0\r\nHost: localhost\r\n\r\n")
	if got := c.rest(patience); !strings.HasPrefix(got, "HTTP/1.0 200 OK\r\n") {
		t.Errorf("an HTTP/1.0 client sees %q", got)
	}
	s.up.play(func(r *upRequest) bool {
		for {
			if _, err := r.Write([]byte("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")); err != nil {
				return false
			}
		}
	})
	s.get("/alpha/x").problem(t, 502, "target_unreachable")
}

// TestInformationalAnswersAreBounded: the app gets sixteen of them, and the sidecar drops
// further ones. A long job that says again and again that it goes on must not fail for that.
//
// Case P7.
func TestInformationalAnswersAreBounded(t *testing.T) {
	s := newSide(t, setup{})
	for _, n := range []int{1, 15, 16, 17, 100} {
		s.up.say(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", n) + ok("end"))
		c := dialRaw(t, s.addr)
		c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		got := c.rest(patience)
		if passed := strings.Count(got, "102 Processing"); passed != min(n, 16) || !strings.Contains(got, " 200 OK\r\n") || !strings.HasSuffix(got, "end") {
			t.Errorf("%d informational answers: %d reached the app, in %q", n, passed, got)
		}
	}
}

// hostileHints are what no informational answer may tell the app.
var hostileHints = []string{"Connection: X-Hop, X-Token-Subject", "X-Hop: 1", "Keep-Alive: timeout=9", "Proxy-Connection: keep-alive",
	"Transfer-Encoding: chunked", "Upgrade: h2c", "Te: trailers", "Trailer: X-A", "X-Token-Subject: bob", "X-Token-Scope: admin",
	"X-Token-Route: beta", "X-Sidecar-Token: s", "X_Token_Subject: bob", "Cache-Control: public, max-age=9", "Expires: 9", "Vary: *",
	"Pragma: x", "Age: 1", "Set-Cookie: a=b", "Strict-Transport-Security: max-age=1", "Content-Length: 5", "Content_length: 5",
	"X-Echo: " + tokenOf(1), "X-Canary-1-Abcdef: 1"}

// TestInformationalAnswersAreScrubbed: what is withheld in final answers is withheld in
// informational ones, too.
//
// Case P7.
func TestInformationalAnswersAreScrubbed(t *testing.T) {
	s := newSide(t, setup{})
	s.warm()
	s.up.say("HTTP/1.1 103 Early Hints\r\n" + joinLines(hostileHints) + "Link: </a>\r\n\r\n" + ok("end"))
	c := dialRaw(t, s.addr)
	c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	hint, rest, _ := strings.Cut(c.rest(patience), "\r\n\r\n")
	if want := "HTTP/1.1 103 Early Hints\r\nLink: </alpha/a>\r\nX-Canary-1-Abcdef: 1"; hint != want {
		t.Errorf("the app sees %q, want %q", hint, want)
	}
	if !strings.HasPrefix(rest, "HTTP/1.1 200 OK\r\n") || strings.Contains(rest, "Link") || strings.Contains(rest, "X-Token-Subject: bob") {
		t.Errorf("then it sees %q", rest)
	}
	s.up.say("HTTP/1.1 103 Early Hints\r\nLink : </a>\r\n\r\n" + ok("end"))
	s.get("/alpha/x").problem(t, 502, "target_unreachable")
}

// TestInformationalAnswersOverHTTP2AreScrubbed: the same holds for those that come over
// HTTP/2.
//
// Case P7.
func TestInformationalAnswersOverHTTP2AreScrubbed(t *testing.T) {
	target := newTLSTarget(t, 0)
	target.serve = func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for range 100 {
			for _, line := range hostileHints {
				name, value, _ := strings.Cut(line, ": ")
				if name != "Transfer-Encoding" && name != "Content-Length" && name != "Trailer" { // those that net/http acts on
					h[name] = []string{value}
				}
			}
			h["Link"] = []string{"</a>"}
			w.WriteHeader(http.StatusEarlyHints)
			clear(h)
		}
		_, _ = io.WriteString(w, r.Proto)
	}
	s := newSide(t, setup{config: func(c *Config) { c.Roots = target.roots["trusted"] }, upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{s.oauth2("alpha", target.url)}
	}})
	c := dialRaw(t, s.addr)
	c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	answers := strings.Split(c.rest(patience), "\r\n\r\n")
	hint := "HTTP/1.1 103 Early Hints\r\nLink: </alpha/a>\r\nX-Canary-1-Abcdef: 1"
	if len(answers) != 18 || !slices.Equal(answers[:16], slices.Repeat([]string{hint}, 16)) || answers[17] != protocol() {
		t.Errorf("the app sees %s", fmt.Sprintf("%q", answers))
	}
}
