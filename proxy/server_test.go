package proxy

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestJ3_SlowClients(t *testing.T) {
	s := newSide(t, setup{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(s.proxy.Handler())
	if server.http.ReadHeaderTimeout > 10*time.Second || server.http.ReadHeaderTimeout <= 0 ||
		server.http.IdleTimeout > 2*time.Minute || server.http.IdleTimeout <= 0 {
		t.Errorf("header timeout %v, idle timeout %v", server.http.ReadHeaderTimeout, server.http.IdleTimeout)
	}
	server.http.ReadHeaderTimeout, server.http.IdleTimeout = time.Second, time.Second // so that the test is short
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	const slow = 300
	conns := make([]*rawClient, 2*slow)
	for i := range slow {
		conns[i] = dialRaw(t, l.Addr().String())
		conns[i].write("GET /alpha/x HT")
		conns[slow+i] = dialRaw(t, l.Addr().String())
		conns[slow+i].write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	for i := range slow {
		if a := conns[slow+i].read("GET"); a.status != 200 {
			t.Fatalf("beside slow clients: %d %v", a.status, a.err)
		}
	}
	for i, c := range conns { // those that drip, and those that are idle
		if i < slow {
			c.write("T")
		}
	}
	for i, c := range conns {
		if got := c.rest(patience); i < slow && strings.Contains(got, " 200 ") || i >= slow && got != "" {
			t.Fatalf("connection %d: %q", i, got)
		}
	}
	eventually(t, "all connections are let go", func() bool { return server.open.Load() == 0 })
	_ = server.Shutdown(context.Background())
	if err := <-done; err != http.ErrServerClosed {
		t.Errorf("Serve returned %v", err)
	}
}

func TestJ3_ConnectionCap(t *testing.T) {
	s := newSide(t, setup{})
	addr, server := serve(t, s.proxy.Handler())
	eventually(t, "quiet", func() bool { return server.open.Load() == 0 })
	server.open.Add(maxConnections - 2)
	one, two := dialRaw(t, addr), dialRaw(t, addr)
	eventually(t, "two connections", func() bool { return server.open.Load() == maxConnections })
	if !dialRaw(t, addr).closed() {
		t.Error("one too many is served")
	}
	for _, c := range []*rawClient{one, two} {
		c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if a := c.read("GET"); a.status != 200 {
			t.Errorf("%d %v", a.status, a.err)
		}
	}
	_ = one.Close()
	eventually(t, "room", func() bool { return server.open.Load() == maxConnections-1 })
	three := dialRaw(t, addr)
	three.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if a := three.read("GET"); a.status != 200 {
		t.Errorf("%d %v", a.status, a.err)
	}
	server.open.Add(2 - maxConnections)
}

// Requests under way end as they should; no new one is taken.
func TestH1_ShutdownDrains(t *testing.T) {
	s := newSide(t, setup{})
	addr, server := serve(t, s.proxy.Handler())
	var came sync.WaitGroup
	came.Add(20)
	finish := make(chan bool)
	s.up.play(func(r *upRequest) bool {
		came.Done()
		<-finish
		r.say(ok("hello"))
		return true
	})
	answers := make(chan answer, 20)
	for range 20 {
		c := dialRaw(t, addr)
		c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
		go func() { answers <- c.read("GET") }()
	}
	came.Wait()
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- server.Shutdown(ctx)
	}()
	eventually(t, "the listener is closed", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	close(finish)
	for range 20 {
		if a := <-answers; a.status != 200 || a.body != "hello" || !a.close {
			t.Errorf("%d %q, close %v, %v", a.status, a.body, a.close, a.err)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// TestShutdownAmongRequests ends servers at whose deadline requests begin.
func TestShutdownAmongRequests(t *testing.T) {
	for i := range 50 {
		var running atomic.Int64
		addr, server := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			running.Add(1)
			defer running.Add(-1)
			<-r.Context().Done()
		}))
		for range 4 {
			c := dialRaw(t, addr)
			go c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
		if i%2 == 0 {
			eventually(t, "a request", func() bool { return running.Load() > 0 })
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_ = server.Shutdown(ctx)
		cancel()
		eventually(t, "the end of all handlers", func() bool { return running.Load() == 0 })
	}
}

// TestShutdownCutsAtItsDeadline waits for the handlers it cuts, and closes the
// connections on which no request came.
func TestShutdownCutsAtItsDeadline(t *testing.T) {
	var ended atomic.Bool
	began := make(chan bool)
	addr, server := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		time.Sleep(50 * time.Millisecond)
		ended.Store(true)
	}))
	silent, c := dialRaw(t, addr), dialRaw(t, addr)
	c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-began
	eventually(t, "both connections", func() bool { return server.open.Load() == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := server.Shutdown(ctx); err != context.DeadlineExceeded || !ended.Load() {
		t.Errorf("%v, the handler has ended: %t", err, ended.Load())
	}
	_ = silent.SetReadDeadline(time.Now().Add(server.http.ReadHeaderTimeout / 2))
	if _, err := silent.Read(make([]byte, 1)); timedOut(err) {
		t.Error("a connection without a request is left open")
	}
}
