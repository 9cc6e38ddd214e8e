package proxy

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/rs/zerolog"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// maxAllocs is the ceiling for one plain request through server, guard, token,
// target and access log. Lower it when something is saved.
const maxAllocs = 38

// TestAllocationsPerRequest counts what the sidecar allocates: client and target
// are of prepared bytes and allocate nothing.
func TestAllocationsPerRequest(t *testing.T) {
	eitherWay(t)
	per := allocations(t, 2000)
	t.Logf("%.1f allocations per request", per)
	if per > maxAllocs {
		t.Errorf("%.1f allocations per request, ceiling %d", per, maxAllocs)
	}
}

func BenchmarkRequest(b *testing.B) {
	b.ReportMetric(allocations(b, b.N), "allocs/req")
}

func allocations(t testing.TB, n int) float64 {
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
	s := newSideFor(t, "http://"+target.Addr().String())
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
	for range 100 {
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
// with its access log on and thrown away.
func newSideFor(t testing.TB, target string) string {
	u := (&side{idp: &issuer{}}).oauth2("alpha", target)
	m := metrics.New("test")
	c := cache.New(cache.Config{Upstreams: []upstream.Upstream{u}, Metrics: m})
	t.Cleanup(func() { _ = c.Close() })
	p, err := New(Config{Upstreams: []upstream.Upstream{u}, Cache: c, Metrics: m, Log: zerolog.New(io.Discard),
		Hosts: NewHosts(nil, false), TargetTimeout: patience, general: *general})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
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
