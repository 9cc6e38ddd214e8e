package proxy

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"token-sidecar/upstream"
)

func TestG10_WithheldHeaders(t *testing.T) {
	s := newSide(t, setup{})
	s.up.say("HTTP/1.1 200 OK\r\n" + joinLines([]string{
		"Alt-Svc: h3=\":443\"", "Strict-Transport-Security: max-age=1", "Clear-Site-Data: \"*\"", "Public-Key-Pins: x", "Expect-CT: x",
		"NEL: {}", "Report-To: {}", "Reporting-Endpoints: x", "Set-Cookie: session=alice", "set-cookie: b=c", "Set-Cookie2: x",
		"Proxy-Authenticate: Basic", "Proxy-Authentication-Info: x", "CDN-Cache-Control: max-age=9", "Surrogate-Control: max-age=9",
		"Connection: X-Hop", "X-Hop: hop", "Keep-Alive: 5", "Proxy-Connection: close", "Upgrade: h2c",
		"WWW-Authenticate: Bearer", "X-Kept: 1", "x-kept: 2", "Content-Length: 2"}) + "\r\nok")
	a := s.get("/alpha/x")
	if a.status != 200 || a.body != "ok" {
		t.Fatalf("%d %q", a.status, a.body)
	}
	var names []string
	for name := range a.header {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := "Cache-Control Content-Length Date Vary Www-Authenticate X-Kept"; strings.Join(names, " ") != want {
		t.Errorf("the app sees %q, want %s", names, want)
	}
	if got := a.header["X-Kept"]; !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("X-Kept is %q", got)
	}
}

func TestG10_TokenShown(t *testing.T) {
	s := newSide(t, setup{})
	s.warm()
	token := tokenOf(1)
	s.up.say("HTTP/1.1 302 Found\r\nLocation: https://other.example/?t=" + url.QueryEscape(token) + "\r\nX-Echo: Bearer " + token +
		"\r\nWWW-Authenticate: Bearer token=\"" + token + "\"\r\nX-Safe: 1\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"2\r\nok\r\n0\r\nX-Trailer: " + token + "\r\nX-Safe-Trailer: 2\r\nSet-Cookie: a=b\r\n\r\n")
	a := s.get("/alpha/x")
	if a.status != 302 || a.header.Get("X-Safe") != "1" || a.trailer.Get("X-Safe-Trailer") != "2" || a.body != "ok" {
		t.Errorf("%d %v %v", a.status, a.header, a.trailer)
	}
	if all := fmt.Sprint(a.header, a.trailer); strings.Contains(all, "canary") || strings.Contains(all, "a=b") {
		t.Errorf("the app sees %s", all)
	}
	// After a 401 it is the second token that counts.
	s.up.play(func(r *upRequest) bool {
		if r.n <= 2 {
			r.say(unauthorized)
			return true
		}
		r.say("HTTP/1.1 200 OK\r\nX-Echo: " + tokenOf(2) + "\r\nContent-Length: 0\r\n\r\n")
		return true
	})
	if a := s.get("/alpha/x"); a.status != 200 || a.header.Get("X-Echo") != "" {
		t.Errorf("%d %v", a.status, a.header)
	}
}

// The rules of keepApart, as a cache on the app's side would read them.
func TestCachesAreToldWhoseAnswerItIs(t *testing.T) {
	s, _, _ := withSubjects(t)
	s.up.say("HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\nVary: Accept\r\nETag: \"1\"\r\nContent-Length: 0\r\n\r\n")
	private := []string{"public, max-age=60", "private"}
	for _, c := range []struct {
		path, line string
		want       []string
	}{
		{"/mydatahelps/x", "X-Other: 1", private},
		{"/mydatahelps.participant/~alice/x", "X-Other: 1", private},
		{"/mydatahelps.participant/x", "X-Token-Subject: alice", []string{"no-store"}},
		{"/oclc/x", "X-Other: 1", []string{"no-store"}},
		{"/oclc/x", "X-Token-Subject: 128807", []string{"no-store"}},
		{"/oclc/~128807/x", "X-Other: 1", private},
	} {
		a := s.get(c.path, c.line)
		if got := a.header["Cache-Control"]; a.status != 200 || !slices.Equal(got, c.want) {
			t.Errorf("%s %s: %d, Cache-Control %q, want %q", c.path, c.line, a.status, got, c.want)
		}
		if got := strings.Join(a.header["Vary"], ", "); got != "Accept, X-Token-Subject, X-Token-Scope, X-Token-Route" {
			t.Errorf("%s: Vary is %q", c.path, got)
		}
		if a.header.Get("Etag") != `"1"` {
			t.Error("the entity tag is gone")
		}
	}
}

func TestB6_RedirectsPass(t *testing.T) {
	s, evil := newSide(t, setup{}), newUp(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{evil.url() + "/x", s.up.url() + "/y", "/z", "http://" + s.addr + "/alpha/y", "//evil.example/"} {
			s.up.say(fmt.Sprintf("HTTP/1.1 %d X\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", status, to))
			before := len(s.up.requests())
			if a := s.get("/alpha/x"); a.status != status || a.header.Get("Location") != to {
				t.Errorf("%d to %s became %d to %q", status, to, a.status, a.header.Get("Location"))
			}
			if len(s.up.requests()) != before+1 || len(evil.requests()) != 0 {
				t.Errorf("%d to %s was followed", status, to)
			}
		}
	}
}

func TestInformationalAnswers(t *testing.T) {
	s := newSide(t, setup{})
	s.warm()
	s.up.say("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nSet-Cookie: a=b\r\nX-Echo: " + tokenOf(1) + "\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok("end"))
	c := dialRaw(t, s.addr)
	c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	got := c.rest(patience)
	if !strings.HasPrefix(got, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n") || strings.Count(got, "Link") != 1 {
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

func TestG8_HugeAnswerHeaders(t *testing.T) {
	for name, head := range map[string]string{
		"one line":   "X-A: " + strings.Repeat("a", 1<<20) + "\r\n",
		"many lines": strings.Repeat("X-A: 12345678901234567890\r\n", 20_000),
	} {
		s := newSide(t, setup{})
		s.up.say("HTTP/1.1 200 OK\r\n" + head + "\r\n")
		a := s.get("/alpha/x")
		if a.status != 502 {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}

// F10: what waits for a connection longer than its token lives gets another
// token before it is sent, or is not sent.
func TestF10_TokenExpiresBeforeSending(t *testing.T) {
	for _, more := range []bool{true, false} {
		s := newSide(t, setup{})
		s.idp.answer = func(n int64) (int, string) {
			if n > 1 && !more {
				return 503, ""
			}
			return 200, tokenAnswer(n, map[bool]int{true: 1, false: 3600}[n == 1])
		}
		transport := s.proxy.routes["alpha"].connections.requests
		transport.MaxConnsPerHost = 1
		started, finish := make(chan bool), make(chan bool)
		s.up.play(func(r *upRequest) bool {
			if r.n == 1 {
				close(started)
				<-finish
			}
			r.say(ok("hello"))
			return true
		})
		first := make(chan answer)
		go func() { first <- s.get("/alpha/1") }()
		<-started
		second := make(chan answer)
		go func() { second <- s.get("/alpha/2") }()
		expired := time.Now().Add(1100 * time.Millisecond)
		eventually(t, "the end of the token", func() bool { return time.Now().After(expired) })
		close(finish)
		if a := <-first; a.status != 200 {
			t.Errorf("the first got %d", a.status)
		}
		a := <-second
		got := s.up.requests()
		if more {
			if a.status != 200 || len(got) != 2 {
				t.Fatalf("%d %s, %d requests", a.status, a.body, len(got))
			}
			got[1].authorized(t, tokenOf(s.idp.count.Load()))
		} else {
			a.problem(t, 503, "token_unavailable")
			if len(got) != 1 {
				t.Errorf("%d requests were sent", len(got))
			}
		}
	}
}

func TestB13_CertificateNotTrusted(t *testing.T) {
	target := newTLSTarget(t)
	for name, roots := range target.roots {
		s := newSide(t, setup{config: func(c *Config) { c.Roots = roots }, upstreams: func(s *side) []upstream.Upstream {
			return []upstream.Upstream{s.oauth2("alpha", target.url)}
		}})
		a := s.get("/alpha/x")
		if name == "trusted" {
			if a.status != 200 || a.body != "over TLS" {
				t.Errorf("trusted: %d %s", a.status, a.body)
			}
			continue
		}
		a.problem(t, 502, "target_unreachable")
		if got := a.header.Get("Proxy-Status"); !strings.Contains(got, "tls_certificate_error") {
			t.Errorf("%s: Proxy-Status is %q", name, got)
		}
	}
	if n := target.served.Load(); n != 1 {
		t.Errorf("%d requests were sent, want the trusted one", n)
	}
}
