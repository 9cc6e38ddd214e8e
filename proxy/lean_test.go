package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"

	"token-sidecar/metrics"
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
	if pool := s.proxy.routes["alpha"].connections.lean; !*general && !pool.off {
		t.Error("the lean way is still tried")
	}
}

// TestLeanPoolIsFull has the general way serve what the pool has no connection for.
func TestLeanPoolIsFull(t *testing.T) {
	s := newSide(t, setup{})
	s.proxy.routes["alpha"].connections.lean.open = maxLean
	if a := s.get("/alpha/x"); a.status != 200 || a.body != "hello" {
		t.Errorf("%d %q", a.status, a.body)
	}
}

// TestIdleConnectionsAreSwept keeps some connections for a while, some for longer.
func TestIdleConnectionsAreSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &leanPool{}
		add := func(n int) {
			for range n {
				p.mu.Lock()
				p.open++
				p.mu.Unlock()
				p.put(&leanConn{raw: nothing{}})
			}
		}
		add(3)
		time.Sleep(leanIdle / 2)
		add(2)
		for _, left := range []int{5, 2, 2, 0} { // after 60, 60, 120 and 180 s at the latest
			if idle, open := count(p); idle != left || open != left {
				t.Errorf("%d idle, %d open, want %d", idle, open, left)
			}
			time.Sleep(leanIdle/2 + 1)
			synctest.Wait()
		}
		add(maxLeanIdle + 10)
		if idle, open := count(p); idle != maxLeanIdle || open != idle {
			t.Errorf("%d idle, %d open", idle, open)
		}
		p.closeIdle()
		add(1)
		if idle, open := count(p); idle != 0 || open != 0 {
			t.Errorf("%d idle, %d open once closed", idle, open)
		}
	})
}

func count(p *leanPool) (idle, open int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle), p.open
}

// nothing is a connection to nobody.
type nothing struct{ net.Conn }

func (nothing) Close() error { return nil }
