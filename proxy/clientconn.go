package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"token-sidecar/proxy/internal/http1"
)

// halfCloseTime is how long after a whole request the end of its client's direction may
// arrive and still be taken for a half-close. What comes later says that the client left.
const halfCloseTime = 20 * time.Millisecond

// maxAhead is how many bytes of further requests are read while one is under way. Behind them
// nobody notices that the client leaves.
const maxAhead = 4 << 10

// clientConn is a connection of an app that net/http serves. It lets net/http read nothing that
// package http1 has not judged; judgedReader does that. And it tells a half-close from a client
// that leaves.
//
// Some clients, such as nc -N, close their direction of the connection together with
// their request and wait for the answer. A client that leaves closes both directions,
// which looks the same from here. clientConn decides by the time: it hides an end of the
// stream that arrives together with a whole request from net/http until the answer was
// sent, and reports any other at once, so that net/http cancels the request.
type clientConn struct {
	net.Conn // TCP, a Unix socket, or TLS over TCP
	judgedReader
	fault   atomic.Pointer[problem] // of the body of the request under way, the last one then; nil if there is none
	ending  *ending                 // of the Server
	writing writeLimit
	broken  atomic.Bool // writing has failed
	ended   func()      // is called when it is closed, once, after net/http has given it away; else nil

	mu       sync.Mutex    // guards all below; it is not held while reading from the connection
	changed  sync.Cond     // on mu: phase or closed has changed
	received time.Time     // when the request under way, with its body, was read; zero if none is under way
	phase    readPhase     // of the reads from now on
	deadline time.Time     // of the reads from now on, as net/http has set it
	patience time.Duration // from when it was set until then
	closed   bool          // the connection was closed or hijacked: nothing is hidden or judged any more
}

// ending says how far a Server is with its end.
type ending struct {
	closing atomic.Bool // no further request is taken
	forced  atomic.Bool // what is under way is not waited for
}

// readPhase says what net/http does with the connection, as the deadline shows that it has
// set last for reading.
type readPhase int

const (
	phaseWaiting     readPhase = iota // no deadline: it waits for what may follow a whole request
	phaseReading                      // a deadline to come: it reads a head or a body
	phaseInterrupted                  // a deadline long past interrupts the read that waits for what may follow
)

// newClientConn returns a clientConn of c, of which the bytes in read have been read already. The
// first head must be whole by headEnd. refuse answers a request that is refused. ending is that of
// the Server.
func newClientConn(c net.Conn, read []byte, headEnd time.Time, refuse func(c net.Conn, p *problem, method string), ending *ending) *clientConn {
	client := &clientConn{Conn: c, ending: ending}
	client.changed.L = &client.mu
	client.judgedReader = judgedReader{conn: c, limit: client.limit, moved: client.moved, buf: read, headEnd: headEnd, refuse: refuse}
	return client
}

// Read implements [net.Conn].
func (c *clientConn) Read(b []byte) (int, error) {
	phase, closed := c.state()
	switch {
	case closed:
		return c.readAsItIs(b)
	case phase != phaseReading && c.atHead():
		return 0, c.awaitAnswer(b)
	}
	n, err := c.read(b)
	if err != nil && c.inBody() {
		c.bodyFailed(err)
	}
	return n, err
}

// bodyFailed notes why reading a body fails, before net/http learns of it: that cancels the
// request, whatever the cause, and does not say all of them to its handler.
func (c *clientConn) bodyFailed(err error) {
	if _, ok := errors.AsType[*http1.Fault](err); ok {
		c.fault.Store(errBody)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		c.fault.Store(errBodySlow)
	}
}

// state returns the phase, and whether the connection was closed or hijacked.
func (c *clientConn) state() (readPhase, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.phase, c.closed
}

// awaitAnswer is what net/http does while a request is under way that has been read whole: it
// returns an error when the client leaves, or when net/http interrupts it, having sent the
// answer. What the client sends meanwhile is kept, and judged then.
func (c *clientConn) awaitAnswer(b []byte) error {
	var err error
	for err == nil && c.buffered() < maxAhead {
		if c.buffered() > 0 { // b has room for one byte, which is enough for most
			b = make([]byte, maxAhead)
		}
		err = c.fill(b)
	}
	if err != nil && err != io.EOF {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == io.EOF && (c.received.IsZero() || time.Since(c.received) > halfCloseTime || c.closed || c.phase == phaseReading) {
		return err // the client left
	}
	for !c.closed && c.phase == phaseWaiting {
		c.changed.Wait()
	}
	return os.ErrDeadlineExceeded
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

// release has the connection hand on what comes as it is, and report its end at once, from now on. It
// reports whether it did not before.
func (c *clientConn) release() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	served := !c.closed
	c.closed = true
	c.changed.Broadcast()
	return served
}

// SetReadDeadline implements [net.Conn].
func (c *clientConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.phase
	switch {
	case t.IsZero():
		c.phase = phaseWaiting
	case t.Unix() < 1<<20: // net/http uses a time of January 1970
		c.phase = phaseInterrupted
	default:
		c.phase = phaseReading
	}
	if before == phaseReading && c.phase == phaseWaiting && !c.received.IsZero() {
		c.received = time.Now() // all of the body was read
	}
	c.deadline, c.patience = t, time.Until(t)
	c.changed.Broadcast()
	return c.Conn.SetReadDeadline(t)
}

// limit bounds reading by d from now on, if net/http has not set an earlier deadline. A d of
// zero means that of net/http alone.
func (c *clientConn) limit(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	until := c.deadline
	if own := time.Now().Add(d); d > 0 && (until.IsZero() || own.Before(until)) {
		until = own
	}
	_ = c.Conn.SetReadDeadline(until)
}

// moved begins the time anew in which something of a body must come, since something has: net/http
// reads the lines around a chunk at once, however slowly they come. A body that nobody wants any more,
// whose time is over, is not waited for.
func (c *clientConn) moved() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == phaseReading && c.patience > 0 {
		c.deadline = time.Now().Add(c.patience)
		_ = c.Conn.SetReadDeadline(c.deadline)
	}
}

// Write implements [net.Conn].
func (c *clientConn) Write(b []byte) (int, error) {
	c.writing.beforeWrite(c.Conn)
	n, err := c.Conn.Write(b)
	if err != nil {
		c.broken.Store(true)
	}
	return n, err
}

// SetWriteDeadline implements [net.Conn]. net/http takes the deadline away behind each answer.
func (c *clientConn) SetWriteDeadline(t time.Time) error {
	c.writing = writeLimit{}
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements [net.Conn]. net/http takes the deadlines away when the protocol is switched.
func (c *clientConn) SetDeadline(t time.Time) error {
	c.writing = writeLimit{}
	return c.Conn.SetDeadline(t)
}

// Close implements [net.Conn]. The goroutine that serves the connection calls it behind the last
// answer, and Shutdown calls it for many idle connections, one after the other, which are not
// lingered over. If something of an answer is missing, the end of the connection must not pass for
// the end of the answer.
func (c *clientConn) Close() error {
	active := c.isActive()
	missing := c.broken.Load() || c.ending.forced.Load() && active
	served := c.release()
	if c.ended != nil {
		c.ended()
	}
	switch {
	case missing:
		c.abort()
	case served && (active || !c.ending.closing.Load()):
		linger(c.Conn)
	}
	return c.Conn.Close()
}

// isActive reports whether a request is under way.
func (c *clientConn) isActive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.received.IsZero()
}

// CloseWrite ends the direction to the app: net/http does so before it closes a
// connection, and so does ReverseProxy when one direction of a WebSocket ends.
func (c *clientConn) CloseWrite() error { return closeWrite(c.Conn) }

// bodyFault implements [appConn].
func (c *clientConn) bodyFault() *problem { return c.fault.Load() }

// abort implements [appConn].
func (c *clientConn) abort() {
	raw := c.Conn
	if secure, ok := raw.(*tls.Conn); ok {
		raw = secure.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}

// secureClientConn is a clientConn over TLS, whose handshake is over. net/http asks it for the
// state of the connection.
type secureClientConn struct{ *clientConn }

// ConnectionState returns what was agreed on in the handshake.
func (c secureClientConn) ConnectionState() tls.ConnectionState {
	return c.Conn.(*tls.Conn).ConnectionState()
}

// clientConnOf returns the clientConn that net/http serves.
func clientConnOf(c net.Conn) *clientConn {
	if secure, ok := c.(secureClientConn); ok {
		return secure.clientConn
	}
	return c.(*clientConn)
}
