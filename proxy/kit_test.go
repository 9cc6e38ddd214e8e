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
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
	"token-sidecar/upstream/upstreamtest"
)

// general has the tests run the general way only. make test runs them both ways.
var general = flag.Bool("general", false, "leave the lean way out")

func TestMain(m *testing.M) {
	flag.Parse()
	log.SetOutput(io.Discard) // net/http quotes there what targets send unasked
	goleak.VerifyTestMain(m)
}

// protocol is what an ordinary request to a TLS target goes by.
func protocol() string {
	if *general {
		return "HTTP/2.0"
	}
	return "HTTP/1.1"
}

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// idp is a scripted token endpoint.
type idp struct {
	*httptest.Server
	count  atomic.Int64
	answer func(n int64) (status int, body string) // nil: a token for an hour
}

func newIDP(t *testing.T) *idp {
	i := &idp{}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := i.count.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		status, body := http.StatusOK, tokenAnswer(n, 3600)
		if i.answer != nil {
			status, body = i.answer(n)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(i.Close)
	return i
}

// tokenOf is the n-th token of an idp.
func tokenOf(n int64) string { return fmt.Sprintf("canary-%d-AbCdEf+/0123456789==", n) }

func tokenAnswer(n int64, seconds int) string {
	return fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":%d}`, tokenOf(n), seconds)
}

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
// and a scripted token endpoint.
type side struct {
	t     *testing.T
	up    *up
	idp   *idp
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
}

// newSide starts a sidecar with the route alpha, unless o says otherwise.
func newSide(t *testing.T, o setup) *side {
	t.Helper()
	s := &side{t: t, up: newUp(t), idp: newIDP(t), log: &syncBuffer{}}
	list := []upstream.Upstream{s.oauth2("alpha", s.up.url()+o.base)}
	if o.upstreams != nil {
		list = o.upstreams(s)
	}
	m := metrics.New("test")
	s.cache = cache.New(cache.Config{Upstreams: list, Metrics: m})
	t.Cleanup(func() { _ = s.cache.Close() })
	config := Config{Upstreams: list, Cache: s.cache, Metrics: m, Log: zerolog.New(s.log), Hosts: NewHosts(nil, false),
		general: *general, ReplayMethods: []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}, ReplayLimit: 64 << 10, TargetTimeout: patience}
	if o.config != nil {
		o.config(&config)
	}
	var err error
	if s.proxy, err = New(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.proxy.CloseIdleConnections)
	h := s.proxy.Handler()
	if o.fixed != "" {
		if h, err = s.proxy.RouteHandler(o.fixed); err != nil {
			t.Fatal(err)
		}
	}
	s.addr, _ = serve(t, h)
	return s
}

// serve serves h by a Server until the test ends.
func serve(t *testing.T, h http.Handler) (string, *Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
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

// oauth2 is an upstream whose tokens come from the side's idp.
func (s *side) oauth2(name, target string) upstream.Upstream {
	return upstream.NewOAuth2(upstream.OAuth2Config{Name: name, ClientID: "id", ClientSecret: upstream.NewSecret("shh"),
		Config: upstream.Config{TokenURL: mustURL(s.idp.URL + "/token"), Target: mustURL(target), Scope: "read", AllowedScopes: "write"}})
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
	c := dialRaw(s.t, s.addr)
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
