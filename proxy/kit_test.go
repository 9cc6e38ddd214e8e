package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
	"token-sidecar/upstream/upstreamtest"
)

// The tests run on three ways: the lean one, with net/http's server in front of the lean way to
// targets, and the general way only. make test runs them on all.
var (
	general      = flag.Bool("general", false, "leave the lean way out")
	noLeanServer = flag.Bool("nethttp", false, "have net/http's server serve all requests")
)

func TestMain(m *testing.M) {
	flag.Parse()
	log.SetOutput(io.Discard) // net/http quotes there what targets send unasked
	// net/http keeps a connection that it closes for half a second, longer than goleak waits.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// eitherWay is called by tests that say nothing about the way to a target. It skips
// them when the tests run a second time, on the general way.
func eitherWay(t *testing.T) {
	t.Helper()
	if *general {
		t.Skip("has nothing to do with the way to a target")
	}
}

// protocol is what an ordinary request to a TLS target goes by.
func protocol() string {
	if *general {
		return "HTTP/2.0"
	}
	return "HTTP/1.1"
}

// patience is how long a test waits for what must come. It is long, since it only bounds
// how long a test hangs that fails: no test passes or fails by how fast the machine is.
const patience = time.Minute

// syncBuffer is a bytes.Buffer for many goroutines.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// side is a sidecar between a raw client and a raw target, with a real cache
// and an issuer of tokens.
type side struct {
	t     *testing.T
	up    *up
	idp   *issuer
	pipes *pipes // the network, unless it is loopback
	proxy *Proxy
	cache *cache.Cache
	log   *syncBuffer
	addr  string
}

// setup shapes a side.
type setup struct {
	base      string // path of alpha's target
	upstreams func(s *side) []upstream.Upstream
	config    func(*Config)
	fixed     string // a dedicated listener for this route
	pipes     *pipes // the network instead of loopback, for synctest
}

// newSide starts a sidecar with the route alpha, unless o says otherwise.
func newSide(t *testing.T, o setup) *side {
	t.Helper()
	s := &side{t: t, pipes: o.pipes, idp: &issuer{}, log: &syncBuffer{}}
	s.up = newUp(t, s.listen())
	list := []upstream.Upstream{s.oauth2("alpha", s.up.url()+o.base)}
	if o.upstreams != nil {
		list = o.upstreams(s)
	}
	m := metrics.New("test")
	s.cache = cache.New(cache.Config{Upstreams: list, Metrics: m})
	t.Cleanup(func() { _ = s.cache.Close() })
	config := Config{Upstreams: list, Cache: s.cache, Metrics: m, Log: zerolog.New(s.log), Hosts: NewHosts(nil, false),
		general: *general, noLeanServer: *noLeanServer, ReplayMethods: []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}, ReplayLimit: 64 << 10, TargetTimeout: patience, TokenTimeout: patience}
	if o.config != nil {
		o.config(&config)
	}
	var err error
	if s.proxy, err = New(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.proxy.CloseIdleConnections)
	if s.pipes != nil {
		s.useDialer(s.pipes.DialContext)
	}
	h := s.proxy.Handler()
	if o.fixed != "" {
		if h, err = s.proxy.RouteHandler(o.fixed); err != nil {
			t.Fatal(err)
		}
	}
	s.addr, _ = s.serve(h)
	return s
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serve serves h on the side's network, by a Server, until the test ends.
func (s *side) serve(h http.Handler) (string, *Server) { return serveOn(s.t, s.listen(), h) }

// serve serves h on loopback, by a Server, until the test ends.
func serve(t *testing.T, h http.Handler) (string, *Server) { return serveOn(t, listen(t), h) }

func serveOn(t *testing.T, l net.Listener, h http.Handler) (string, *Server) {
	server := NewServer(h)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = server.Shutdown(now)
		<-done
	})
	return l.Addr().String(), server
}

// myDataHelps is an upstream with a route that needs a subject, with tokens of a
// simulated provider and the side's raw target.
func (s *side) myDataHelps() (upstream.Upstream, *upstreamtest.Server) {
	sim := upstreamtest.NewMyDataHelps(upstreamtest.Options{})
	s.t.Cleanup(sim.Close)
	return upstream.NewMyDataHelps(upstream.MyDataHelpsConfig{ServiceAccount: sim.ClientID(),
		PrivateKey: upstream.NewSecret(sim.PrivateKey()), DelegatedClientID: "RKStudio.DelegatedParticipant",
		DelegatedClientSecret: upstream.NewSecret("secret"),
		Config:                upstream.Config{TokenURL: mustURL(sim.TokenURL()), Target: mustURL(s.up.url()), Scope: "api"}}), sim
}

// oclc is an upstream whose routes take a subject or none.
func (s *side) oclc() upstream.Upstream {
	sim := upstreamtest.NewOCLC(upstreamtest.Options{})
	s.t.Cleanup(sim.Close)
	return upstream.NewOCLC(upstream.OCLCConfig{WSKey: sim.ClientID(), Secret: upstream.NewSecret(sim.ClientSecret()),
		Config: upstream.Config{TokenURL: mustURL(sim.TokenURL()), Target: mustURL(s.up.url()), Scope: "WorldCatMetadataAPI"}})
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

// client is an HTTP client that follows nothing and adds nothing.
func client(t *testing.T) *http.Client {
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 4 * patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get sends a GET with the given header lines and returns the answer.
func (s *side) get(path string, lines ...string) answer { return s.send("GET", path, "", lines...) }

// send sends one request on a fresh connection.
func (s *side) send(method, path, body string, lines ...string) answer {
	s.t.Helper()
	head := method + " " + path + " HTTP/1.1\r\n"
	if !hasHeader(lines, "host") {
		head += "Host: localhost\r\n"
	}
	if body != "" {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	c := s.dial(s.addr)
	defer c.Close()
	c.write(head + joinLines(lines) + "\r\n" + body)
	return c.read(method)
}

func joinLines(lines []string) string {
	all := ""
	for _, line := range lines {
		all += line + "\r\n"
	}
	return all
}

func hasHeader(lines []string, name string) bool {
	for _, line := range lines {
		if strings.HasPrefix(strings.ToLower(line), name+":") {
			return true
		}
	}
	return false
}

// untouched fails the test if a target or a token endpoint was asked.
func (s *side) untouched() {
	s.t.Helper()
	if n := len(s.up.requests()); n != 0 {
		s.t.Errorf("%d requests reached the target", n)
	}
	if n := s.idp.count.Load(); n != 0 {
		s.t.Errorf("%d token requests were made", n)
	}
}

// problem fails the test unless a is the problem document with this status and code.
func (a answer) problem(t *testing.T, status int, code string) {
	t.Helper()
	if a.err != nil || a.status != status {
		t.Errorf("got %d %q (%v), want %d %s", a.status, a.body, a.err, status, code)
		return
	}
	var doc struct {
		Type, Title, Code, Detail string
		Status                    int
	}
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		t.Errorf("not a problem document: %v: %q", err, a.body)
		return
	}
	if doc.Status != status || doc.Code != code || doc.Type != "about:blank" || doc.Title == "" || doc.Detail == "" {
		t.Errorf("document %+v, want %d %s", doc, status, code)
	}
	for name, want := range map[string]string{"Content-Type": "application/problem+json", "Cache-Control": "no-store"} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if got := a.header.Get("Proxy-Status"); !strings.HasPrefix(got, "token-sidecar; error=") || !strings.Contains(got, code) {
		t.Errorf("Proxy-Status is %q", got)
	}
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}
