package proxy

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"time"
)

// leanConn is a connection to a target that serves one exchange at a time, with
// no goroutine of its own. It belongs to the exchange that got it from the pool.
type leanConn struct {
	net.Conn
	raw    net.Conn // below TLS
	peeker peeker   // of raw
	tls    *records // above raw; nil without TLS
	spare  [1]byte  // for what must not come
	in     *bufio.Reader
	out    *bufio.Writer
	end    func() // what the watch does: reading and writing fail at once

	request  http.Request // nothing but the method, for the framing of answers
	reused   bool
	answered bool        // something came back for the request at hand
	budget   int         // bytes that the head of an answer may still take; under zero: no limit
	unwatch  func() bool // ends the watch of the request's context
	since    time.Time   // in the pool
}

var errHeadTooLarge = errors.New("the head of the answer is too large")

const maxAnswerHead = 256 << 10

// Read reads from the target, no more than its budget for a head.
func (c *leanConn) Read(b []byte) (int, error) {
	if c.budget == 0 {
		return 0, errHeadTooLarge
	}
	if c.budget > 0 && len(b) > c.budget {
		b = b[:c.budget]
	}
	n, err := c.Conn.Read(b)
	if c.budget > 0 {
		c.budget -= n
	}
	c.answered = c.answered || n > 0
	return n, err
}

// readHead reads the head of one answer, informational or not. net/http judges
// its framing, as it does in the general way.
func (c *leanConn) readHead(method string) (*http.Response, error) {
	c.budget = maxAnswerHead
	c.request.Method = method
	res, err := http.ReadResponse(c.in, &c.request)
	c.budget = -1
	return res, err
}

// watch ends the connection when ctx does.
func (c *leanConn) watch(ctx context.Context) {
	c.answered = false
	c.unwatch = context.AfterFunc(ctx, c.end)
}

// release ends the watch. It reports whether the connection is as good as new:
// nobody has ended it, and the target sent no more than the answer.
func (c *leanConn) release() bool {
	return c.unwatch() && c.in.Buffered() == 0 && (c.tls == nil || c.drained())
}

// drained reports whether TLS holds nothing that came after the answer, in part
// or as a whole: the next request would take it for its answer.
func (c *leanConn) drained() bool {
	_ = c.SetReadDeadline(time.Unix(1, 0)) // so that nothing new is read
	n, err := c.Conn.Read(c.spare[:])
	_ = c.SetReadDeadline(time.Time{})
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.tls.whole()
}

func (c *leanConn) close() {
	if c.unwatch != nil {
		c.unwatch()
	}
	_ = c.raw.Close() // not the TLS layer: its farewell may block
}
