package proxy

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"testing"

	"token-sidecar/upstream"
)

// Case B1.
func TestPathsThatLeadElsewhereAreRefused(t *testing.T) {
	s := newSide(t, setup{base: "/base", upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{s.oauth2("p", s.up.url()+"/base"), s.oauth2("q", s.up.url()+"/other")}
	}})
	for _, p := range []string{"/p/../q", "/p/..", "/p/.", "/p/./x", "/p/..%2fq", "/p/..%2Fq", "/p/%2e%2e/q", "/p/.%2e/q", "/p/%2E./q",
		"/p/%252e%252e/q", "/p/%25%32e%252e/q", "/p/..\\q", "/p/..%5cq", "/p/..%255cq", "/p/..;/q", "/p/..;x=1/q", "/p/%2e%2e;/q", "/p/.;/q",
		"/p//x", "/p//..", "/p///evil", "/p/x%00", "/p/x%0d%0aX: 1", "/p/x%250a", "/p/%23/../q", "/p/x/../../q", "/p/x%7f", "/p/x\\y", "/p/x%5Cy",
		"/p/a%2f..%2fb", "/p/a%252f..%252fb", "/p/a;b/../c", "/p/x#y", "/p/~a/..", "/p/\x80/..", "/p/x\x80", "/../p/x", "/./p/x", "/p/..%3bx/q"} {
		if a := s.get(p); a.status != 400 {
			t.Errorf("%q: %d", p, a.status)
		}
	}
	for _, p := range []string{"//evil/x", "/x/p", "/p%2fx", "/p;/x"} {
		s.get(p).problem(t, 404, "unknown_route")
	}
	s.untouched()
	if a := s.get("/p?/../q"); a.status != 200 || s.up.last().target != "/base/?/../q" {
		t.Errorf("dots in a query: %d", a.status)
	}
}

// Case B2.
func TestOddPathsPassUntouched(t *testing.T) {
	s := newSide(t, setup{base: "/base"})
	for _, p := range []string{"/a%2Fb", "/a%2fb", "/a%20b", "/a+b", "/a;v=1", "/a;v=1/b;w", "/%C3%A9", "/a/", "/a//b", "/a//", "/a%25b", "/a%2525",
		"/.well-known/x", "/...", "/a..b", "/..a", "/a.", "/a:b@c,d$e!f*(g)'h", "/%41", "/{id}", "/a|b^c`\"<>", "/%ff", "/~alice%2e",
		"/a%3Fb", "/a%23b", "/x?%2e%2e/..", "/x?q=%c3%28&b=\"", "/x??", "/x?a=/../b"} {
		if strings.HasPrefix(p, "/~") {
			continue // a subject
		}
		if a := s.get("/alpha" + p); a.status != 200 {
			t.Errorf("%q: %d %s", p, a.status, a.body)
		} else if got := s.up.last().target; got != "/base"+p {
			t.Errorf("%q went out as %q", p, got)
		}
	}
}

// FuzzRequestPath: whatever the bytes of a request, the target gets one
// well-formed request under the base of the one route it has, or none.
func FuzzRequestPath(f *testing.F) {
	for _, seed := range []string{"GET /p/a HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /p/..%2fq HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"POST /p/~s/a?b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab", "GET http:/p/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET http://target.example/base/x HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET //p/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /p/%2e%2e/ HTTP/1.1\r\nHost: localhost\r\nConnection: Authorization\r\n\r\n", "GET /p?x HTTP/1.0\r\nHost: localhost\r\n\r\n",
		"PUT /p/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n",
		"GET http://target.example?x HTTP/1.1\r\nHost: a\r\n\r\n", "GET a:b HTTP/1.1\r\nHost: localhost\r\n\r\n"} {
		f.Add([]byte(seed))
	}
	target := upstream.NewOAuth2(upstream.OAuth2Config{Name: "p", Config: upstream.Config{
		TokenURL: mustURL("http://127.0.0.1:1/"), Target: mustURL("http://target.example/base")}})
	p := &Proxy{routes: map[string]*route{}, config: Config{Hosts: NewHosts(nil, false)}}
	p.routes["p"] = newRoute(target.Routes()[0], target, nil, nil)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, fixed := range []*route{nil, p.routes["p"]} {
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
			if err != nil {
				return
			}
			checkOutgoing(t, p, r, fixed)
		}
	})
}

func checkOutgoing(t *testing.T, p *Proxy, r *http.Request, fixed *route) {
	if _, err := p.guard(r); err != nil {
		return
	}
	d, err := p.decide(r, fixed)
	if err != nil {
		return
	}
	x := &exchange{proxy: p, in: r, decision: d, out: responseWriter{ResponseWriter: httptest.NewRecorder()}}
	out := r.Clone(r.Context())
	x.rewrite(&httputil.ProxyRequest{In: r, Out: out})
	out.Header["Authorization"] = []string{"Bearer token"}
	delete(out.Header, "Connection")
	out.Body, out.ContentLength, out.TransferEncoding = nil, 0, nil
	var wire bytes.Buffer
	if err := out.Write(&wire); err != nil {
		t.Fatalf("%q cannot be written: %v", r.RequestURI, err)
	}
	head, _, _ := strings.Cut(wire.String(), "\r\n\r\n")
	again, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		t.Fatalf("%q became %q: %v", r.RequestURI, head, err)
	}
	if again.Host != "target.example" || again.Method != r.Method || len(again.Header["Authorization"]) != 1 {
		t.Fatalf("%q became %q", r.RequestURI, head)
	}
	asSent, _, _ := strings.Cut(again.RequestURI, "?")
	for range 3 {
		for _, p := range []string{asSent, strings.ReplaceAll(asSent, "\\", "/"), withoutParameters(asSent)} {
			if clean := path.Clean(p); clean != "/base" && !strings.HasPrefix(clean, "/base/") {
				t.Fatalf("%q leads to %q", r.RequestURI, clean)
			}
		}
		decoded, err := url.PathUnescape(asSent)
		if err != nil {
			break
		}
		asSent = decoded
	}
}

func withoutParameters(p string) string {
	segments := strings.Split(p, "/")
	for i, segment := range segments {
		segments[i], _, _ = strings.Cut(segment, ";")
	}
	return strings.Join(segments, "/")
}
