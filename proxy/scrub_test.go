package proxy

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"token-sidecar/upstream"
)

// TestTrailersCannotActAsHeaders: a trailer that frames, routes, authenticates or rules
// caches could be taken for a header of that name (RFC 9110 section 6.5.1).
//
// Case P18.
func TestTrailersCannotActAsHeaders(t *testing.T) {
	s := newSide(t, setup{})
	names := []string{"Content-Length", "Transfer-Encoding", "Trailer", "Host", "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade",
		"Proxy-Authenticate", "Proxy-Authorization", "Content-Encoding", "Content-Type", "Content-Range", "Content-Location", "Content-Disposition",
		"Authorization", "WWW-Authenticate", "Cookie", "Set-Cookie", "Set-Cookie2", "Cache-Control", "Expires", "Age", "Date", "Vary", "Pragma", "Warning", "Location",
		"Refresh", "Retry-After", "Strict-Transport-Security", "Alt-Svc", "Clear-Site-Data", "Forwarded", "X-Forwarded-For", "Range", "If-Match", "Expect",
		"Content_Length", "content.length", "Transfer--Encoding", "_Set_Cookie", "Cache_Control", "X_Token_Scope", "Content-Length ", "Kept : 1\r\nA B"}
	kept := []string{"Grpc-Status", "Etag", "Content-Digest", "Server-Timing", "Checksum", "X-Any_Thing"}
	trailers := ""
	for _, name := range append(names, kept...) {
		trailers += name + ": 5\r\n"
	}
	for _, announced := range []string{"", "Trailer: Grpc-Status\r\n", "Trailer: Set-Cookie, Vary, Location, Etag, X_Token_Scope, Content_Length, a b, \"\r\n"} {
		s.up.say("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n" + announced + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n" + trailers + "\r\n")
		c := dialRaw(t, s.addr)
		c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		head, body, _ := strings.Cut(c.rest(patience), "\r\n\r\n")
		_, section, _ := strings.Cut(body, "\r\n0\r\n")
		var want []string
		for _, name := range kept {
			want = append(want, http.CanonicalHeaderKey(name)+": 5")
		}
		got := strings.Split(strings.TrimSuffix(section, "\r\n\r\n"), "\r\n")
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%q: the app sees the trailers %q, want %q", announced, got, want)
		}
		for line := range strings.SplitSeq(head, "\r\n") {
			if name, value, _ := strings.Cut(line, ": "); name == "Trailer" && value != "Grpc-Status" && value != "Etag" {
				t.Errorf("%q became %q", announced, line)
			}
		}
	}
}

// TestDisguisedFramingOfAnswersIsWithheld: the app gets no header that a lax client could take
// for one that frames the answer.
//
// Case P18.
func TestDisguisedFramingOfAnswersIsWithheld(t *testing.T) {
	s := newSide(t, setup{})
	for _, name := range []string{"Content_length", "Content_Length", "ContentLength", "Content--Length", "content.length", "-Content-Length", "Content-Length_",
		"Transfer---Encoding", "Transfer_Encoding", "TRANSFERENCODING", "~transfer~encoding~"} {
		s.up.say("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n" + name + ": 1\r\nX-Content-Length: 9\r\nContent-Length: 2\r\n\r\nok")
		c := dialRaw(t, s.addr)
		c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		got := c.rest(patience)
		if strings.Contains(strings.ToLower(got), "\r\n"+strings.ToLower(name)+":") || !strings.Contains(got, "\r\nContent-Length: 2\r\n") ||
			!strings.Contains(got, "\r\nX-Content-Length: 9\r\n") || !strings.HasSuffix(got, "\r\n\r\nok") {
			t.Errorf("%s: the app sees %q", name, got)
		}
	}
}

// TestAmbiguousAnswersAreRefused: the app gets no answer that two clients could read in two
// ways, although net/http would take it.
//
// Case P18.
func TestAmbiguousAnswersAreRefused(t *testing.T) {
	for _, head := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 05", "HTTP/1.1 200 OK\r\nContent-Length: 0005", "HTTP/1.1 200 OK\r\nContent-Length: +5",
		"HTTP/1.1 200 OK\r\nContent-Length: 00", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5", "HTTP/1.1 200 OK\r\nContent-Length: 0x5",
		"HTTP/1.1 204 OK\r\nContent-Length: 05", "HTTP/1.1 304 OK\r\nContent-Length: 05",
		"HTTP/1.1 200 OK\r\nContent-Length : 5", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX A: 1", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A : 1",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding : chunked",
		"HTTP/1.2 200 OK\r\nContent-Length: 5", "HTTP/1.9 200 OK\r\nContent-Length: 5", "HTTP/0.9 200 OK\r\nContent-Length: 5",
		"HTTP/2.0 200 OK\r\nContent-Length: 5", "HTTP/9.9 200 OK\r\nContent-Length: 5", "HTTP/3.0 204 OK",
	} {
		s := newSide(t, setup{})
		s.up.say(head + "\r\n\r\nhello")
		for _, method := range []string{"GET", "POST"} {
			s.send(method, "/alpha/x", "").problem(t, 502, "target_unreachable")
			if t.Failed() {
				t.Fatalf("%s %q", method, head)
			}
		}
		if a := s.send("HEAD", "/alpha/x", ""); a.status != 502 {
			t.Errorf("HEAD %q: %d", head, a.status)
		}
	}
	// Over HTTP/2 net/http lets any lengths pass.
	for _, lengths := range [][]string{{"5", "5"}, {"5", "6"}, {"x"}, {""}, {"-5"}, {"9223372036854775808"}} {
		if checkHead(&http.Response{ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Length": lengths}}) == nil {
			t.Errorf("the length %q is taken", lengths)
		}
	}
	s := newSide(t, setup{})
	s.up.play(func(r *upRequest) bool {
		r.say("HTTP/9.9 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		return false
	})
	s.get("/alpha/x", "Connection: Upgrade", "Upgrade: websocket").problem(t, 502, "target_unreachable")
}

// TestAnswersOverHTTP2CannotBeMisread: an answer that HTTP/2 has framed must not become
// ambiguous when HTTP/1.1 frames it for the app.
//
// Case P18.
func TestAnswersOverHTTP2CannotBeMisread(t *testing.T) {
	target := newTLSTarget(t, 0)
	s := newSide(t, setup{config: func(c *Config) { c.Roots = target.roots["trusted"] }, upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{s.oauth2("alpha", target.url)}
	}})
	for _, trailer := range []string{"Set-Cookie", "Content-Type", "X_Token_Scope"} {
		target.serve = func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content_length"] = []string{"1"}
			_, _ = fmt.Fprint(w, r.Proto)
			_ = http.NewResponseController(w).Flush()
			w.Header().Set(http.TrailerPrefix+trailer, "a")
			w.Header().Set(http.TrailerPrefix+"X-Kept", "1")
		}
		a := s.get("/alpha/x")
		if a.status != 200 || a.body != protocol() || a.header["Content_length"] != nil || a.trailer.Get("X-Kept") != "1" || len(a.trailer) != 1 {
			t.Errorf("%s: %d %q %q %q", trailer, a.status, a.body, a.header, a.trailer)
		}
	}
}
