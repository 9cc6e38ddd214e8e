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

	mu       sync.Mutex // guards all below
	changed  sync.Cond  // tells of changes of deadline and over
	whole    time.Time  // when the last request was whole: net/http lifts the deadline then
	deadline time.Time  // of reading
	active   bool       // a request is under way
	over     bool       // an end is shown at once: the connection is closed or hijacked
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
	// While a head or a body is read there is a deadline: the request is not whole.
	if !c.active || c.over || !c.deadline.IsZero() || time.Since(c.whole) > endsWithRequest {
		return n, err
	}
	for !c.over && c.deadline.IsZero() {
		c.changed.Wait() // net/http sets a deadline when it has answered
	}
	return 0, os.ErrDeadlineExceeded
}

// setActive says whether a request is under way.
func (c *clientConn) setActive(active bool) {
	c.mu.Lock()
	c.active = active
	c.mu.Unlock()
}

// showEnd has an end shown at once from now on.
func (c *clientConn) showEnd() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.changed.Broadcast()
}

func (c *clientConn) setDeadline(t time.Time) {
	var whole time.Time
	if t.IsZero() {
		whole = time.Now()
	}
	c.mu.Lock()
	c.deadline, c.whole = t, whole
	c.mu.Unlock()
	c.changed.Broadcast()
}

// SetReadDeadline implements [net.Conn].
func (c *clientConn) SetReadDeadline(t time.Time) error {
	c.setDeadline(t)
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline implements [net.Conn].
func (c *clientConn) SetDeadline(t time.Time) error {
	c.setDeadline(t)
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
