package proxy

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// isOpen reports whether the other end of a pipe is open, on which nothing is to be read.
func isOpen(t *testing.T, c net.Conn) bool {
	t.Helper()
	_ = c.SetReadDeadline(time.Unix(1, 0))
	n, err := c.Read(make([]byte, 1))
	_ = c.SetReadDeadline(time.Time{})
	if n != 0 {
		t.Errorf("something was sent, %v", err)
	}
	return timedOut(err)
}

// countOpen returns how many of the connections are open.
func countOpen(t *testing.T, conns []*rawClient) (open int) {
	t.Helper()
	synctest.Wait()
	for _, c := range conns {
		if isOpen(t, c.Conn) {
			open++
		}
	}
	return open
}

// TestChaosIdleConnectionsAreBounded opens 10,000 connections, of which some ask for something. No
// more are kept than there may be, each for its time, and those are served at once.
func TestChaosIdleConnectionsAreBounded(t *testing.T) {
	eitherWay(t)
	synctest.Test(t, func(t *testing.T) {
		const all, asking = 10_000, 128
		s := newSide(t, setup{pipes: &pipes{}})
		s.up.play(echo)
		addr, server := s.serve(s.proxy.Handler())
		began := time.Now()
		conns := make([]*rawClient, all)
		for i := range conns {
			conns[i] = s.dial(addr)
		}
		if open, counted := countOpen(t, conns), server.open.Load(); open != maxConnections || counted != maxConnections {
			t.Fatalf("%d connections are open, and %d are counted, of at most %d", open, counted, maxConnections)
		}
		ask := func(c *rawClient, id string) {
			t.Helper()
			a, before := newAsk("GET", "/alpha/x", id, ""), time.Now()
			c.write(a.text)
			if wrong := a.wrong(c.read("GET")); wrong != "" || time.Since(before) != 0 {
				t.Errorf("%s after %v", wrong, time.Since(before))
			}
		}
		for i := range asking {
			ask(conns[i*maxConnections/asking], fmt.Sprint("beside-", i))
		}
		_ = conns[1].Close()
		synctest.Wait()
		again := s.dial(addr) // there is room for one
		ask(again, "again")
		if countOpen(t, []*rawClient{s.dial(addr)}) != 0 {
			t.Error("one too many is kept")
		}
		time.Sleep(headTime)
		if open, counted := countOpen(t, append(conns, again)), server.open.Load(); open != asking+1 || counted != asking+1 {
			t.Errorf("%d connections are open, and %d are counted, without a request after %v", open, counted, time.Since(began))
		}
		ask(s.dial(addr), "room")
		time.Sleep(idleTime)
		if open, counted := countOpen(t, append(conns, again)), server.open.Load(); open != 0 || counted != 0 {
			t.Errorf("%d connections are open, and %d are counted, after %v", open, counted, time.Since(began))
		}
	})
}

// TestChaosIdleConnectionsKeepNoAnswer has answers with large heads on many connections. What they
// have taken is given back while the connections are idle.
func TestChaosIdleConnectionsKeepNoAnswer(t *testing.T) {
	const conns, size, most = 50, 200 << 10, 150 << 10
	s := newSide(t, setup{})
	s.up.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + strings.Repeat("X-Fill: "+strings.Repeat("f", 1000)+"\r\n", size/1000) + "\r\nok")
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what pools have kept
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	s.get("/alpha/x")
	before := heap()
	for range conns {
		c := dialRaw(t, s.addr)
		c.write(newAsk("GET", "/alpha/x", "1", "").text)
		if a := c.read("GET"); a.status != 200 || a.body != "ok" {
			t.Fatalf("%d %q %v", a.status, a.body, a.err)
		}
	}
	if each := (heap() - before) / conns; each > most {
		t.Errorf("each idle connection keeps %d KiB", each>>10)
	}
}
