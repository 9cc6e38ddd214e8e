package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"token-sidecar/metrics"
	"token-sidecar/proxy/internal/targetconn"
	"token-sidecar/upstream"
)

// TestTargetWithoutHTTP1 has a target that speaks HTTP/2 only: the general way
// serves it, and asks for no second token.
func TestTargetWithoutHTTP1(t *testing.T) {
	target := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	target.EnableHTTP2 = true
	target.TLS = &tls.Config{NextProtos: []string{"h2"}}
	target.Config.Protocols = new(http.Protocols)
	target.Config.Protocols.SetHTTP2(true)
	target.StartTLS()
	t.Cleanup(target.Close)
	roots := x509.NewCertPool()
	roots.AddCert(target.Certificate())
	var m *metrics.Metrics
	s := newSide(t, setup{config: func(c *Config) { c.Roots, m = roots, c.Metrics }, upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{s.oauth2("alpha", target.URL)}
	}})
	var dials atomic.Int64
	dialer := s.proxy.routes["alpha"].connections.lean.Dialer
	dial := dialer.DialContext
	dialer.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return dial(ctx, network, address)
	}
	for range 3 {
		if a := s.get("/alpha/x"); a.status != 200 || a.body != "HTTP/2.0" {
			t.Errorf("%d %q", a.status, a.body)
		}
	}
	var fresh dto.Metric
	if err := m.Upstream("alpha").Fresh.Write(&fresh); err != nil {
		t.Fatal(err)
	}
	if n := fresh.GetCounter().GetValue(); n != 2 { // the first request waited
		t.Errorf("%v look-ups of a fresh token for the last two requests", n)
	}
	want := int64(1)
	if *general {
		want = 0
	}
	if n := dials.Load(); n != want {
		t.Errorf("the lean way opened %d connections for three requests, want %d", n, want)
	}
}

// TestLeanPoolIsFull has the general way serve what the pool has no connection for.
func TestLeanPoolIsFull(t *testing.T) {
	s := newSide(t, setup{})
	pool := s.proxy.routes["alpha"].connections.lean
	dial := pool.Dialer.DialContext
	pool.Dialer.DialContext = func(context.Context, string, string) (net.Conn, error) { return nothing{}, nil }
	var err error
	for n := 0; err == nil && n < 10_000; n++ {
		_, err = pool.Get(t.Context(), true)
	}
	if !errors.Is(err, targetconn.ErrPoolFull) {
		t.Fatalf("the pool is not full: %v", err)
	}
	pool.Dialer.DialContext = dial
	if a := s.get("/alpha/x"); a.status != 200 || a.body != "hello" {
		t.Errorf("%d %q", a.status, a.body)
	}
}

// nothing is a connection to nobody.
type nothing struct{ net.Conn }

func (nothing) Close() error { return nil }
