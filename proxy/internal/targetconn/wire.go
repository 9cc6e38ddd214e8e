package targetconn

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Reusable reports whether c is good for another request: the target has neither
// closed it, which the transport may not have noticed yet, nor sent anything behind the
// last answer, which would be taken for the next one (RFC 9112 section 9.2). It is to
// be asked about a kept connection of a transport of [NewTransport], after that has
// chosen it and before anything is sent on it: see GotConn of [net/http/httptrace.ClientTrace].
// From a connection that is not good nothing more is read. Of an HTTP/2 connection, or
// one of other origin, it knows nothing and reports true.
//
// It blocks until the goroutine of net/http that reads c has dealt with what it read.
// That takes no time, unless this goroutine is writing to a target that does not read;
// after a second c is closed, and not good.
func Reusable(c net.Conn) bool {
	t, ok := c.(*transportConn)
	return !ok || t.wire.settle()
}

// transportConn is an HTTP/1 connection of a transport.
type transportConn struct {
	halfCloser       // what net/http reads and writes: wire itself, or TLS over it
	wire       *wire // at the bottom
}

// halfCloser is a connection of which one direction can be ended, as an upgraded
// connection needs.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// wire is what a transportConn reads from, below TLS if there is any. It knows whether
// its reader, a goroutine of net/http, has dealt with all that came. That is not
// obvious: net/http gives a connection back before it looks whether bytes are left
// behind the answer, as behind a 204 with a body. The next request on the connection
// would take them for its own answer.
type wire struct {
	net.Conn
	peeker  peeker   // looks at Conn; guarded by mu
	records *records // between the wire and TLS; nil without TLS
	intake  intake   // belongs to the reader

	mu      sync.Mutex // guards waiting and closed; it is held over a look at Conn, but never over a read
	changed sync.Cond  // tells that waiting or closed has changed
	waiting bool       // the reader has dealt with all it read, and waits for more
	closed  bool       // nothing more is read
}

// newWire returns a wire that reads from c and closes it.
func newWire(c net.Conn) *wire {
	w := &wire{Conn: c}
	w.changed.L = &w.mu
	w.peeker.init(c)
	w.intake.init(w)
	return w
}

// settle waits until the reader waits for the target or has closed the connection, as
// it does if something was left behind an answer. It reports what [Reusable] does.
func (w *wire) settle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.waiting && !w.closed {
		// The reader may be writing, to a target that does not read: TLS answers a
		// KeyUpdate (RFC 8446 section 4.6.3).
		late := time.AfterFunc(time.Second, func() { _ = w.Close() })
		defer late.Stop()
	}
	for !w.waiting && !w.closed {
		w.changed.Wait()
	}
	w.closed = w.closed || (w.records != nil && !w.records.whole()) || !w.peeker.untouched()
	return !w.closed
}

// Read implements [net.Conn], for the reader only.
func (w *wire) Read(b []byte) (int, error) {
	n, err := w.intake.read(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, net.ErrClosed
	}
	return n, err
}

// setWaiting says whether the reader waits for the target. While it does it has dealt
// with all it read, and reads nothing.
func (w *wire) setWaiting(waiting bool) {
	w.mu.Lock()
	w.waiting = waiting
	w.mu.Unlock()
	w.changed.Broadcast()
}

// readBlindly reads where it cannot be told whether there is something to read. It says
// that the reader waits, although that may not be so.
func (w *wire) readBlindly(b []byte) (int, error) {
	w.setWaiting(true)
	defer w.setWaiting(false)
	return w.Conn.Read(b)
}

// Close implements [net.Conn]. Any goroutine may call it.
func (w *wire) Close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.changed.Broadcast()
	return w.Conn.Close()
}

// CloseWrite implements [halfCloser].
func (w *wire) CloseWrite() error {
	half, ok := w.Conn.(halfCloser)
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
