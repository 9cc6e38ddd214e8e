package upstream

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"token-sidecar/upstream/egress"
)

// connectProxy is an HTTP proxy that leads to one server, whatever host is asked for.
type connectProxy struct {
	*httptest.Server
	to net.Addr

	mu     sync.Mutex // guards what follows
	asked  []string   // hosts and ports
	refuse int        // status of all answers; zero: tunnels are opened
}

func newConnectProxy(t *testing.T, to net.Addr) *connectProxy {
	p := &connectProxy{to: to}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *connectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host)
	refuse := p.refuse
	p.mu.Unlock()
	if refuse != 0 {
		w.WriteHeader(refuse)
		return
	}
	far, err := net.Dial("tcp", p.to.String())
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	near, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = far.Close()
		return
	}
	_, _ = io.WriteString(near, "HTTP/1.1 200 Connected\r\n\r\n")
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
	_, _ = near.Close(), far.Close()
}

// TestDiscoveryAndTokensGoThroughTheEgressProxy: metadata and tokens are asked for through
// the proxy, which alone knows the host. Its refusal is told by a word of ours.
func TestDiscoveryAndTokensGoThroughTheEgressProxy(t *testing.T) {
	i := newIssuer(t, map[string]string{atRFC8414: `{"issuer":"{issuer}","token_endpoint":"{issuer}/token"}`})
	i.URL = "http://provider.test"
	p := newConnectProxy(t, i.Listener.Addr())
	u := i.upstreamOf(t, "", func(c *OAuth2Config) { c.Egress = &egress.Proxy{Address: p.Listener.Addr().String()} })
	if token, err := fetch(t, u, ""); err != nil || token.AccessToken() != "good" {
		t.Fatal(err)
	}
	p.mu.Lock()
	if !slices.Contains(p.asked, "CONNECT provider.test:80") || len(slices.Compact(p.asked)) != 1 {
		t.Errorf("the proxy was asked for %q", p.asked)
	}
	p.refuse = http.StatusProxyAuthRequired
	p.mu.Unlock()
	u.CloseIdleConnections()
	if _, err := fetch(t, u, ""); err == nil || !strings.Contains(err.Error(), "egress_proxy_answered_407") {
		t.Errorf("the refusal is told as %v", err)
	}
}
