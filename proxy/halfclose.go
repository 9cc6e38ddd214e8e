package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// endsWithRequest is how soon behind a request its client's end of the connection comes
// if it belongs to the request.
const endsWithRequest = 20 * time.Millisecond

// clientConn is a connection of an app. Some clients, such as nc -N, say with their
// request that they will send no more: they close their half of the connection and wait
// for the answer. A client that leaves closes all of it, which looks the same from here.
// clientConn goes by the time: an end that comes with a whole request is half of one, and
// is shown to net/http only after the answer; any other says that the app left.
type clientConn struct {
	net.Conn

	mu      sync.Mutex // guards all below
	changed sync.Cond  // tells of changes of bounded and over
	active  bool       // a request is under way
	whole   time.Time  // when that request was there with its body
	bounded bool       // reading has a deadline: net/http and upload set one while a head or a body is read, and to end a read
	over    bool       // an end is shown at once: the connection is closed or hijacked
}

func newClientConn(c net.Conn) *clientConn {
	cc := &clientConn{Conn: c}
	cc.changed.L = &cc.mu
	return cc
}

// Read implements [net.Conn].
func (c *clientConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != io.EOF {
		return n, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.active || c.over || c.bounded || time.Since(c.whole) > endsWithRequest {
		return n, err
	}
	for !c.over && !c.bounded {
		c.changed.Wait() // net/http sets a deadline when it has answered
	}
	return 0, os.ErrDeadlineExceeded
}

// setActive says whether a request is under way, whose head has been read.
func (c *clientConn) setActive(active bool) {
	var now time.Time
	if active {
		now = time.Now()
	}
	c.mu.Lock()
	c.active, c.whole = active, now
	c.mu.Unlock()
}

// showEnd has an end shown at once from now on.
func (c *clientConn) showEnd() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.changed.Broadcast()
}

// bound notes that reading has a deadline from now on, unless t is zero.
func (c *clientConn) bound(t time.Time) {
	c.mu.Lock()
	c.bounded = !t.IsZero()
	if c.active && !c.bounded {
		c.whole = time.Now() // the body has come
	}
	c.mu.Unlock()
	c.changed.Broadcast()
}

// SetReadDeadline implements [net.Conn].
func (c *clientConn) SetReadDeadline(t time.Time) error {
	c.bound(t)
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline implements [net.Conn].
func (c *clientConn) SetDeadline(t time.Time) error {
	c.bound(t)
	return c.Conn.SetDeadline(t)
}

// Close implements [net.Conn].
func (c *clientConn) Close() error {
	c.showEnd()
	return c.Conn.Close()
}

// CloseWrite ends the direction to the app, as net/http does before it closes, and as
// the end of one direction of an upgraded connection needs.
func (c *clientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// clientListener accepts connections of apps.
type clientListener struct{ net.Listener }

// Accept implements [net.Listener].
func (l clientListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newClientConn(c), nil
}
