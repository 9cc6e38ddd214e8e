package proxy

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowClientsAreCutOff has clients that drip and clients that say nothing more: others are
// served beside them, and each is let go in its time.
//
// Case J3.
func TestSlowClientsAreCutOff(t *testing.T) {
	eitherWay(t)
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}})
		addr, server := s.serve(s.proxy.Handler())
		began := time.Now()
		const timeout = "HTTP/1.1 408 Request Timeout\r\n"
		ends := func(what string, c *rawClient, after time.Duration, says string) {
			if got, _, _ := strings.Cut(c.untilEOF(), "Connection"); got != says || time.Since(began) != after {
				t.Errorf("%s: let go after %v with %q, want after %v", what, time.Since(began), got, after)
			}
		}
		var all sync.WaitGroup
		for range 300 {
			all.Go(func() {
				c := s.dial(addr)
				for _, drip := range []string{"GET /al", "pha/x", " HT"} {
					c.write(drip)
					time.Sleep(3 * time.Second)
				}
				ends("a head that drips", c, 10*time.Second, timeout)
			})
			all.Go(func() {
				c := s.dial(addr)
				c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
				if a := c.read("GET"); a.status != 200 || time.Since(began) != 0 {
					t.Errorf("beside slow clients: %d %v after %v", a.status, a.err, time.Since(began))
				}
				ends("an idle client", c, 2*time.Minute, "")
			})
		}
		all.Wait()
		synctest.Wait()
		if n := server.open.Load(); n != 0 {
			t.Errorf("%d connections are not let go", n)
		}
	})
}

// Case J3.
func TestConnectionsAreCapped(t *testing.T) {
	eitherWay(t)
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

// TestShutdownWaitsForRequestsUnderWay: requests under way end as they should, and no new
// one is taken.
//
// Case H1.
func TestShutdownWaitsForRequestsUnderWay(t *testing.T) {
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

// TestShutdownEndsRequestsThatBeginAtItsDeadline: no handler is left behind if requests begin
// at the very deadline of Shutdown.
func TestShutdownEndsRequestsThatBeginAtItsDeadline(t *testing.T) {
	eitherWay(t)
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

// TestShutdownEndsRequestsAtItsDeadline waits for the handlers it cuts, though no longer than a
// second for one that does not heed it, and closes the connections on which no request
// came.
func TestShutdownEndsRequestsAtItsDeadline(t *testing.T) {
	eitherWay(t)
	const deadline = 3 * time.Second
	for lingers, ends := range map[time.Duration]time.Duration{0: 0, 500 * time.Millisecond: 500 * time.Millisecond, 10 * time.Second: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}})
			began := make(chan bool)
			addr, server := s.serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(began)
				<-r.Context().Done()
				time.Sleep(lingers)
			}))
			silent, c := s.dial(addr), s.dial(addr)
			c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
			<-began
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			before := time.Now()
			err := server.Shutdown(ctx)
			// It looks for the end of the handlers every 5 ms.
			if late := time.Since(before) - deadline - ends; err != context.DeadlineExceeded || late < 0 || late > 5*time.Millisecond {
				t.Errorf("a handler lingers for %v: %v after %v", lingers, err, time.Since(before))
			}
			before = time.Now()
			if got := silent.untilEOF(); got != "" || time.Since(before) != 0 {
				t.Errorf("a connection without a request is left open for %v, %q", time.Since(before), got)
			}
			time.Sleep(lingers) // so that the handler ends before the test
		})
	}
}
