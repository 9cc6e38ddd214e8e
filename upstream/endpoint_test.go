package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// wantUnavailable checks that no whole answer came, for the given reason.
func wantUnavailable(t *testing.T, token Token, err error, reason string) {
	t.Helper()
	e := failure(t, token, err)
	if e.Class != ClassUnavailable || e.Status != 0 || !strings.HasSuffix(e.Reason, ": "+reason) {
		t.Errorf("error is %+v, want %s", e, reason)
	}
	wantSecrecy(t, err, testSecret, "canary", "127.0.0.1")
}

func TestBrokenConnections(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
	for _, tt := range []struct{ name, answer, reason string }{
		{"closed without an answer", "", "connection_terminated"},
		{"cut in the status line", "HTTP/1.1 canary", "http_protocol_error"},
		{"cut in a header field", "HTTP/1.1 200 OK\r\ncanary", "http_protocol_error"},
		{"cut after a header field", head[:len(head)-2], "connection_terminated"},
		{"cut before the body", head, "connection_terminated"},
		{"cut in the body", head + goodAnswer(`"canary"`), "connection_terminated"},
		{"cut in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n" + goodAnswer(`"canary"`), "connection_terminated"},
		{"another protocol", "220 canary ESMTP\r\n", "http_protocol_error"},
		{"a header of 1 MiB", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", "http_protocol_error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := serveRaw(t, func(c net.Conn, _ int, _ string) bool {
				_, _ = io.WriteString(c, tt.answer)
				return false
			})
			token, err := fetch(t, newTestPDX(t, target, nil), "")
			wantUnavailable(t, token, err, tt.reason)
		})
	}
}

func TestFaultsOfAServerAreUnavailable(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{ClientID: testID, ClientSecret: testSecret})
	t.Cleanup(s.Close)
	u := newTestPDX(t, s.TokenURL(), nil)

	s.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer { return &upstreamtest.Answer{Reset: true} })
	token, err := fetch(t, u, "")
	wantUnavailable(t, token, err, "connection_terminated")

	late := newDeadline(t)
	s.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer {
		late.pass()
		return &upstreamtest.Answer{Hang: true}
	})
	token, err = fetchContext(late, t, u, "")
	wantUnavailable(t, token, err, "http_response_timeout")

	ctx, cancel := context.WithCancel(t.Context())
	s.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer {
		cancel()
		return &upstreamtest.Answer{Hang: true}
	})
	token, err = fetchContext(ctx, t, u, "")
	if e := failure(t, token, err); e.Class != ClassUnavailable {
		t.Errorf("error is %+v", e)
	}

	s.SetTokenFault(nil)
	if _, err := fetch(t, u, ""); err != nil {
		t.Errorf("after the faults: %v", err)
	}
}

func TestUnreachableEndpointIsUnavailable(t *testing.T) {
	// Not a port that was free a moment ago: another process may take it.
	const address = "127.0.0.1:1"
	for _, tt := range []struct{ url, reason string }{
		{"http://" + address, "connection_refused"},
		{"https://" + address, "connection_refused"},
		{"http://no..canary.invalid", "dns_error"},
		{"ftp://canary.invalid", "http_protocol_error"},
		{"http://canary:canary-password@" + address + "/canary?client_secret=canary#canary", "connection_refused"},
	} {
		token, err := fetch(t, newTestPDX(t, tt.url, nil), "")
		wantUnavailable(t, token, err, tt.reason)
	}
}

// Case B13.
func TestTokenEndpointNeedsATrustedCertificate(t *testing.T) {
	start := func(t *testing.T, change func(*httptest.Server)) (string, *x509.CertPool) {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, goodAnswer(`"`+r.Proto+`"`))
		}))
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS10}
		change(server)
		server.StartTLS()
		t.Cleanup(server.Close)
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		return server.URL, roots
	}
	for _, tt := range []struct {
		name    string
		change  func(*httptest.Server)
		direct  func(url string) string // what the client calls; nil: url
		strange bool                    // the client does not know the issuer
		want    string                  // token: the protocol spoken; or the reason of the failure
	}{
		{"HTTP/1.1", func(*httptest.Server) {}, nil, false, "HTTP/1.1"},
		{"HTTP/2", func(s *httptest.Server) { s.EnableHTTP2 = true }, nil, false, "HTTP/2.0"},
		{"unknown issuer", func(*httptest.Server) {}, nil, true, "tls_certificate_error"},
		{"another name", func(*httptest.Server) {}, func(u string) string { return strings.Replace(u, "127.0.0.1", "localhost", 1) }, false, "tls_certificate_error"},
		{"TLS 1.1", func(s *httptest.Server) { s.TLS.MaxVersion = tls.VersionTLS11 }, nil, false, "tls_alert_received"},
		{"client certificate wanted", func(s *httptest.Server) {
			s.TLS.ClientAuth, s.TLS.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
		}, nil, false, "tls_alert_received"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target, roots := start(t, tt.change)
			if tt.direct != nil {
				target = tt.direct(target)
			}
			if tt.strange {
				roots = nil
			}
			u := newTestPDX(t, target, func(c *PDXConfig) { c.Roots = roots })
			token, err := fetch(t, u, "")
			if !strings.HasPrefix(tt.want, "HTTP") {
				wantUnavailable(t, token, err, tt.want)
			} else if err != nil || token.AccessToken() != tt.want {
				t.Errorf("got %q, %v, want %q", token.AccessToken(), err, tt.want)
			}
		})
	}
	t.Run("plain HTTP at an https URL", func(t *testing.T) {
		s := newScripted(t)
		token, err := fetch(t, newTestPDX(t, strings.Replace(s.url, "http:", "https:", 1), nil), "")
		wantUnavailable(t, token, err, "http_protocol_error")
	})
}

// An answer without end is read up to the cap, whatever its status, and costs
// little memory.
//
// Case C5.
func TestEndlessAnswersAreCutOff(t *testing.T) {
	const gigabyte = 1 << 30
	chunk := bytes.Repeat([]byte(" "), 64<<10)
	for _, status := range []int{200, 401, 503} {
		var sent atomic.Int64
		done := make(chan struct{})
		target := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			defer close(done)
			w.WriteHeader(status)
			for sent.Load() < gigabyte {
				n, err := w.Write(chunk)
				sent.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
		u := newTestPDX(t, target, nil)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		token, err := fetch(t, u, "")
		runtime.ReadMemStats(&after)
		if e := failure(t, token, err); e.Class != classOfStatus(status) || e.Status != status {
			t.Errorf("%d: error is %+v", status, e)
		}
		<-done // the client hung up
		if n := sent.Load(); n > 64<<20 {
			t.Errorf("%d: %d bytes were sent before the client hung up", status, n)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
			t.Errorf("%d: %d bytes were allocated", status, n)
		}
	}
}

func TestDripEndsWithTheContext(t *testing.T) {
	late := newDeadline(t)
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			if n == 20 {
				late.pass()
			}
			if _, err := io.WriteString(w, " "); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	})
	token, err := fetchContext(late, t, newTestPDX(t, target, nil), "")
	wantUnavailable(t, token, err, "http_response_timeout")
	if !errors.Is(late.Err(), context.DeadlineExceeded) {
		t.Error("the fetch ended before its context")
	}
}

// The variables that TestMain sets count for no name but localhost's, hence
// the name, which only the dialer of this test knows.
//
// Case B7.
func TestProxyVariablesAreIgnored(t *testing.T) {
	s := newScripted(t)
	s.answer(reply{body: goodAnswer(`"t"`)})
	if p, err := http.ProxyFromEnvironment(&http.Request{URL: parseURL(t, "http://token.example/")}); err != nil || p == nil {
		t.Fatalf("the environment names proxy %v, %v", p, err)
	}
	u := newTestPDX(t, "http://token.example/token", nil)
	var dialed []string
	u.endpoint.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed = append(dialed, address)
		return (&net.Dialer{}).DialContext(ctx, network, parseURL(t, s.url).Host)
	}
	if _, err := fetch(t, u, ""); err != nil || fmt.Sprint(dialed) != "[token.example:80]" {
		t.Errorf("dialed %v: %v", dialed, err)
	}
}

// A crowd gets sixteen connections and keeps them, while the secret is rotated
// under it.
func TestConnectionsAreFew(t *testing.T) {
	var conns, inside atomic.Int32
	full := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if inside.Add(1) == 16 {
			close(full)
		}
		<-full
		_, _ = io.WriteString(w, goodAnswer(`"t"`))
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	u := newTestOAuth2(t, server.URL, nil)
	for range 3 {
		var crowd sync.WaitGroup
		for range 50 {
			crowd.Go(func() {
				if _, err := u.Fetch(t.Context(), Key{Upstream: "shop", Kind: KindClient}, noTokens{t}); err != nil {
					t.Error(err)
				}
			})
		}
		u.config.ClientSecret.Replace("next")
		crowd.Wait()
	}
	if n := conns.Load(); n != 16 {
		t.Errorf("%d connections were opened, want 16", n)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	var conns atomic.Int32
	body := goodAnswer(`"t"`)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = io.WriteString(w, body)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	u := newTestPDX(t, server.URL, nil)
	for i := range 6 {
		u.endpoint.url = parseURL(t, server.URL+[]string{"/yes", "/no"}[i%2])
		_, _ = fetch(t, u, "")
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("6 requests used %d connections", n)
	}
}
