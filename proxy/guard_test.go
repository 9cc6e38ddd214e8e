package proxy

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"token-sidecar/upstream"
)

// Case B4.
func TestHostsThatAreNotOursAreRefused(t *testing.T) {
	s := newSide(t, setup{config: func(c *Config) { c.Hosts = NewHosts([]string{"sidecar.internal"}, false) }})
	s.warm()
	for _, host := range []string{"localhost", "localhost:8080", "LOCALHOST", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080", "sidecar.internal", "sidecar.internal:80"} {
		if a := s.get("/alpha/x", "Host: "+host); a.status != 200 {
			t.Errorf("%s: %d", host, a.status)
		}
	}
	before := len(s.up.requests())
	for _, host := range []string{"attacker.example", "attacker.example:8080", "localhost.", "127.0.0.1.evil", "0x7f000001", "2130706433", "127.1",
		"169.254.169.254", "127.0.0.2", "[::2]", "localhost.evil", "evil-localhost", "user@localhost", "0.0.0.0", "sidecar.internal.", "", "[::1"} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			if a := s.send(method, "/alpha/x", "", "Host: "+host); a.status != 403 && a.status != 400 {
				t.Errorf("%s with Host %q: %d", method, host, a.status)
			}
		}
	}
	for _, head := range []string{"GET /alpha/x HTTP/1.0\r\n\r\n", "GET /alpha/x HTTP/1.1\r\n\r\n", "GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
		"GET /alpha/x HTTP/1.1\r\nHost: local\x01host\r\n\r\n", "GET http://localhost/alpha/x HTTP/1.1\r\nHost: localhost\r\n\r\n"} {
		c := dialRaw(t, s.addr)
		c.write(head)
		if a := c.read("GET"); a.status < 400 {
			t.Errorf("%q: %d", head, a.status)
		}
	}
	if len(s.up.requests()) != before {
		t.Error("refused, yet forwarded")
	}
	s.get("/alpha/x", "Host: evil").problem(t, 403, "host_not_allowed")
	any := NewHosts(nil, true)
	for host, want := range map[string]bool{"10.0.0.1:8080": true, "[fd00::1]:80": true, "fd00::1": true, "evil.example": false, "": false, "1.2.3": false} {
		if any.Allowed(host) != want {
			t.Errorf("any address: %q is %v", host, !want)
		}
	}
	if (Hosts{}).Allowed("localhost") {
		t.Error("the zero Hosts allows a name")
	}
}

// Case B5.
func TestRequestsOfBrowsersAreRefused(t *testing.T) {
	s := newSide(t, setup{})
	for _, line := range []string{"Origin: https://evil.example", "Origin: null", "Origin: http://localhost:8080", "Sec-Fetch-Site: cross-site",
		"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", "Referer: https://evil.example/", "referer:", "Access-Control-Request-Method: GET",
		"Access-Control-Request-Private-Network: true"} {
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS"} {
			a := s.send(method, "/alpha/x", "", line)
			if method == "HEAD" {
				if a.status != 403 {
					t.Errorf("HEAD with %s: %d", line, a.status)
				}
				continue
			}
			a.problem(t, 403, "browser_refused")
			if a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Error("a page may read the answer")
			}
		}
	}
	s.untouched()
}

// Case B14.
func TestCallerTokenIsRequired(t *testing.T) {
	secret := upstream.NewSecret("caller-secret")
	s := newSide(t, setup{config: func(c *Config) { c.CallerToken = secret }})
	for _, lines := range [][]string{nil, {"X-Sidecar-Token:"}, {"X-Sidecar-Token: caller-secre"}, {"X-Sidecar-Token: caller-secret2"},
		{"X-Sidecar-Token: CALLER-SECRET"}, {"X-Sidecar-Token: " + strings.Repeat("x", 10_000)}, {"Authorization: caller-secret"},
		{"X-Sidecar-Token: caller-secret", "X-Sidecar-Token: caller-secret"}, {"X-Sidecar-Token: caller-secret, caller-secret"}} {
		s.get("/alpha/x", lines...).problem(t, 403, "caller_refused")
	}
	s.untouched()
	if a := s.get("/alpha/x", "X-Sidecar-Token: caller-secret"); a.status != 200 {
		t.Errorf("the right one: %d", a.status)
	}
	secret.Replace("other")
	s.get("/alpha/x", "X-Sidecar-Token: caller-secret").problem(t, 403, "caller_refused")
}

// Case J6.
func TestRequestsBeyondTheLimitsAreRefused(t *testing.T) {
	s := newSide(t, setup{})
	for name, head := range map[string]string{
		"1 MiB header":  "GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nX-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
		"1 MiB URL":     "GET /alpha/" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"10k lines":     "GET /alpha/x HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X-A: 1\r\n", 10_000) + "\r\n",
		"501 lines":     "GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + strings.Repeat("A: 1\r\n", 500) + "\r\n",
		"endless lines": "GET /alpha/x HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("A: 1\r\n", 100_000),
	} {
		c := dialRaw(t, s.addr)
		go c.write(head)
		if got := c.rest(patience); !strings.HasPrefix(got, "HTTP/1.1 431 ") {
			t.Errorf("%s: %.80q", name, got)
		}
	}
	s.untouched()
	if a := s.get("/alpha/x", "X-A: "+strings.Repeat("a", 32<<10)); a.status != 200 {
		t.Errorf("a header of 32 KiB: %d", a.status)
	}
	if a := s.get("/alpha/x", slices.Repeat([]string{"A: 1"}, 500)...); a.status != 200 {
		t.Errorf("500 lines: %d", a.status)
	}
}

// Case J7.
func TestListenerSpeaksNoHTTP2(t *testing.T) {
	s := newSide(t, setup{})
	c := dialRaw(t, s.addr)
	c.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	if got := c.rest(patience); strings.Contains(got, "\x00") || !strings.HasPrefix(got, "HTTP/1.1 505") {
		t.Errorf("the preface got %q", got)
	}
	a := s.get("/alpha/x", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
	if a.status != 200 || a.proto != "HTTP/1.1" {
		t.Errorf("h2c: %d %s", a.status, a.proto)
	}
}

// TestMethodsAreRefusedInAnyCase: servers that take trace for TRACE exist, so what is
// refused is refused in any spelling, before a token is looked up.
//
// Case P4.
func TestMethodsAreRefusedInAnyCase(t *testing.T) {
	s := newSide(t, setup{})
	for _, method := range []string{"trace", "Trace", "tRACE", "track", "Track", "connect", "Connect", "cONNECT", "pri", "Pri"} {
		for _, path := range []string{"/alpha/x", s.up.url() + "/x"} {
			a := s.send(method, path, "")
			a.problem(t, 405, "method_not_allowed")
			if a.header.Get("Allow") == "" {
				t.Errorf("%s: no Allow", method)
			}
		}
	}
	s.untouched()
	for _, method := range []string{"get", "TRACER", "BREW"} {
		if a := s.send(method, "/alpha/x", ""); a.status != 200 || s.up.last().method != method {
			t.Errorf("%s: %d", method, a.status)
		}
	}
}

// TestAnyHostOverAUnixSocket: no web page can reach a Unix socket, and clients write
// there what they like for a host.
//
// Case P14.
func TestAnyHostOverAUnixSocket(t *testing.T) {
	s := newSide(t, setup{})
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "data.sock"))
	if err != nil {
		t.Fatal(err)
	}
	path, _ := serveOn(t, l, s.proxy.Handler())
	for _, c := range []struct {
		line   string
		status int
	}{{"Host: sidecar", 200}, {"Host: localhost", 200}, {"Host: %2Frun%2Fsidecar.sock", 200}, {"Host:", 200}, {"Host: a\r\nOrigin: http://a", 403}} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		client := rawOn(t, conn)
		client.write("GET /alpha/x HTTP/1.1\r\n" + c.line + "\r\n\r\n")
		if a := client.read("GET"); a.status != c.status {
			t.Errorf("%q: %d %s, want %d", c.line, a.status, a.body, c.status)
		}
	}
	s.get("/alpha/x", "Host: sidecar").problem(t, 403, "host_not_allowed")
}
