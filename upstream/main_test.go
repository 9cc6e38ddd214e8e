package upstream

import (
	"bufio"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain runs every test under proxy variables that lead nowhere: a token
// request that minds them fails.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		_ = os.Setenv(name, "http://127.0.0.1:1")
	}
	goleak.VerifyTestMain(m)
}

// The made-up credential of tests: each character that some encoding changes.
const (
	testID     = "app one"
	testSecret = "p+/%:&= w~*é"
)

func parseURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// readKey returns the RSA key that a simulation takes.
func readKey(t testing.TB, text string) *rsa.PrivateKey {
	t.Helper()
	k, err := parsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k.signer.(*rsa.PrivateKey)
}

func closeIdle(t testing.TB, e *endpoint) { t.Cleanup(e.client.CloseIdleConnections) }

func newTestPDX(t testing.TB, tokenURL string, change func(*PDXConfig)) *pdx {
	t.Helper()
	c := PDXConfig{
		Config:       Config{TokenURL: parseURL(t, tokenURL), DefaultLifetime: 10 * time.Minute},
		ClientID:     testID,
		ClientSecret: NewSecret(testSecret),
	}
	if change != nil {
		change(&c)
	}
	u := NewPDX(c).(*pdx)
	closeIdle(t, u.endpoint)
	return u
}

func newTestOAuth2(t testing.TB, tokenURL string, change func(*OAuth2Config)) *oauth2 {
	t.Helper()
	c := OAuth2Config{
		Config:       Config{TokenURL: parseURL(t, tokenURL), Scope: "read", DefaultLifetime: 10 * time.Minute},
		Name:         "shop",
		ClientID:     testID,
		ClientSecret: NewSecret(testSecret),
	}
	if change != nil {
		change(&c)
	}
	u := NewOAuth2(c).(*oauth2)
	closeIdle(t, u.endpoint)
	return u
}

// noTokens fails the test if an upstream asks for another token.
type noTokens struct{ t testing.TB }

func (n noTokens) Token(context.Context, Key) (Token, error) {
	n.t.Error("another token was asked for")
	return Token{}, errors.New("no token")
}
func (n noTokens) Reject(context.Context, Key, Token) { n.t.Error("a token was rejected") }

// fetch gets a token of the client itself, of the given scope.
func fetch(t testing.TB, u Upstream, scope string) (Token, error) {
	t.Helper()
	return fetchContext(t.Context(), t, u, scope)
}

func fetchContext(ctx context.Context, t testing.TB, u Upstream, scope string) (Token, error) {
	t.Helper()
	key, err := u.Key(KindClient, "", scope)
	if err != nil {
		t.Fatalf("key of scope %q: %v", scope, err)
	}
	return u.Fetch(ctx, key, noTokens{t})
}

// failure checks that a fetch failed, with an *Error and no token.
func failure(t testing.TB, token Token, err error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %T %v, want an *Error", err, err)
	}
	if !token.IsZero() {
		t.Fatal("a token came with the error")
	}
	return e
}

// deadline is a context whose deadline passes when the test says so, and not when a
// machine has been busy for long enough.
type deadline struct {
	context.Context
	done chan struct{}
	pass func()
}

func newDeadline(t testing.TB) *deadline {
	d := &deadline{Context: t.Context(), done: make(chan struct{})}
	d.pass = sync.OnceFunc(func() { close(d.done) })
	return d
}

func (d *deadline) Done() <-chan struct{} { return d.done }

func (d *deadline) Err() error {
	select {
	case <-d.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// reply is what a scripted endpoint answers.
type reply struct {
	status int // zero: 200
	header http.Header
	body   string
}

// scripted is a token endpoint that answers as it is told. It sends no Date
// but the script's.
type scripted struct {
	url      string
	mu       sync.Mutex // guards the fields below
	next     reply
	requests int
}

func newScripted(t testing.TB) *scripted {
	s := &scripted{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		s.mu.Lock()
		s.requests++
		now := s.next
		s.mu.Unlock()
		w.Header()["Date"] = nil
		for name, values := range now.header {
			w.Header()[name] = values
		}
		if now.status != 0 {
			w.WriteHeader(now.status)
		}
		_, _ = io.WriteString(w, now.body)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/token"
	return s
}

func (s *scripted) answer(r reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = r
}

func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// serve starts a token endpoint with a handler of its own.
func serve(t testing.TB, h http.HandlerFunc) string {
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL + "/token"
}

// serveRaw starts a listener that reads one request at a time and leaves the
// rest to script, which gets the number of the request, from 1, and its body.
// A connection ends when script returns false.
func serveRaw(t testing.TB, script func(c net.Conn, n int, body string) bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards n
	n := 0
	var work sync.WaitGroup
	talk := func(c net.Conn) {
		defer func() { _ = c.Close() }()
		in := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			n++
			now := n
			mu.Unlock()
			if !script(c, now, string(body)) {
				return
			}
		}
	}
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { talk(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		work.Wait()
	})
	return "http://" + l.Addr().String() + "/token"
}

// serveBreaking is a token endpoint that breaks its connection in place of the second
// answer. received returns the bodies of the requests so far.
func serveBreaking(t testing.TB) (tokenURL string, received func() []string) {
	t.Helper()
	var mu sync.Mutex // guards bodies
	var bodies []string
	tokenURL = serveRaw(t, func(c net.Conn, n int, body string) bool {
		mu.Lock()
		bodies = append(bodies, body)
		mu.Unlock()
		if n == 2 {
			_ = c.(*net.TCPConn).SetLinger(0)
			return false
		}
		const good = `{"access_token":"t","token_type":"bearer"}`
		_, _ = io.WriteString(c, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(good), good))
		return true
	})
	return tokenURL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(bodies)
	}
}
