package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
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
//
// It costs each request some atomic stores. Only an end takes the mutex.
type clientConn struct {
	net.Conn

	whole   atomic.Int64 // when the request under way was there with its body, in nanoseconds of the wall clock; 0: none is under way
	reading atomic.Int32 // what bounds reading now
	over    atomic.Bool  // an end is shown at once: the connection is closed or hijacked

	waits   atomic.Bool // an end is held back
	mu      sync.Mutex  // guards nothing but the wait for changed
	changed sync.Cond   // tells who holds an end back of changes of reading and over
}

// What bounds reading.
const (
	unbounded = iota // nothing: net/http waits for what may come behind a whole request
	bounded          // a deadline, as net/http and upload set one while a head or a body is read
	ended            // a deadline that was over when it was set, by which net/http ends a read
)

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
	whole := c.whole.Load()
	if whole == 0 || time.Since(time.Unix(0, whole)) > endsWithRequest {
		return n, err
	}
	c.waits.Store(true)
	defer c.waits.Store(false)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over.Load() || c.reading.Load() == bounded {
		return n, err // within the request, which is not half of one
	}
	for !c.over.Load() && c.reading.Load() == unbounded {
		c.changed.Wait() // net/http ends the read when it has answered
	}
	return 0, os.ErrDeadlineExceeded
}

// setActive says whether a request is under way, whose head has been read.
func (c *clientConn) setActive(active bool) {
	now := int64(0)
	if active {
		now = time.Now().UnixNano()
	}
	c.whole.Store(now)
}

// showEnd has an end shown at once from now on.
func (c *clientConn) showEnd() {
	c.over.Store(true)
	c.tell()
}

// bound notes what a deadline for reading means.
func (c *clientConn) bound(t time.Time) {
	now := int32(bounded)
	switch {
	case t.IsZero():
		now = unbounded
	case t.Unix() < 1<<20: // net/http uses a time of January 1970
		now = ended
	}
	if was := c.reading.Swap(now); was == bounded && now == unbounded && c.whole.Load() != 0 {
		c.whole.Store(time.Now().UnixNano()) // the body has come
	}
	c.tell()
}

// tell wakes who holds an end back.
func (c *clientConn) tell() {
	if c.waits.Load() {
		c.mu.Lock()
		c.changed.Broadcast()
		c.mu.Unlock()
	}
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
