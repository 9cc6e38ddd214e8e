package proxy

import (
	"errors"
	"net"
	"sync"
	"time"
)

// wire is what a targetConn reads from, beneath TLS if there is any. It knows
// whether its reader has dealt with all that came. net/http gives a connection
// back before it looks whether bytes are left behind the answer, as behind a
// 204 with a body; the next request on it would take them for its own answer.
type wire struct {
	net.Conn
	peeker peeker
	tls    *records // between the wire and TLS; nil without
	intake intake

	mu      sync.Mutex // guards all below; held over a look at the wire, never over a read
	changed sync.Cond
	waiting bool // the reader has nothing left, and waits for the target
	closed  bool
}

func newWire(c net.Conn) *wire {
	w := &wire{Conn: c}
	w.changed.L = &w.mu
	w.peeker.init(c)
	w.intake.init(w)
	return w
}

// settle waits until the reader has nothing left or, since something was left,
// has closed the connection; neither takes long. It reports whether the connection
// is good for another request: the target has neither closed it, which the reader
// may not have noticed, nor sent anything behind the last answer. From one that is
// not good, nothing more is read.
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
	w.closed = w.closed || (w.tls != nil && !w.tls.whole()) || !w.peeker.untouched()
	return !w.closed
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.intake.read(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, net.ErrClosed
	}
	return n, err
}

// note is for the reader. While it waits it has read all that it took, and takes nothing.
func (w *wire) note(waiting bool) {
	w.mu.Lock()
	w.waiting = waiting
	w.mu.Unlock()
	w.changed.Broadcast()
}

// readBlindly notes that it waits, although there may be something.
func (w *wire) readBlindly(b []byte) (int, error) {
	w.note(true)
	defer w.note(false)
	return w.Conn.Read(b)
}

// Close may be called by anybody.
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
