package egress

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// proxyAnswering returns what dials a proxy that answers each request with the given text,
// and then sends back what it gets. heads receives the heads of the requests.
func proxyAnswering(t *testing.T, text string) (dial DialFunc, heads chan *http.Request) {
	t.Helper()
	heads = make(chan *http.Request, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		heads <- r
		_, _ = io.WriteString(conn, text)
		_, _ = io.Copy(conn, in)
	}()
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "proxy.test:3128" {
			t.Errorf("dials %s", address)
		}
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
	}, heads
}

// TestTunnelIsTheVeryConnection: the request for a tunnel names the target, carries the
// credentials of the moment, and the tunnel is the TCP connection itself, with all that is
// sent through it.
func TestTunnelIsTheVeryConnection(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.0 200 Connection established\r\nProxy-agent: x\r\n\r\n",
		"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 204 Fine\r\nContent-Length: 7\r\n\r\n",
	} {
		dial, heads := proxyAnswering(t, answer)
		password := "old"
		p := &Proxy{Address: "proxy.test:3128", Credentials: func() string { return "user:" + password }}
		through := p.Through(dial)
		password = "new"
		conn, err := through(t.Context(), "tcp", "[2001:db8::1]:443")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, ok := conn.(*net.TCPConn); !ok {
			t.Errorf("the tunnel is a %T", conn)
		}
		r := <-heads
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:new"))
		if r.Method != "CONNECT" || r.RequestURI != "[2001:db8::1]:443" || r.Host != r.RequestURI || r.Header.Get("Proxy-Authorization") != want {
			t.Errorf("%s %s of %s, header %v", r.Method, r.RequestURI, r.Host, r.Header)
		}
		if _, err := io.WriteString(conn, "hello"); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		if echo, err := io.ReadAll(conn); string(echo) != "hello" || err != nil {
			t.Errorf("%q, %v came through the tunnel", echo, err)
		}
	}
}

// TestWhatIsNoTunnelIsAnError: an answer other than 2xx, bytes behind the head of one, a
// head without end and no HTTP at all are errors, which quote nothing of it.
func TestWhatIsNoTunnelIsAnError(t *testing.T) {
	for _, c := range []struct {
		answer string
		status int
	}{
		{"HTTP/1.1 407 canary\r\nContent-Length: 6\r\n\r\ncanary", 407},
		{"HTTP/1.0 502 canary\r\n\r\n", 502},
		{"HTTP/1.1 302 canary\r\nLocation: http://canary/\r\n\r\n", 302},
		{"HTTP/1.1 101 canary\r\n\r\n", 101},
		{"HTTP/1.1 200 OK\r\n\r\ncanary", 0},
		{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("canary", 64<<10/6) + "\r\n\r\n", 0},
		{strings.Repeat("HTTP/1.1 103 canary\r\n\r\n", 64<<10/20), 0},
		{"canary\r\n\r\n", 0},
	} {
		dial, _ := proxyAnswering(t, c.answer)
		conn, err := (&Proxy{Address: "proxy.test:3128"}).Through(dial)(t.Context(), "tcp", "target.test:443")
		var failed *Error
		if conn != nil || !errors.As(err, &failed) || failed.Status != c.status || strings.Contains(err.Error(), "canary") {
			t.Errorf("after %.30q: %v, %v", c.answer, conn, err)
		}
	}
}

// TestWaitForTheProxyEnds: a proxy that says nothing is given up after 10 s, or when the
// context ends, whose error is told.
func TestWaitForTheProxyEnds(t *testing.T) {
	for _, left := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, far) }()
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			began, want, wait := time.Now(), context.DeadlineExceeded, answerTimeout
			if left {
				want, wait = context.Canceled, time.Second
				time.AfterFunc(wait, leave)
			}
			dial := func(context.Context, string, string) (net.Conn, error) { return near, nil }
			_, err := (&Proxy{Address: "proxy.test:3128"}).Through(dial)(ctx, "tcp", "target.test:443")
			if took := time.Since(began); !errors.Is(err, want) || took != wait {
				t.Errorf("%v after %s", err, took)
			}
			if _, err := near.Write(nil); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("the connection to the proxy is left open: %v", err)
			}
		})
	}
}

// TestNothingIsAddedToTheRequestLine: an address with a blank or a line break, which a
// document of discovery may hold, does not reach the proxy.
func TestNothingIsAddedToTheRequestLine(t *testing.T) {
	for _, host := range []string{"a b", "a\r\nX: y", "a\x00", "ä"} {
		near, far := net.Pipe()
		dial := func(context.Context, string, string) (net.Conn, error) { return near, nil }
		_, err := (&Proxy{}).Through(dial)(t.Context(), "tcp", host+":443")
		_ = near.Close()
		if sent, _ := io.ReadAll(far); err == nil || len(sent) > 0 {
			t.Errorf("%q: %v, sent %q", host, err, sent)
		}
	}
}

// TestHostsGoDirectly: loopback and the hosts of the list are reached without the proxy,
// and no others.
func TestHostsGoDirectly(t *testing.T) {
	var list Direct
	for _, item := range []string{"api.example.org", ".Internal.example", "192.0.2.7", "10.0.0.0/8", "2001:db8::/32"} {
		if err := list.Add(item); err != nil {
			t.Fatal(err)
		}
	}
	for _, item := range []string{"", ".", "a..b", "-a", "10.0.0.0/33", "::ffff:10.0.0.0/104", "a:80", "*.a", "http://a", "a b"} {
		if new(Direct).Add(item) == nil {
			t.Errorf("%q is taken", item)
		}
	}
	dialled := ""
	dial := func(_ context.Context, _, address string) (net.Conn, error) {
		dialled = address
		return nil, errors.New("refused")
	}
	p := &Proxy{Address: "proxy.test:3128", Direct: list}
	for host, direct := range map[string]bool{
		"localhost": true, "LOCALHOST": true, "127.0.0.1": true, "127.8.9.1": true, "::1": true, "::ffff:127.0.0.1": true,
		"api.example.org": true, "API.example.org.": true, "x.api.example.org": false, "xapi.example.org": false,
		"a.internal.example": true, "b.a.internal.example": true, "internal.example": false, "xinternal.example": false,
		"192.0.2.7": true, "192.0.2.8": false, "10.255.0.1": true, "11.0.0.1": false, "::ffff:10.0.0.1": true,
		"2001:db8::9": true, "2001:db9::9": false, "0.0.0.0": false, "localhost.example": false,
	} {
		address := net.JoinHostPort(host, "443")
		_, err := p.Through(dial)(t.Context(), "tcp", address)
		var failed *Error
		if want := map[bool]string{true: address, false: p.Address}[direct]; dialled != want || errors.As(err, &failed) == direct {
			t.Errorf("%s is reached at %s, %v", host, dialled, err)
		}
	}
	var none *Proxy
	if _, _ = none.Through(dial)(t.Context(), "tcp", "api.example.net:443"); dialled != "api.example.net:443" {
		t.Errorf("without a proxy %s is dialled", dialled)
	}
}
