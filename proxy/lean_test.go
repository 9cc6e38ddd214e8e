package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// TestTargetWithoutHTTP1IsServed: the general way serves a target that speaks HTTP/2 only,
// and asks for no second token, nor for its fields a second time.
func TestTargetWithoutHTTP1IsServed(t *testing.T) {
	target := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto+" "+r.Header.Get("X-Api-Key"))
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
	var asked atomic.Int64
	s := newSide(t, setup{config: func(c *Config) { c.Roots, m = roots, c.Metrics }, upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{wanting{s.oauth2("alpha", target.URL), counting(&asked)}}
	}})
	var dials atomic.Int64
	dialer := s.proxy.routes["alpha"].connections.sets.plain.kept.Dialer
	dial := dialer.DialContext
	dialer.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return dial(ctx, network, address)
	}
	// The first request of all finds out: what was got for it on the lean way is not sent.
	learned := 1
	if *general || *noLeanServer {
		learned = 0
	}
	for n := range 3 {
		if a := s.get("/alpha/x"); a.status != 200 || a.body != fmt.Sprintf("HTTP/2.0 canary-field-%d", n+1+learned) {
			t.Errorf("%d %q", a.status, a.body)
		}
	}
	var fresh dto.Metric
	if err := m.Upstream("alpha").Fresh.Write(&fresh); err != nil {
		t.Fatal(err)
	}
	if n := fresh.GetCounter().GetValue(); n != float64(2+learned) { // the first request waited
		t.Errorf("%v look-ups of a fresh token for three requests", n)
	}
	want := int64(1)
	if *general {
		want = 0
	}
	if n := dials.Load(); n != want {
		t.Errorf("the lean way opened %d connections for three requests, want %d", n, want)
	}
}

// TestKeptConnectionsThatHaveEndedCostNoRequest: whatever the target did to a kept connection
// while no request was under way, the next request succeeds, even one that may be sent only
// once, and no earlier bytes are taken for its answer.
func TestKeptConnectionsThatHaveEndedCostNoRequest(t *testing.T) {
	for name, does := range map[string]func(net.Conn){
		"closes": func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() },
		"sends":  func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nUNASKED") },
	} {
		for _, c := range []struct{ method, body string }{{"POST", ""}, {"PUT", "small"}, {"DELETE", ""}, {"GET", ""}} {
			s := newSide(t, setup{})
			now, done := make(chan bool), make(chan bool)
			s.up.play(func(r *upRequest) bool {
				r.say(ok("hello"))
				<-now
				does(r.Conn)
				close(done)
				return true
			})
			if a := s.get("/alpha/x"); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			close(now)
			<-done
			s.up.play(nil)
			if a := s.send(c.method, "/alpha/x", c.body); a.status != 200 || a.body != "hello" {
				t.Errorf("the target %s, then %s: %d %q", name, c.method, a.status, a.body)
			}
			if got := s.up.requests(); len(got) != 2 || got[1].Conn == got[0].Conn || got[1].body != c.body {
				t.Errorf("the target %s, then %s: it saw %d requests", name, c.method, len(got))
			}
			if distrusted := s.proxy.Connections()[0].Distrusted; distrusted != (name == "sends" && !*general) {
				t.Errorf("the target %s: distrusted is %t", name, distrusted)
			}
		}
	}
}
