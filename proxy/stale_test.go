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
	"sync/atomic"
	"syscall"
	"testing"

	"token-sidecar/proxy/internal/targetconn"
)

// lateReader notices the end of its connection only when it is told to, as in
// a process that had no processor when the end came.
type lateReader struct {
	*net.TCPConn
	told chan struct{}
	gone func() // it is being closed; nil: nobody cares

	waiting atomic.Bool // its reader has found nothing to read
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
		if !first {
			n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if late = err == nil && n == 0; late {
				return true
			}
		}
		first = false
		r.conn.waiting.Store(false)
		done := f(fd)
		r.conn.waiting.Store(!done)
		return done
	}); err != nil || !late {
		return err
	}
	<-r.conn.told
	return r.RawConn.Read(f)
}

// readLate has the general way read from late readers, which nobody tells
// anything before the test ends. It returns the channel of them.
func (s *side) readLate(gone func()) chan *lateReader {
	told, readers := make(chan struct{}), make(chan *lateReader, 8)
	dialer := targetconn.NewDialer(nil, "http/1.1")
	dialer.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		r := &lateReader{TCPConn: raw.(*net.TCPConn), told: told, gone: gone}
		readers <- r
		return r, nil
	}
	s.proxy.routes["alpha"].connections.requests.DialContext = targetconn.NewTransport(dialer, 0).DialContext
	s.t.Cleanup(func() { close(told) })
	return readers
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

// TestCutAtAStaleConnection: what ends the request, not the connection that was
// left, is what it ends by.
func TestCutAtAStaleConnection(t *testing.T) {
	s := newSide(t, setup{})
	addr, server := serve(t, s.proxy.Handler())
	readers := s.readLate(server.cut)
	c := dialRaw(t, addr)
	const post = "POST /alpha/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody"
	c.write(post)
	c.read("POST")
	r := <-readers
	eventually(t, "the reader's return", r.waiting.Load)
	_ = s.up.last().Conn.(*net.TCPConn).CloseWrite()
	c.write(post)
	eventually(t, "a line of the second request", func() bool { return strings.Contains(s.log.String(), `"status":499`) })
	if n := len(s.up.requests()); n != 1 {
		t.Errorf("%d requests reached the target", n)
	}
}

// TestLapsedIsNotStale: a request whose token has lapsed is sent on no other connection.
func TestLapsedIsNotStale(t *testing.T) {
	dial := targetconn.NewTransport(targetconn.NewDialer(nil), 0).DialContext
	c, err := dial(t.Context(), "tcp", newUp(t, listen(t)).l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _ = c.Close(); targetconn.Reusable(c) {
		t.Fatal("a closed connection is good")
	}
	x := &exchange{lapsed: errBody, path: "/x"}
	req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{}), "GET", "http://h/x", nil)
	req.URL.Opaque = unwritable
	x.watch(req)
	trace := httptrace.ContextClientTrace(req.Context())
	for range 2 {
		trace.GetConn("h:80")
		trace.GotConn(httptrace.GotConnInfo{Conn: c, Reused: true})
	}
	if x.stale || req.URL.Opaque != unwritable {
		t.Errorf("stale is %t, the path %q", x.stale, req.URL.Opaque)
	}
}
