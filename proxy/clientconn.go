package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// halfCloseTime is how long after a whole request the end of its client's direction may
// arrive and still be taken for a half-close. What comes later says that the client left.
const halfCloseTime = 20 * time.Millisecond

// clientConn is a connection of an app that tells a half-close from a client that leaves.
// Some clients, such as nc -N, close their direction of the connection together with
// their request and wait for the answer. A client that leaves closes both directions,
// which looks the same from here. clientConn decides by the time: it hides an end of the
// stream that arrives together with a whole request from net/http until the answer was
// sent, and reports any other at once, so that net/http cancels the request.
type clientConn struct {
	net.Conn

	mu       sync.Mutex // guards all below; it is not held while reading from the connection
	changed  sync.Cond  // on mu: deadline or closed has changed
	received time.Time  // when the request under way, with its body, was read; zero if none is under way
	deadline readPhase  // of the reads from now on
	closed   bool       // the connection was closed or hijacked: an end is reported at once
}

// readPhase says what net/http does with the connection, as the deadline shows that it has
// set last for reading.
type readPhase int

const (
	phaseWaiting     readPhase = iota // no deadline: it waits for what may follow a whole request
	phaseReading                      // a deadline to come: it reads a head or a body
	phaseInterrupted                  // a deadline long past interrupts the read that waits for what may follow
)

// Read implements [net.Conn].
func (c *clientConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != io.EOF {
		return n, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.received.IsZero() || time.Since(c.received) > halfCloseTime || c.closed || c.deadline == phaseReading {
		return n, err // the client left, or its request is not whole
	}
	for !c.closed && c.deadline == phaseWaiting {
		c.changed.Wait() // net/http interrupts this read once it has sent the answer
	}
	return 0, os.ErrDeadlineExceeded
}

// setActive tells the connection whether a request is under way, whose head has been read.
func (c *clientConn) setActive(active bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received = time.Time{}
	if active {
		c.received = time.Now()
	}
}

// reportEnd makes the connection report the end of the stream at once from now on.
func (c *clientConn) reportEnd() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.changed.Broadcast()
}

// SetReadDeadline implements [net.Conn].
func (c *clientConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.deadline
	switch {
	case t.IsZero():
		c.deadline = phaseWaiting
	case t.Unix() < 1<<20: // net/http uses a time of January 1970
		c.deadline = phaseInterrupted
	default:
		c.deadline = phaseReading
	}
	if before == phaseReading && c.deadline == phaseWaiting && !c.received.IsZero() {
		c.received = time.Now() // all of the body was read
	}
	c.changed.Broadcast()
	return c.Conn.SetReadDeadline(t)
}

// Close implements [net.Conn].
func (c *clientConn) Close() error {
	c.reportEnd()
	return c.Conn.Close()
}

// CloseWrite ends the direction to the app: net/http does so before it closes a
// connection, and so does ReverseProxy when one direction of a WebSocket ends.
func (c *clientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// clientConnOf returns the clientConn that net/http serves, or that is below its TLS. There
// it sees the end of the TCP stream; a client that ends its direction of TLS itself is taken
// for one that leaves.
func clientConnOf(c net.Conn) *clientConn {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	return c.(*clientConn)
}

// clientListener is a listener whose connections are clientConns.
type clientListener struct{ net.Listener }

// Accept implements [net.Listener].
func (l clientListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	client := &clientConn{Conn: c}
	client.changed.L = &client.mu
	return client, nil
}
