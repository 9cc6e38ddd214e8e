package proxy

import (
	"strconv"
	"strings"
	"testing"
)

// Case A6.
func TestOnlyOrdinaryMethodsAndTargetsAreServed(t *testing.T) {
	s := newSide(t, setup{})
	for line, status := range map[string]string{
		"CONNECT evil.example:443 HTTP/1.1": "405", "CONNECT /alpha/x HTTP/1.1": "405", "OPTIONS * HTTP/1.1": "400",
		"TRACE /alpha/x HTTP/1.1": "405", "TRACK /alpha/x HTTP/1.1": "405", "PRI /alpha/x HTTP/1.1": "405",
		"GET http:/alpha/x HTTP/1.1": "400", "GET alpha:/x HTTP/1.1": "400", "GET xalpha:x HTTP/1.1": "400", "GET http:///alpha/x HTTP/1.1": "400",
		"GET alpha/x HTTP/1.1": "400", "GET  HTTP/1.1": "400", "GET * HTTP/1.1": "400", "PRI * HTTP/2.0": "505",
		"GET /alpha/x HTTP/2.0": "505", "GET /alpha/x HTTP/0.9": "505", "GET /alpha/x HTTP/1.9": "200", "GET /alpha/x": "400",
		"GE\tT /alpha/x HTTP/1.1": "400", "G(T /alpha/x HTTP/1.1": "400", strings.Repeat("M", 33) + " /alpha/x HTTP/1.1": "405",
	} {
		c := dialRaw(t, s.addr)
		c.write(line + "\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		got := c.rest(patience)
		if head, _, _ := strings.Cut(got, "\r\n"); !strings.HasPrefix(head, "HTTP/1.1 "+status) {
			t.Errorf("%s: %q, want %s", line, head, status)
		}
	}
	for _, r := range s.up.requests() {
		if r.target != "/x" || r.method != "GET" {
			t.Errorf("the target saw %q", r.head)
		}
	}
	if n := len(s.up.requests()); n != 1 {
		t.Errorf("%d requests reached the target", n)
	}
}

// A request whose framing can be read in two ways is refused, and is the last one on its
// connection. The target never gets two requests from one.
//
// Case A8.
func TestAmbiguousFramingIsRefused(t *testing.T) {
	const next = "GET /alpha/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
	chunk := "5\r\nhello\r\n0\r\n\r\n"
	for _, c := range []struct {
		name, version, head, body string
		served                    bool // once, with this body
		want                      string
	}{
		{"CL and TE", "1.1", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", chunk, false, ""},
		{"TE and CL", "1.1", "Transfer-Encoding: chunked\r\nContent-Length: 100\r\n", chunk, false, ""},
		{"TE alone", "1.1", "Transfer-Encoding: chunked\r\n", chunk, true, "hello"},
		{"1.0 and TE", "1.0", "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n", chunk, false, ""},
		{"1.0, TE and CL", "1.0", "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", "hello", false, ""},
		{"two CL", "1.1", "Content-Length: 5\r\nContent-Length: 6\r\n", "hello!", false, ""},
		{"CL list", "1.1", "Content-Length: 5, 5\r\n", "hello", false, ""},
		{"CL sign", "1.1", "Content-Length: +5\r\n", "hello", false, ""},
		{"CL minus", "1.1", "Content-Length: -5\r\n", "hello", false, ""},
		{"CL hex", "1.1", "Content-Length: 0x5\r\n", "hello", false, ""},
		{"CL empty", "1.1", "Content-Length:\r\n", "", false, ""},
		{"CL overflow", "1.1", "Content-Length: 18446744073709551621\r\n", "hello", false, ""},
		{"TE x", "1.1", "Transfer-Encoding: xchunked\r\n", chunk, false, ""},
		{"TE two", "1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunk, false, ""},
		{"TE list", "1.1", "Transfer-Encoding: chunked, identity\r\n", chunk, false, ""},
		{"TE gzip", "1.1", "Transfer-Encoding: gzip, chunked\r\n", chunk, false, ""},
		{"TE vt", "1.1", "Transfer-Encoding: \vchunked\r\n", chunk, false, ""},
		{"space before colon", "1.1", "Transfer-Encoding : chunked\r\n", chunk, false, ""},
		{"bare CR", "1.1", "X-A: b\rTransfer-Encoding: chunked\r\n", chunk, false, ""},
		{"no name", "1.1", ": x\r\n", "", false, ""},
		{"folded first", "1.1", " X-A: b\r\n", "", false, ""},
		{"two Host", "1.1", "Host: evil\r\n", "", false, ""},
		{"NUL", "1.1", "X-A: a\x00b\r\n", "", false, ""},
		{"odd Expect", "1.1", "Expect: 200-ok\r\n", "", false, ""},
	} {
		s := newSide(t, setup{})
		conn := dialRaw(t, s.addr)
		conn.write("POST /alpha/first HTTP/" + c.version + "\r\nHost: localhost\r\n" + c.head + "\r\n" + c.body + next)
		got := conn.rest(patience)
		up := s.up.requests()
		if !c.served {
			if len(up) != 0 || strings.HasPrefix(got, "HTTP/1.1 2") || !strings.HasPrefix(got, "HTTP/1.1 4") && !strings.HasPrefix(got, "HTTP/1.1 501") {
				t.Errorf("%s: %d requests reached the target; the app saw %q", c.name, len(up), got)
			}
			continue
		}
		if len(up) != 1 || up[0].target != "/first" || up[0].body != c.want || !up[0].bodyOK {
			t.Errorf("%s: the target saw %d requests", c.name, len(up))
		}
		if n := strings.Count(got, " 200 OK\r\n"); n != 1 || !strings.Contains(got, "Connection: close\r\n") {
			t.Errorf("%s: the app saw %q", c.name, got)
		}
	}
}

// A body that breaks off, or that is not chunked as it should be, never arrives whole.
//
// Case A8.
func TestBrokenBodiesEndTheirConnection(t *testing.T) {
	for name, c := range map[string]struct{ head, body string }{
		"chunk size overflow": {"Transfer-Encoding: chunked", "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"},
		"chunk size garbage":  {"Transfer-Encoding: chunked", "5x\r\nhello\r\n0\r\n\r\n"},
		"chunk too long":      {"Transfer-Encoding: chunked", "5\r\nhelloXX\r\n0\r\n\r\n"},
		"chunk bare LF":       {"Transfer-Encoding: chunked", "5\nhello\n0\n\n"},
		"extension bare LF":   {"Transfer-Encoding: chunked", "5;a=b\nhello\r\n0\r\n\r\n"},
		"no last chunk":       {"Transfer-Encoding: chunked", "5\r\nhello\r\n"},
		"short CL":            {"Content-Length: 100", "hello"},
		"short CL, big":       {"Content-Length: 100000000", "hello"},
	} {
		for _, method := range []string{"POST", "PUT"} {
			s := newSide(t, setup{})
			conn := dialRaw(t, s.addr)
			conn.write(method + " /alpha/x HTTP/1.1\r\nHost: localhost\r\n" + c.head + "\r\n\r\n" + c.body)
			if strings.HasPrefix(name, "short") || strings.HasPrefix(name, "no last") {
				_ = conn.Close()
			} else if a := conn.read(method); a.status == 200 {
				t.Errorf("%s: 200", name)
			}
			eventually(t, "the end of the exchange", func() bool { return strings.Contains(s.log.String(), "request") })
			eventually(t, "the end of the connection", func() bool {
				s.up.mu.Lock()
				defer s.up.mu.Unlock()
				return len(s.up.conns) == 0
			})
			for _, r := range s.up.requests() {
				if r.readBody(); r.bodyOK {
					t.Errorf("%s: the target saw a whole body %q", name, r.body)
				}
			}
		}
	}
}

// Case A10.
func TestRequestTrailersCannotActAsHeaders(t *testing.T) {
	s := newSide(t, setup{})
	for _, declared := range []string{"", "Trailer: Authorization, X-Token-Subject, X-T\r\n", "Trailer: X-T\r\nTE: trailers\r\n"} {
		conn := dialRaw(t, s.addr)
		conn.write("POST /alpha/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n" + declared + "\r\n5\r\nhello\r\n0\r\n" +
			"X-T: 1\r\nX-Token-Subject: bob\r\nAuthorization: Bearer evil\r\nX-Forwarded-For: 1\r\n\r\n")
		a := conn.read("POST")
		if a.status >= 400 && a.status < 500 {
			continue // net/http refuses some names
		}
		r := s.up.last()
		if a.status != 200 || r.body != "hello" || !r.bodyOK || strings.Contains(strings.Join(r.lines, "\n"), "evil") ||
			r.header("x-t") != nil || r.header("trailer") != nil || strings.Contains(strings.Join(r.lines, "\n"), "trailer ") {
			t.Errorf("%q: %d; the target saw %q", declared, a.status, r.lines)
		}
		r.authorized(t, tokenOf(1))
	}
}

// Case A12.
func TestContinueIsAnsweredBeforeTheBody(t *testing.T) {
	s := newSide(t, setup{})
	s.warm()
	head := "POST /alpha/x HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
	for _, status := range []string{"417 Expectation Failed", "401 Unauthorized", "200 OK", "413 X"} { // at once
		s.up.play(func(r *upRequest) bool {
			r.say("HTTP/1.1 " + status + "\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
			return false
		})
		c := dialRaw(t, s.addr)
		c.write(head)
		if a := c.read("POST"); !strings.HasPrefix(status, strconv.Itoa(a.status)) || a.body != "no" {
			t.Errorf("%s became %d %q", status, a.status, a.body)
		}
	}
	s.up.play(func(r *upRequest) bool { // the target asks for the body
		r.say("HTTP/1.1 100 Continue\r\n\r\n")
		return hello(r)
	})
	c := dialRaw(t, s.addr)
	c.write(head)
	if line, err := c.br.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	c.write("hello")
	_, _ = c.br.ReadString('\n')
	if a := c.read("POST"); a.status != 200 || s.up.last().body != "hello" {
		t.Errorf("%d", a.status)
	}
	s.up.play(func(r *upRequest) bool { // the target never answers, the client never sends
		_, _ = r.Read(make([]byte, 1))
		return false
	})
	c = dialRaw(t, s.addr)
	c.write(head)
	eventually(t, "the target is asked", func() bool { return len(s.up.requests()) == 6 })
	_ = c.Close()
	s.up.play(nil)
	for range 50 {
		if a := s.get("/alpha/x"); a.status != 200 {
			t.Fatalf("afterwards: %d", a.status)
		}
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(func(r *upRequest) bool {
		r.say(ok(r.target))
		return true
	})
	c := dialRaw(t, s.addr)
	const request = " HTTP/1.1\r\nHost: localhost\r\n\r\n"
	c.write("GET /alpha/1" + request + "GET /alpha/2" + request + "GET /x/../y" + request + "GET /alpha/3" + request)
	for _, want := range []string{"/1", "/2", "", "/3"} {
		a := c.read("GET")
		if want == "" {
			a.problem(t, 400, "path_invalid")
		} else if a.body != want {
			t.Errorf("%q, want %s", a.body, want)
		}
	}
}
