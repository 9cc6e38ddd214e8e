package proxy

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// What one plain request through server, guard, token, target and access log may cost at most.
// Lower it when something is saved.
const (
	maxAllocs    = 3
	maxTransfers = 4.2 // reads and writes of sockets that moved something
)

// TestCostsOfAPlainRequest counts what the sidecar allocates, and how often it reads from sockets
// and writes to them: client and target are of prepared bytes and allocate nothing.
func TestCostsOfAPlainRequest(t *testing.T) {
	eitherWay(t)
	if *noLeanServer {
		t.Skip("net/http's server costs more")
	}
	var transfers atomic.Int64
	const requests = 2000
	per := allocations(t, requests, &transfers)
	moved := float64(transfers.Load()) / (requests + warmUp)
	t.Logf("%.1f allocations and %.2f reads and writes of sockets per request", per, moved)
	if per > maxAllocs || moved > maxTransfers {
		t.Errorf("%.1f allocations and %.2f reads and writes per request, at most %d and %.1f", per, moved, maxAllocs, maxTransfers)
	}
}

func BenchmarkRequest(b *testing.B) {
	b.ReportMetric(allocations(b, b.N, nil), "allocs/req")
}

// warmUp is how many requests are sent before any is counted.
const warmUp = 100

// allocations returns how many allocations each of n requests takes. It counts in transfers, unless
// that is nil, how often the sidecar reads and writes for all of them and those of warmUp.
func allocations(t testing.TB, n int, transfers *atomic.Int64) float64 {
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	go func() {
		for {
			c, err := target.Accept()
			if err != nil {
				return
			}
			go answerAll(c)
		}
	}()
	s := newSideFor(t, "http://"+target.Addr().String(), transfers)
	c, err := net.Dial("tcp", s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request := []byte("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a\r\nAccept: */*\r\n\r\n")
	in := bufio.NewReader(c)
	ask := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for { // the head, then ten bytes
			line, err := in.ReadSlice('\n')
			if err != nil {
				t.Fatal(err)
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := in.Discard(10); err != nil {
			t.Fatal(err)
		}
	}
	for range warmUp {
		ask()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		ask()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n)
}

// answerAll answers every request on c with the same ten bytes.
func answerAll(c net.Conn) {
	defer c.Close()
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n0123456789")
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}
}

// newSideFor returns the address of a sidecar that forwards alpha to target,
// with its access log on and thrown away. Unless transfers is nil, it counts there.
func newSideFor(t testing.TB, target string, transfers *atomic.Int64) string {
	u := (&side{idp: &issuer{}}).oauth2("alpha", target)
	m := metrics.New("test")
	c := cache.New(cache.Config{Upstreams: []upstream.Upstream{u}, Metrics: m})
	t.Cleanup(func() { _ = c.Close() })
	p, err := New(Config{Upstreams: []upstream.Upstream{u}, Cache: c, Metrics: m, Log: zerolog.New(io.Discard),
		Hosts: NewHosts(nil, false), TargetTimeout: patience, general: *general, noLeanServer: *noLeanServer})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if transfers != nil {
		l = countingListener{l, transfers}
		dialer := p.routes["alpha"].connections.sets.plain.kept.Dialer
		dial := dialer.DialContext
		dialer.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			return countingConn{c, transfers}, err
		}
	}
	server := NewServer(p.Handler())
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() {
		done, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = server.Shutdown(done)
		p.CloseIdleConnections()
	})
	return l.Addr().String()
}

// countingListener is a listener whose connections are countingConns.
type countingListener struct {
	net.Listener
	transfers *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countingConn{c, l.transfers}, err
}

// countingConn counts the reads and writes that moved something.
type countingConn struct {
	net.Conn
	transfers *atomic.Int64
}

func (c countingConn) Read(b []byte) (int, error) { return c.count(c.Conn.Read(b)) }

func (c countingConn) Write(b []byte) (int, error) { return c.count(c.Conn.Write(b)) }

func (c countingConn) count(n int, err error) (int, error) {
	if n > 0 {
		c.transfers.Add(1)
	}
	return n, err
}
