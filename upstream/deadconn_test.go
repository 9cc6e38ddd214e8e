package upstream

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener accepts the far ends of connections that dial makes.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }

// deafConn is a connection on which nothing arrives any more once it is dead, and no end of it is told.
type deafConn struct {
	net.Conn
	dead atomic.Bool
}

func (c *deafConn) Write(b []byte) (int, error) {
	if c.dead.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// A connection on which nothing comes any more costs the token request that finds it, and no other.
func TestDeadConnectionsAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, goodAnswer(`"`+r.Proto+`"`))
		}))
		_ = server.Listener.Close()
		server.Listener, server.EnableHTTP2 = l, true
		server.StartTLS()
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		u := newTestPDX(t, server.URL, func(c *PDXConfig) { c.Roots = roots })
		var last *deafConn
		dials := 0
		transport := u.endpoint.client.Transport.(*http.Transport)
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			l.conns <- far
			last = &deafConn{Conn: near}
			dials++
			return last, nil
		}
		ask := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			key, _ := u.Key(KindClient, "", "")
			token, err := u.Fetch(ctx, key, noTokens{t})
			if err == nil && token.AccessToken() != "HTTP/2.0" {
				t.Errorf("over %s", token.AccessToken())
			}
			return err
		}
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		last.dead.Store(true)
		began := time.Now()
		if err := ask(); err == nil || time.Since(began) > 8*time.Second {
			t.Errorf("the request on the dead connection ended after %v: %v", time.Since(began), err)
		}
		if err := ask(); err != nil || dials != 2 {
			t.Errorf("the next: %v, %d connections", err, dials)
		}
		transport.CloseIdleConnections()
		server.Close()
		synctest.Wait()
	})
}
