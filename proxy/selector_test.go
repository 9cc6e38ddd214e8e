package proxy

import (
	"slices"
	"strings"
	"testing"

	"token-sidecar/upstream"
)

// withSubjects is a sidecar with the routes mydatahelps (no subject),
// mydatahelps.participant (a subject) and oclc (either).
func withSubjects(t *testing.T) (*side, func() int, func(subject string) int) {
	var count func() int
	var of func(string) int
	s := newSide(t, setup{upstreams: func(s *side) []upstream.Upstream {
		u, sim := s.myDataHelps()
		count, of = sim.TokenRequests, sim.TokenRequestsFor
		return []upstream.Upstream{u, s.oclc()}
	}})
	return s, count, of
}

func TestSubjectChoosesTheToken(t *testing.T) {
	s, _, of := withSubjects(t)
	for _, c := range []struct{ path, line, subject, want string }{
		{"/mydatahelps.participant/a/b", "X-Token-Subject: alice", "alice", "/a/b"},
		{"/mydatahelps.participant/~alice/a/b", "", "alice", "/a/b"},
		{"/mydatahelps.participant/~alice", "", "alice", "/"},
		{"/mydatahelps.participant/~alice?x", "", "alice", "/?x"},
		{"/mydatahelps.participant/~Alice/~bob", "", "Alice", "/~bob"},
		{"/mydatahelps.participant/~b%6Fb/a", "", "bob", "/a"},
		{"/mydatahelps.participant/a/~b", "x-token-SUBJECT:  bob\t", "bob", "/a/~b"},
	} {
		lines := []string{}
		if c.line != "" {
			lines = append(lines, c.line)
		}
		if a := s.get(c.path, lines...); a.status != 200 || s.up.last().target != c.want {
			t.Errorf("%s %s: %d %s", c.path, c.line, a.status, a.body)
		} else if of(c.subject) != 1 {
			t.Errorf("%s %s: %d token requests for %s", c.path, c.line, of(c.subject), c.subject)
		}
		if strings.Contains(strings.ToLower(s.up.last().head), "subject") {
			t.Errorf("the target saw %q", s.up.last().head)
		}
	}
	s.get("/mydatahelps.participant/a").problem(t, 400, "subject_required")
	s.get("/mydatahelps/a", "X-Token-Subject: alice").problem(t, 400, "subject_not_taken")
	s.get("/mydatahelps/~alice/a").problem(t, 400, "subject_not_taken")
	for _, path := range []string{"/oclc/a", "/oclc/~128807/a"} {
		if a := s.get(path); a.status != 200 || s.up.last().target != "/a" {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

// Case A4.
func TestSelectorGivenTwiceIsRefused(t *testing.T) {
	s, count, _ := withSubjects(t)
	const at = "/mydatahelps.participant"
	for _, c := range []struct {
		path  string
		lines []string
	}{
		{at + "/x", []string{"X-Token-Subject: bob", "X-Token-Subject: bob"}},
		{at + "/x", []string{"X-Token-Subject: bob", "X-Token-Subject: alice"}},
		{at + "/x", []string{"X-Token-Subject: bob", "x-token-subject: alice"}},
		{at + "/x", []string{"X-Token-Subject:", "X-Token-Subject: bob"}},
		{at + "/x", []string{"X-Token-Subject:"}},
		{at + "/x", []string{"X-Token-Subject:  \t "}},
		{at + "/x", []string{"X-Token-Subject: alice,bob"}},
		{at + "/x", []string{"X-Token-Subject: alice, bob"}},
		{at + "/x", []string{"X-Token-Subject: b\tob"}},
		{at + "/x", []string{"X-Token-Subject: b\x80b"}},
		{at + "/x", []string{"X-Token-Subject: " + strings.Repeat("x", 8<<10)}},
		{at + "/~bob/x", []string{"X-Token-Subject: bob"}},
		{at + "/~bob/x", []string{"X-Token-Subject:"}},
		{at + "/~/x", nil},
		{at + "/~", nil},
		{at + "/~a%2Cb/x", nil},
		{at + "/~a%20b/x", nil},
		{at + "/~%C3%A9/x", nil},
		{at + "/~" + strings.Repeat("x", 300) + "/x", nil},
	} {
		s.get(c.path, c.lines...).problem(t, 400, "subject_invalid")
	}
	for _, line := range []string{"X_Token_Subject: bob", "X-Token_Subject: bob", "x_token_subject_: bob", "X_TOKEN_SCOPE: api",
		"X_Token_Route: mydatahelps", "X_Sidecar_Token: x"} {
		s.get(at+"/~bob/x", line).problem(t, 400, "header_invalid")
	}
	for _, line := range []string{"X-Token-Subject: b\x00b", "X-Token-Subject: b\rb", "X-Token-Subject : bob", "X-Token-Subject: b\x7fb"} {
		if a := s.get(at+"/x", line); a.status != 400 {
			t.Errorf("%q: %d", line, a.status)
		}
	}
	for _, path := range []string{at + "/~a%2F..%2Fb/x", at + "/~a%00/x"} {
		if a := s.get(path); a.status != 400 {
			t.Errorf("%q: %d", path, a.status)
		}
	}
	if count() != 0 || len(s.up.requests()) != 0 {
		t.Errorf("%d token requests, %d at the target", count(), len(s.up.requests()))
	}
}

// Case A2.
func TestClientsOwnAuthorizationIsReplaced(t *testing.T) {
	s := newSide(t, setup{})
	for _, lines := range [][]string{
		{"Authorization: Bearer x"}, {"Authorization: Basic eDp5"}, {"AUTHORIZATION: Bearer x", "authorization: Bearer y"},
		{"Authorization:"}, {"Proxy-Authorization: Basic eDp5"}, {"PROXY-AUTHORIZATION: x", "Proxy-Connection: keep-alive"},
	} {
		if a := s.get("/alpha/x", lines...); a.status != 200 {
			t.Errorf("%q: %d", lines, a.status)
		}
		r := s.up.last()
		r.authorized(t, tokenOf(1))
		if r.header("proxy-authorization") != nil || strings.Contains(r.head, "eDp5") {
			t.Errorf("%q: the target saw %q", lines, r.head)
		}
	}
	before := len(s.up.requests())
	for _, line := range []string{"Authorization_: Bearer x", "_Authorization: Bearer x", "Proxy_Authorization: x", "authorization__: x"} {
		s.get("/alpha/x", line).problem(t, 400, "header_invalid")
	}
	if len(s.up.requests()) != before {
		t.Error("refused, yet forwarded")
	}
}

// Case A1.
func TestConnectionHeaderCannotStripTheToken(t *testing.T) {
	s := newSide(t, setup{})
	for _, lines := range [][]string{
		{"Connection: Authorization"}, {"Connection: authorization, close"}, {"Connection:", "Connection: Authorization"},
		{"Connection: Authorization", "Authorization: Bearer x"}, {"Connection: AUTHORIZATION,,X-Hop, cdn-loop", "X-Hop: secret"},
		{"Connection: keep-alive, Host, Content-Length, Content-Type, User-Agent"}, {"Proxy-Connection: Authorization"},
		{"Connection: close, X-Hop", "X-Hop: secret"}, {"Connection: x-hop, Close", "X-Hop: secret"},
		{"Connection: upgrade, Authorization", "Upgrade: websocket"},
	} {
		if a := s.get("/alpha/x", lines...); a.status != 200 {
			t.Errorf("%q: %d", lines, a.status)
		}
		r := s.up.last()
		r.authorized(t, tokenOf(1))
		if r.header("x-hop") != nil || r.header("proxy-connection") != nil || len(r.header("host")) != 1 || len(r.header("cdn-loop")) != 1 {
			t.Errorf("%q: the target saw %q", lines, r.head)
		}
	}
}

// sortedLines takes the order out of a head: it says nothing for headers of
// different names (RFC 9110 section 5.3).
func sortedLines(head string) string {
	lines := strings.Split(head, "\r\n")
	slices.Sort(lines)
	return strings.Join(lines, "\r\n")
}

// Case A13.
func TestForgedForwardingHeadersAreReplaced(t *testing.T) {
	s := newSide(t, setup{})
	if a := s.get("/alpha/x", "User-Agent: a"); a.status != 200 {
		t.Fatal(a.status)
	}
	plain := sortedLines(s.up.last().head)
	for _, line := range []string{"X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: evil", "X-Forwarded-Proto: https", "X-Forwarded-Uri: /beta",
		"X-Forwarded-Prefix: /beta", "X-Forwarded-Anything: x", "Forwarded: for=1.2.3.4;host=evil", "X-Original-URL: /admin", "X-Original-Host: e",
		"X-Rewrite-URL: /admin", "X-HTTP-Method-Override: DELETE", "X-Method-Override: PUT", "Via: 1.1 evil", "X-Real-IP: 1.2.3.4",
		"Cookie: session=other", "Proxy: http://evil", "X_Forwarded_For: 1.2.3.4", "X-HTTP_Method_Override: DELETE", "Client-IP: 1.2.3.4",
		"TE: gzip", "Trailer: X-T", "Keep-Alive: 5", "Alt-Used: evil", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"} {
		if a := s.get("/alpha/x", "User-Agent: a", line); a.status != 200 || sortedLines(s.up.last().head) != plain {
			t.Errorf("%s: %d, the target saw %q", line, a.status, s.up.last().head)
		}
	}
	if a := s.get("/alpha/x", "User-Agent: kube-probe/1.31"); a.status != 200 || a.body != "hello" {
		t.Errorf("a probe got %d", a.status)
	}
	// Ours alone, and no User-Agent or Accept-Encoding where the client sent none.
	s.get("/alpha/x")
	want := "GET /x HTTP/1.1\r\nHost: " + s.up.url()[7:] + "\r\nAuthorization: Bearer " + tokenOf(1) + "\r\nCdn-Loop: token-sidecar\r\n\r\n"
	if got := s.up.last().head; got != want {
		t.Errorf("the target saw %q, want %q", got, want)
	}
}

// Case B11.
func TestLoopIsRefused(t *testing.T) {
	s := newSide(t, setup{})
	for _, line := range []string{"CDN-Loop: token-sidecar", "CDN-Loop: other, token-sidecar; x=1", "cdn-loop: token-sidecar"} {
		s.get("/alpha/x", line).problem(t, 508, "loop_detected")
	}
	s.untouched()
	if a := s.get("/alpha/x", "CDN-Loop: other"); a.status != 200 {
		t.Errorf("a loop of others: %d", a.status)
	}
	if got := s.up.last().header("cdn-loop"); strings.Join(got, ", ") != "other, token-sidecar" {
		t.Errorf("Cdn-Loop is %q", got)
	}
	// A request that has passed a sidecar is not served by another.
	one := newSide(t, setup{})
	two := newSide(t, setup{upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{s.oauth2("alpha", "http://"+one.addr+"/alpha")}
	}})
	a := two.get("/alpha/x")
	if a.status != 508 || !strings.Contains(a.body, "loop_detected") {
		t.Errorf("two in a row: %d %s", a.status, a.body)
	}
	one.untouched()
}
