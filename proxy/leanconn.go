package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"time"

	"token-sidecar/proxy/internal/http1"
)

// leanConn serves the plain requests of one connection of an app, one after the other, in the
// goroutine that reads them. What it has for a request it uses again for the next, so that a
// request allocates little. It serves no request whose body is not here soon, and none that must
// go the general way: from the first of these on net/http serves the connection.
type leanConn struct {
	net.Conn // TCP, a Unix socket, or TLS over TCP
	server   *Server

	buf  [4 << 10]byte // of it, what lies between from and to was read and not served yet
	from int
	to   int

	head     http1.Head // of the request that is served
	length   int        // of the head
	headEnd  time.Time  // by when it must be there, once it has begun
	request  *http.Request
	values   []string // of the fields of request
	writer   leanWriter
	exchange exchange
	fits     func(refused bool) bool // canServe; made once

	leaving leaving
}

// newLeanConn returns a leanConn, which the caller serves. The first head must be there by headEnd,
// which is the deadline of c.
func newLeanConn(s *Server, c net.Conn, headEnd time.Time) *leanConn {
	ctx, cancel := newLeanContext(context.WithValue(s.base, http.LocalAddrContextKey, c.LocalAddr()))
	l := &leanConn{Conn: c, server: s, headEnd: headEnd}
	request := http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, URL: new(url.URL), Body: http.NoBody, Header: http.Header{}}
	if secure, ok := c.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := secure.ConnectionState()
		request.TLS = &state
	}
	l.request = request.WithContext(ctx)
	l.writer = leanWriter{conn: c, own: http.Header{}}
	l.fits = l.canServe
	l.leaving.peeker.Init(c)
	l.leaving.conn, l.leaving.cancel, l.leaving.ended = l, cancel, make(chan struct{}, 1)
	return l
}

// serve serves requests until the connection must end, or net/http must go on. It reports
// whether the latter is so, and returns what was read and not served.
func (c *leanConn) serve() (read []byte, handOver bool) {
	defer c.leaving.cancel()
	defer func() {
		if r := recover(); r != nil { // not one of an exchange, which has seen to its own
			c.server.lean.proxy.config.Log.Error().Str("panic", fmt.Sprintf("%T", r)).Msg("serving a connection panicked")
			handOver = false
		}
	}()
	for first := true; ; first = false {
		length, err := c.readHead(first)
		if err != nil {
			return nil, false
		}
		// A fault is net/http's, too: its way has the words for it.
		if length == 0 || c.head.Parse(c.buf[c.from:c.from+length]) != nil || !c.head.Plain {
			return bytes.Clone(c.buf[c.from:c.to]), true
		}
		c.length = length
		switch c.serveRequest() {
		case endConnection:
			return nil, false
		case goTheOtherWay:
			return bytes.Clone(c.buf[c.from:c.to]), true
		}
	}
}

// readHead reads until a whole head is there, and returns its length. That is zero if none
// will be: what came is too long, or not HTTP.
func (c *leanConn) readHead(first bool) (int, error) {
	if c.from == c.to {
		c.from, c.to = 0, 0
	}
	if !first {
		_ = c.SetReadDeadline(time.Now().Add(idleTime))
	}
	for known := 0; ; {
		length, err := http1.Find(c.buf[c.from:c.to], known)
		if err != nil || length > 0 {
			return length, nil
		}
		if known == 0 && c.from < c.to && !first {
			c.headEnd = time.Now().Add(headTime)
			_ = c.SetReadDeadline(c.headEnd)
		}
		known = c.to - c.from
		if c.from > 0 {
			c.to, c.from = copy(c.buf[:], c.buf[c.from:c.to]), 0
		}
		if c.to == len(c.buf) {
			return 0, nil
		}
		if c.server.closing.Load() {
			return 0, http.ErrServerClosed // Shutdown has interrupted reading, or does so now
		}
		n, err := c.Read(c.buf[c.to:])
		if c.to += n; n > 0 {
			continue
		}
		if known > 0 && errors.Is(err, os.ErrDeadlineExceeded) && !c.server.closing.Load() {
			c.server.refuse(c.Conn, errHeadSlow, "")
			linger(c.Conn)
		}
		return 0, err
	}
}

// idleTime is how long a connection may be without a request.
const idleTime = 2 * time.Minute

// leanGrace is how long a body may come later than its head. It is as long as a program takes
// that sends both one after the other.
const leanGrace = 10 * time.Millisecond

// canServe reports whether the request can be answered on the lean way, once it is known what
// it is for, or that it is refused. It reads the body for that, which must be small.
func (c *leanConn) canServe(refused bool) bool {
	x := &c.exchange
	n := int(min(c.head.Length, int64(len(c.buf))))
	if refused {
		// What is not here of the body is not waited for. It would break the connection.
		c.writer.last = c.writer.last || c.to-c.from < c.length+n
		return true
	}
	if x.vend || !x.plain() {
		return false
	}
	if n > 0 {
		if c.head.Length > x.proxy.config.ReplayLimit || !c.readBody(n) || !x.takeBody(c.buf[c.from+c.length:][:n]) {
			return false
		}
	}
	c.leaving.watch()
	return true
}

// readBody reads the body of the request, of n bytes. It reports false if that is too long for
// buf, or does not come soon.
func (c *leanConn) readBody(n int) bool {
	if c.from+c.length+n > len(c.buf) {
		c.to, c.from = copy(c.buf[:], c.buf[c.from:c.to]), 0
	}
	end := c.from + c.length + n
	if end > len(c.buf) {
		return false
	}
	if end <= c.to {
		return true
	}
	_ = c.SetReadDeadline(time.Now().Add(leanGrace))
	more, err := io.ReadAtLeast(c.Conn, c.buf[c.to:], end-c.to)
	c.to += more
	return err == nil
}

// next is what follows a request on its connection.
type next int

const (
	anotherRequest next = iota
	endConnection
	goTheOtherWay
)

// serveRequest serves the request of the parsed head. Shutdown waits for it, and so until the last
// answer has reached the app.
func (c *leanConn) serveRequest() (then next) {
	c.server.active.Add(1)
	defer c.server.active.Add(-1)
	c.setRequest()
	c.writer.begin(c.head.Method == http.MethodHead, c.head.Close, &c.server.closing)
	x := &c.exchange // nothing is set of it
	x.proxy, x.in, x.began, x.fits = c.server.lean.proxy, c.request, time.Now(), c.fits
	x.out.ResponseWriter = &c.writer
	defer func() {
		c.leaving.stop()
		c.exchange = exchange{} // so that no answer is kept while the connection waits
		if recover() != nil {
			then = endConnection
		}
		if then == endConnection && c.writer.last {
			linger(c.Conn)
		}
	}()
	x.serve(c.server.lean.fixed)
	if x.notLean {
		return goTheOtherWay
	}
	c.from += c.length + int(c.head.Length)
	if !c.writer.finish() || c.request.Context().Err() != nil {
		return endConnection
	}
	return anotherRequest
}

// setRequest makes request that of the head.
func (c *leanConn) setRequest() {
	r := c.request
	r.Method, r.RequestURI, r.Host = c.head.Method, c.head.Target, c.head.Host
	r.ContentLength, r.Close = c.head.Length, c.head.Close
	clear(r.Header)
	c.values = c.values[:0]
	for _, f := range c.head.Fields {
		name := textproto.CanonicalMIMEHeaderKey(f.Name)
		if before, ok := r.Header[name]; ok {
			r.Header[name] = append(before, f.Value)
			continue
		}
		n := len(c.values)
		c.values = append(c.values, f.Value)
		r.Header[name] = c.values[n : n+1 : n+1]
	}
}
