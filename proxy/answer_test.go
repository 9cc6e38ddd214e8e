package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"token-sidecar/upstream"
)

// Case G10.
func TestHarmfulAnswerHeadersAreWithheld(t *testing.T) {
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

// Case G10.
func TestTokenShownInAnAnswerIsWithheld(t *testing.T) {
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

// TestCachesAreToldWhoseAnswerItIs holds the rules of restrictCaching, as a cache on the app's
// side would read them.
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

// TestShortTokensMayOccurInHeaders: a token of seven bytes may be in a header by chance.
func TestShortTokensMayOccurInHeaders(t *testing.T) {
	for token, shown := range map[string]bool{"1234567": true, "12345678": false} {
		s := newSide(t, setup{})
		s.idp.answer = func(int64) (upstream.Token, error) {
			return upstream.NewToken(token, "", time.Now(), time.Now().Add(time.Hour))
		}
		s.up.say("HTTP/1.1 200 OK\r\nX-Echo: <" + token + ">\r\nContent-Length: 0\r\n\r\n")
		if a := s.get("/alpha/x"); a.status != 200 || (a.header.Get("X-Echo") != "") != shown {
			t.Errorf("token %s: %d, X-Echo is %q", token, a.status, a.header.Get("X-Echo"))
		}
	}
}

// Case G8.
func TestHugeAnswerHeadersAreRefused(t *testing.T) {
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

func TestControlBytesInAnswerHeadersAreRefused(t *testing.T) {
	for _, c := range []string{"\x00", "\r", "\x01", "\x1b", "\x7f"} {
		s := newSide(t, setup{})
		s.up.say("HTTP/1.1 200 OK\r\nX-A: a" + c + "b\r\nContent-Length: 0\r\n\r\n")
		if a := s.get("/alpha/x"); a.status != 502 {
			t.Errorf("%q: %d, %q, %v", c, a.status, a.header.Get("X-A"), a.err)
		}
	}
}

// Only configured targets are dialled, and no proxy of the environment.
//
// Case B3.
func TestOnlyTargetsAreDialled(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("ALL_PROXY", "http://127.0.0.1:1")
	s := newSide(t, setup{})
	var mu sync.Mutex
	dialled := map[string]bool{}
	recorded := func(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			mu.Lock()
			defer mu.Unlock()
			dialled[address] = true
			if err == nil {
				dialled[c.RemoteAddr().String()] = true
			}
			return c, err
		}
	}
	over := s.proxy.routes["alpha"].connections.sets.plain
	shared, asked := over.requests.Take(t.Context())
	asked(false)
	shared.Release()
	for _, transport := range []*http.Transport{shared.Transport, over.uploads, over.upgrades} {
		if transport.Proxy != nil {
			t.Error("a proxy is set")
		}
	}
	for _, dialer := range over.dialers {
		dialer.DialContext = recorded(dialer.DialContext)
	}
	for _, path := range []string{"/alpha/x", "/alpha//evil.example/x", "http://evil.example/x", "/alpha/http://evil.example/x", "//evil.example/alpha",
		"/alpha/@evil.example", "/alpha/x?url=http://evil.example", s.up.url() + "@evil.example/x", s.up.url() + "/x"} {
		s.get(path, "Proxy: http://evil.example", "X-Forwarded-Host: evil.example")
		s.get(path, "Connection: Upgrade", "Upgrade: websocket")
	}
	if len(dialled) != 1 || !dialled[s.up.l.Addr().String()] {
		t.Errorf("dialled %v", dialled)
	}
}
