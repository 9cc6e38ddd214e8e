//go:build unix

package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// lateReader notices the end of its connection only when it is told to, as in
// a process that had no processor when the end came.
type lateReader struct {
	*net.TCPConn
	told chan struct{}
	late bool   // for bytes, too
	gone func() // it is being closed; nil: nobody cares
}

func (c *lateReader) SyscallConn() (syscall.RawConn, error) {
	raw, err := c.TCPConn.SyscallConn()
	return &lateRaw{raw, c}, err
}

func (c *lateReader) Close() error {
	if c.gone != nil {
		c.gone()
	}
	return c.TCPConn.Close()
}

type lateRaw struct {
	syscall.RawConn
	conn *lateReader
}

func (r *lateRaw) Read(f func(fd uintptr) bool) error {
	first, late := true, false
	if err := r.RawConn.Read(func(fd uintptr) bool {
		if first {
			first = false
			return f(fd)
		}
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		late = err == nil && (n == 0 || r.conn.late)
		return late || f(fd)
	}); err != nil || !late {
		return err
	}
	<-r.conn.told
	return r.RawConn.Read(f)
}

// readLate has the general way read from late readers, which nobody tells
// anything before the test ends. It returns the channel of their wires.
func (s *side) readLate(gone func()) chan *wire {
	told, wires := make(chan struct{}), make(chan *wire, 8)
	s.proxy.routes["alpha"].connections.requests.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		w := newWire(&lateReader{raw.(*net.TCPConn), told, false, gone})
		wires <- w
		return &targetConn{w, w}, nil
	}
	s.t.Cleanup(func() { close(told) })
	return wires
}

// G7: a kept connection that the target has closed is not used, be it that the
// request may be sent only once or that its body cannot be read again.
func TestG7_ClosedKeptConnections(t *testing.T) {
	chunked := "Transfer-Encoding: chunked"
	for _, c := range []struct{ method, body, line string }{
		{"POST", "small", ""}, {"POST", strings.Repeat("x", 100<<10), ""}, {"POST", "5\r\nsmall\r\n0\r\n\r\n", chunked},
		{"PUT", "small", ""}, {"POST", "", ""}, {"GET", "", ""},
	} {
		s := newSide(t, setup{})
		s.readLate(nil)
		const kept = 3
		var all, ended sync.WaitGroup
		all.Add(kept)
		ended.Add(kept)
		end := make(chan struct{})
		s.up.play(func(r *upRequest) bool {
			r.readBody()
			all.Done()
			all.Wait() // at the same time, so each has its connection
			r.say(ok("hello"))
			<-end
			_ = r.Conn.(*net.TCPConn).CloseWrite()
			ended.Done()
			return true
		})
		var asked sync.WaitGroup
		for range kept {
			asked.Go(func() { s.send("POST", "/alpha/x", "body") })
		}
		asked.Wait()
		close(end)
		ended.Wait()
		s.up.play(nil)
		conn := dialRaw(t, s.addr)
		if c.line == "" {
			c.line = "Content-Length: " + fmt.Sprint(len(c.body))
		}
		conn.write(c.method + " /alpha/x HTTP/1.1\r\nHost: localhost\r\n" + c.line + "\r\n\r\n" + c.body)
		if a := conn.read(c.method); a.status != 200 || a.body != "hello" {
			t.Errorf("%s %q: %d %s", c.method, c.line, a.status, a.body)
		}
		if c.line == chunked {
			c.body = "small"
		}
		if got := s.up.requests(); len(got) != kept+1 || got[kept].body != c.body || !got[kept].bodyOK {
			t.Errorf("%s %q: %d requests, the last with %d bytes", c.method, c.line, len(got), len(s.up.last().body))
		}
	}
}

// TestWireSettles: what the reader has not noticed makes the connection no good,
// and then the reader does not get it.
func TestWireSettles(t *testing.T) {
	for name, c := range map[string]struct {
		does func(*net.TCPConn)
		good bool
	}{
		"nothing": {func(*net.TCPConn) {}, true},
		"bytes":   {func(c *net.TCPConn) { _, _ = c.Write([]byte("HTTP/1.1 408 X\r\n\r\n")) }, false},
		"end":     {func(c *net.TCPConn) { _ = c.CloseWrite() }, false},
		"reset": {func(c *net.TCPConn) {
			_ = c.SetLinger(0)
			_ = c.Close()
		}, false},
	} {
		near, far := tcpPair(t)
		told := make(chan struct{})
		w := newWire(&lateReader{near, told, true, nil})
		read := make(chan int)
		go func() {
			b := make([]byte, 100)
			n, err := w.Read(b)
			if err != nil {
				n = -1
			}
			read <- n
		}()
		if !w.settle() { // waits for the reader
			t.Fatalf("%s: not good from the start", name)
		}
		c.does(far)
		eventually(t, "what the target does", func() bool { return c.good || !w.peeker.untouched() })
		if got := w.settle(); got != c.good {
			t.Errorf("%s: good is %t", name, got)
		}
		close(told)
		if c.good {
			_, _ = far.Write([]byte("x"))
		}
		if n := <-read; (n == 1) != c.good || (n == -1) == c.good {
			t.Errorf("%s: the reader got %d", name, n)
		}
	}
}

// slowReader has taken what came, but not yet returned with it.
type slowReader struct {
	*net.TCPConn
	taken, told chan struct{}
}

func (c *slowReader) SyscallConn() (syscall.RawConn, error) {
	raw, err := c.TCPConn.SyscallConn()
	return &slowRaw{raw, c}, err
}

type slowRaw struct {
	syscall.RawConn
	conn *slowReader
}

func (r *slowRaw) Read(f func(fd uintptr) bool) error {
	return r.RawConn.Read(func(fd uintptr) bool {
		if !f(fd) {
			return false
		}
		close(r.conn.taken)
		<-r.conn.told
		return true
	})
}

// TestWireSettlesAfterItsReader: bytes that the reader has taken are no more to
// be seen at the connection, but make it no good.
func TestWireSettlesAfterItsReader(t *testing.T) {
	near, far := tcpPair(t)
	slow := &slowReader{near, make(chan struct{}), make(chan struct{})}
	w := newWire(slow)
	var reader sync.WaitGroup
	reader.Go(func() {
		_, _ = w.Read(make([]byte, 100))
		_ = w.Close() // as net/http does
	})
	w.settle()
	_, _ = far.Write([]byte("HTTP/1.1 408 X\r\n\r\n"))
	<-slow.taken
	settled := make(chan bool)
	go func() { settled <- w.settle() }()
	select {
	case <-settled:
		t.Error("settled while the reader was at it")
	case <-time.After(50 * time.Millisecond):
	}
	close(slow.told)
	if !t.Failed() && <-settled {
		t.Error("taken for good")
	}
	reader.Wait()
}

// TestWireSettlesInTime has a reader that neither reads nor closes.
func TestWireSettlesInTime(t *testing.T) {
	near, far := tcpPair(t)
	_ = far.SetReadDeadline(time.Now().Add(patience))
	began := time.Now()
	if newWire(near).settle() || time.Since(began) > patience/2 {
		t.Errorf("settled after %v", time.Since(began))
	}
	if n, err := far.Read(make([]byte, 1)); n != 0 || err == nil || timedOut(err) {
		t.Error("the connection stays open")
	}
}

// TestCutAtAStaleConnection: what ends the request, not the connection that was
// left, is what it ends by.
func TestCutAtAStaleConnection(t *testing.T) {
	s := newSide(t, setup{})
	addr, server := serve(t, s.proxy.Handler())
	wires := s.readLate(server.cut)
	c := dialRaw(t, addr)
	const post = "POST /alpha/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody"
	c.write(post)
	c.read("POST")
	w := <-wires
	eventually(t, "the reader's return", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.waiting
	})
	_ = s.up.last().Conn.(*net.TCPConn).CloseWrite()
	c.write(post)
	eventually(t, "a line of the second request", func() bool { return strings.Contains(s.log.String(), `"status":499`) })
	if n := len(s.up.requests()); n != 1 {
		t.Errorf("%d requests reached the target", n)
	}
}

func tcpPair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = dialed.Close()
		_ = accepted.Close()
	})
	return dialed.(*net.TCPConn), accepted.(*net.TCPConn)
}

// TestLapsedIsNotStale: a request whose token has lapsed is sent on no other connection.
func TestLapsedIsNotStale(t *testing.T) {
	near, _ := tcpPair(t)
	w := newWire(near)
	_ = w.Close()
	x := &exchange{lapsed: errBody, path: "/x"}
	req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{}), "GET", "http://h/x", nil)
	req.URL.Opaque = unwritable
	x.watch(req)
	trace := httptrace.ContextClientTrace(req.Context())
	for range 2 {
		trace.GetConn("h:80")
		trace.GotConn(httptrace.GotConnInfo{Conn: &targetConn{w, w}, Reused: true})
	}
	if x.stale || req.URL.Opaque != unwritable {
		t.Errorf("stale is %t, the path %q", x.stale, req.URL.Opaque)
	}
}
