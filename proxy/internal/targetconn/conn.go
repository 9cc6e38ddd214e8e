package targetconn

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"time"

	"token-sidecar/proxy/internal/peek"
)

// Conn is an HTTP/1.1 connection to a target. It serves one exchange at a time, of
// a request and its answer, and has no goroutine of its own.
//
// The caller of [Pool.Get] owns it, and uses it from one goroutine: it calls Begin,
// writes the request to Writer and flushes it, reads heads of answers with ReadHead
// until one is final (RFC 9110 section 15), reads the body of that one to its end,
// and calls Finish. What is written or read blocks until the target takes or sends
// it, the deadline passes, or the context that Begin was given ends; the error is
// then one of package net or of crypto/tls.
type Conn struct {
	conn    net.Conn       // for requests and answers: raw itself, or TLS over it
	raw     net.Conn       // TCP
	peeker  peek.Peeker    // looks at raw
	records *recordTracker // between raw and TLS; nil without TLS
	in      *bufio.Reader
	out     *bufio.Writer

	request  http.Request // has only the method, which the framing of an answer depends on
	plain    plainAnswer  // the answer, if it is plain
	reused   bool         // it was idle before this exchange
	answered bool         // some byte came since Begin
	headLeft int          // bytes that may still be read of the head of an answer; below zero: any number

	interrupt    func()      // makes reading and writing fail at once; made once, so that Begin allocates less
	stopWatching func() bool // ends what Begin began; it reports whether interrupt has not run; nil between exchanges
	spare        [12]byte    // receives bytes that should not have come
	unasked      bool        // the target was seen to send bytes that belong to no answer
	idleEntry    any         // where it stands among the idle connections of its Pool, which owns this
}

// newConn returns a Conn that reads and writes conn. raw is the TCP connection, which
// lies below conn or is the same. r is between them if conn is TLS, and otherwise nil.
func newConn(raw, conn net.Conn, r *recordTracker) *Conn {
	c := &Conn{conn: conn, raw: raw, records: r}
	c.peeker.Init(raw)
	c.interrupt = func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) }
	c.in, c.out = bufio.NewReaderSize(answerReader{c}, 4<<10), bufio.NewWriterSize(conn, 4<<10)
	return c
}

// Begin starts an exchange. When ctx ends before Finish, or before the Pool drops the
// connection, reading and writing fail at once and for good. It does not block.
func (c *Conn) Begin(ctx context.Context) {
	c.answered = false
	if own, ok := ctx.(interface {
		AfterFunc(func()) (stop func() bool)
	}); ok { // it needs no memory for that
		c.stopWatching = own.AfterFunc(c.interrupt)
		return
	}
	c.stopWatching = context.AfterFunc(ctx, c.interrupt)
}

// SetDeadline bounds reading and writing by an absolute time; the zero time means no
// bound. It must be set before Begin, or with a look at the context afterwards: a
// deadline that is set after the context has ended undoes that end.
func (c *Conn) SetDeadline(t time.Time) error { return c.conn.SetDeadline(t) }

// SetReadDeadline is SetDeadline for reading alone.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.conn.SetReadDeadline(t) }

// Writer is where the request is written to. It holds 4 KiB back until it is flushed.
func (c *Conn) Writer() *bufio.Writer { return c.out }

// errHeadTooLarge is what reading fails with once maxAnswerHead bytes were read.
var errHeadTooLarge = errors.New("the head of the answer is too large")

// maxAnswerHead is how many bytes the head of an answer may have.
const maxAnswerHead = 256 << 10

// ReadAhead has several records of TLS read from the socket at once, by way of room, until it is
// called with nil. Without TLS it does nothing.
func (c *Conn) ReadAhead(room []byte) {
	if c.records != nil {
		c.records.readAhead(room)
	}
}

// Ready reports whether more of the answer can be read without blocking, as far as is known.
func (c *Conn) Ready() bool {
	return c.in.Buffered() > 0 || c.records != nil && c.records.ready()
}

// Reused reports whether the connection was idle before it was handed out. Then the
// target may have closed it just before the request was sent.
func (c *Conn) Reused() bool { return c.reused }

// Answered reports whether any byte came from the target since Begin.
func (c *Conn) Answered() bool { return c.answered }

// Finish ends the exchange, after its answer was read to the end. It reports whether
// the connection may serve another one: the context has not ended it, and the target
// sent no more than the answer. If it reports false, the connection must be dropped.
// It does not wait for anything that the target has not sent yet.
func (c *Conn) Finish() bool {
	if c.in.Buffered() > 0 {
		c.unasked = true
	}
	stop := c.stopWatching
	c.stopWatching = nil // it may be another connection's by then that watches the same context
	return stop() && !c.unasked && (c.records == nil || c.drained())
}

// drained reports whether TLS holds nothing that came behind the answer, be it a whole
// record or a part of one. It would be taken for the answer to the next request. What
// is still in the socket is not looked at: [Pool.Get] does that before the next request.
func (c *Conn) drained() bool {
	c.records.held = true // nothing is read from the socket
	n, err := c.conn.Read(c.spare[:])
	c.records.held = false
	c.unasked = n > 0
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.records.whole()
}

// untouched reports whether the target has neither closed an idle connection nor sent anything on
// it, as far as one can look. What a target sends while no request is under way is no answer to the
// next one, and makes the connection unfit for it (RFC 9112 section 9.2). It does not block.
func (c *Conn) untouched() bool {
	seen := c.peeker.Look()
	return seen == peek.Quiet || seen == peek.Unknown
}

// checkUnasked finds out what the target did to an idle connection that is no longer
// as it was left, and sets unasked. A target that closes it, or that sends records of
// TLS itself such as a close_notify or a session ticket, does nothing wrong, nor does one that says
// 408 before it closes (golang/go#32310). What is to be read is there already, so that this takes a
// millisecond at most. Afterwards the connection is good for nothing.
func (c *Conn) checkUnasked() {
	_ = c.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	n, _ := c.conn.Read(c.spare[:])
	said := string(c.spare[:n])
	c.unasked = n > 0 && said != "HTTP/1.1 408" && said != "HTTP/1.0 408"
}

// close ends the exchange, if there is one, and the connection. It leaves out the
// farewell of TLS (close_notify, RFC 8446 section 6.1), since sending that may block.
func (c *Conn) close() {
	if c.stopWatching != nil {
		c.stopWatching()
	}
	_ = c.raw.Close()
}

// answerReader reads from the target for the buffer of a Conn. It keeps account of
// what comes, and reads no more of a head than headLeft.
type answerReader struct{ *Conn }

func (r answerReader) Read(b []byte) (int, error) {
	if r.headLeft == 0 {
		return 0, errHeadTooLarge
	}
	if r.headLeft > 0 && len(b) > r.headLeft {
		b = b[:r.headLeft]
	}
	n, err := r.conn.Read(b)
	if r.headLeft > 0 {
		r.headLeft -= n
	}
	r.answered = r.answered || n > 0
	return n, err
}
