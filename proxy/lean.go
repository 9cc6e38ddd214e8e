package proxy

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"token-sidecar/proxy/internal/targetconn"
	"token-sidecar/upstream"
)

// The lean way serves the plain case with one goroutine and few copies: no
// streamed request body, no upgrade, HTTP/1.1 to the target. Everything else
// takes the general way of forward.go. Both follow the same rules: rewrite.go
// for what ends here, answer.go for what comes back, replay.go for a 401.

type leanPool = targetconn.Pool[upstream.Key]

// plain reports whether the lean way can serve the request.
func (x *exchange) plain() bool {
	if x.proxy.config.general || x.upgrade || (x.in.ContentLength != 0 && x.body == nil) || !x.route.connections.lean(x.route) {
		return false
	}
	_, asks := x.in.Header["Te"] // ReverseProxy knows what of it may be passed on
	return !asks
}

// forwardLean sends the request on and the answer back. It reports false if it
// cannot, and has then answered nothing.
func (x *exchange) forwardLean() bool {
	pool := x.route.connections.kept
	now := x.began
	if x.body != nil {
		now = time.Now() // it may have taken any time to come
	}
	token, err := x.token(now)
	if err != nil {
		x.fail(tokenError{err})
		return true
	}
	c, res, err := x.exchangeLean(pool, token)
	if err == nil && refusesToken(res) {
		if next, ok := x.another(); ok {
			pool.Drop(c) // its answer stays unread: it may never end
			c, res, err = x.exchangeLean(pool, next)
		}
	}
	if errors.Is(err, targetconn.ErrNotHTTP1) {
		return false
	}
	if err == nil {
		if err = x.filter(res); err != nil {
			pool.Drop(c)
		}
	}
	if err != nil {
		x.fail(x.blame(err))
		return true
	}
	x.answerLean(pool, c, res)
	return true
}

// blame finds out whose fault a failure is: the app's that left or did not send its
// body, or the target's.
func (x *exchange) blame(err error) error {
	if fault := x.bodyFault(); fault != nil {
		return fault
	}
	if x.stall.hasEnded() {
		return errTargetSlow
	}
	if x.in.Context().Err() != nil {
		return context.Canceled
	}
	return err
}

// exchangeLean sends the request with token and reads the head of the answer.
// A kept connection may turn out to be dead; if nothing came back on it and
// sending twice does no harm, the request goes out again on a new one (RFC 9110
// section 9.2.2).
func (x *exchange) exchangeLean(pool *leanPool, token upstream.Token) (*targetconn.Conn, *http.Response, error) {
	x.sent = token // by the general way, if there is no connection for this one
	for attempt := 0; ; attempt++ {
		c, err := pool.Get(x.in.Context(), x.key, attempt == 0)
		if err != nil {
			return nil, nil, err
		}
		now := time.Now()
		if !now.Before(x.sent.Expiry()) { // the connection took its time
			if x.sent, err = x.token(now); err != nil {
				pool.Put(c)
				return nil, nil, tokenError{err}
			}
			now = time.Now()
		}
		var deadline time.Time
		if limit := x.proxy.config.TargetTimeout; limit > 0 {
			deadline = now.Add(limit)
		}
		_ = c.SetDeadline(deadline) // before Begin, which may put an end to it at once
		c.Begin(x.in.Context())
		res, err := x.roundTripLean(c, now)
		if err == nil {
			return c, res, nil
		}
		again := c.Reused() && !c.Answered() && sendTwice(x.in.Method) && x.in.Context().Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded)
		pool.Drop(c)
		if !again {
			return nil, nil, err
		}
	}
}

// sendTwice lists the methods of which net/http's Transport too sends a request
// again when a kept connection breaks.
func sendTwice(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// roundTripLean writes the request and reads the head of its answer, passing
// informational answers on.
func (x *exchange) roundTripLean(c *targetconn.Conn, began time.Time) (*http.Response, error) {
	x.writeHead(c)
	if len(x.body) > 0 {
		_, _ = c.Writer().Write(x.body)
	}
	// If the target no longer reads it may have answered already, with 413 for
	// instance: what it sent is there to be read.
	unsent := c.Writer().Flush()
	for {
		res, err := c.ReadHead(x.in.Method)
		if err != nil {
			return nil, cmp.Or(unsent, err)
		}
		res.Close = res.Close || unsent != nil
		switch {
		case res.StatusCode == http.StatusSwitchingProtocols, res.StatusCode < 100:
			return nil, errAnswer // it was not asked to switch
		case res.StatusCode >= 200:
			x.route.metrics.TargetAnswered(time.Since(began))
			// A body may take any time. copyBody sees to that where it waits for more, which
			// a body in chunks may do within one Read. If the app left meanwhile, the
			// deadline that ends the connection must not be taken away again.
			if res.ContentLength < 0 {
				_ = c.SetDeadline(time.Time{})
			}
			return res, x.in.Context().Err()
		}
		if err := x.passInformational(res); err != nil {
			return nil, err
		}
	}
}

// passInformational hands a 1xx answer to the app.
func (x *exchange) passInformational(res *http.Response) error {
	if pass, err := x.informs(res.Header); !pass {
		return err
	}
	h := x.out.Header()
	for name, values := range res.Header {
		h[name] = values
	}
	x.out.WriteHeader(res.StatusCode)
	clear(h)
	return nil
}

// answerLean passes the answer on, and gives the connection back if all of it
// was read.
func (x *exchange) answerLean(pool *leanPool, c *targetconn.Conn, res *http.Response) {
	h := x.out.Header()
	for name, values := range res.Header {
		h[name] = values
	}
	announced := announce(h, res.Trailer)
	x.out.WriteHeader(res.StatusCode)
	if err := x.copyBody(c, res); err != nil {
		pool.Drop(c)
		panic(http.ErrAbortHandler) // a part must not pass for the whole
	}
	_ = res.Body.Close() // all is read: this only fills the trailers in
	passTrailers(&x.out, res.Trailer, announced)
	if res.Close || !c.Finish() {
		pool.Drop(c)
		return
	}
	pool.Put(c)
}

// copyBody copies the body. What has come is flushed before more is waited for,
// so that a stream arrives as it is sent.
func (x *exchange) copyBody(c *targetconn.Conn, res *http.Response) error {
	left := res.ContentLength // under zero: unknown
	if left == 0 || x.in.Method == http.MethodHead {
		return nil
	}
	buffer := buffers.Get()
	defer buffers.Put(buffer)
	for {
		if c.Buffered() == 0 {
			if flusher, ok := x.out.ResponseWriter.(http.Flusher); ok {
				flusher.Flush()
			}
			_ = c.SetReadDeadline(time.Now().Add(idleTime(res)))
			if err := x.in.Context().Err(); err != nil {
				return err // the deadline by which that ends the connection must not be taken away
			}
		}
		n, err := res.Body.Read(buffer)
		if n > 0 {
			if _, err := x.out.Write(buffer[:n]); err != nil {
				return err
			}
			if left -= int64(n); left == 0 {
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// announce names the trailers that are known beforehand.
func announce(h, trailer http.Header) int {
	if len(trailer) == 0 {
		return 0
	}
	names := make([]string, 0, len(trailer))
	for name := range trailer {
		names = append(names, name)
	}
	h["Trailer"] = append(h["Trailer"], strings.Join(names, ", "))
	return len(trailer)
}

// passTrailers hands the trailers on, those that were not announced too.
func passTrailers(w http.ResponseWriter, trailer http.Header, announced int) {
	if len(trailer) == 0 {
		return
	}
	// Else net/http counts a short body and leaves no room for trailers.
	_ = http.NewResponseController(w).Flush()
	prefix := ""
	if len(trailer) != announced {
		prefix = http.TrailerPrefix
	}
	for name, values := range trailer {
		for _, v := range values {
			w.Header().Add(prefix+name, v)
		}
	}
}
