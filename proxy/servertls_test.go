package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A Referer of the sidecar's own has the scheme by which the request came.
func TestOwnRefererHasTheSchemeOfTheListener(t *testing.T) {
	eitherWay(t)
	s := newSide(t, setup{})
	for _, c := range []struct {
		host, referer string
		allowed       bool
	}{
		{"localhost:8443", "https://localhost:8443/alpha/a", true},
		{"localhost", "https://localhost:443/alpha/a", true},
		{"localhost:443", "https://LOCALHOST/alpha/a", true},
		{"localhost:8443", "http://localhost:8443/alpha/a", false},
		{"localhost", "https://localhost:80/alpha/a", false},
		{"localhost:8443", "https://localhost:8444/alpha/a", false},
	} {
		r := httptest.NewRequest("GET", "/alpha/x", nil)
		r.Host, r.TLS = c.host, &tls.ConnectionState{}
		r.Header.Set("Referer", c.referer)
		if _, err := s.proxy.guard(r); (err == nil) != c.allowed {
			t.Errorf("%s at %s: %v", c.referer, c.host, err)
		}
	}
}

// What a connection tells of its client, and connections that are upgraded, are as without
// TLS: a client that leaves ends its request.
func TestConnectionsOverTLSAreWatched(t *testing.T) {
	eitherWay(t)
	arrived, left := make(chan struct{}), make(chan struct{})
	server := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/upgrade" {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
			_, _ = io.Copy(conn, conn)
			return
		}
		close(arrived)
		<-r.Context().Done()
		close(left)
	}))
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	defer certificate.Close()
	l, done := listen(t), make(chan error, 1)
	go func() {
		done <- server.ServeTLS(l, &tls.Config{NextProtos: []string{"http/1.1"}, Certificates: certificate.TLS.Certificates, MinVersion: tls.VersionTLS12})
	}()
	dial := func(head string) *tls.Conn {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, head); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	leaving := dial("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-arrived
	time.Sleep(2 * halfCloseTime) // an end that comes sooner may be a half-close
	_ = leaving.NetConn().Close() // without a word of TLS, as a process that is killed
	<-left

	upgraded := dial("GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(upgraded)
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("%v, %v", res, err)
	}
	if _, err := io.WriteString(upgraded, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := upgraded.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(in); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	_ = upgraded.Close()
	if err := server.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != http.ErrServerClosed {
		t.Error(err)
	}
}
