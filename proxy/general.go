package proxy

import (
	"context"
	"errors"
	"io"
	"log"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"sync"
	"time"

	"token-sidecar/proxy/internal/targetconn"
	"token-sidecar/upstream"
)

// forwardGeneral sends the request and the answer by ReverseProxy. Bodies flow both ways as
// they come. The exchange is its own RoundTripper, so that the token is set after everything
// a client sends was dealt with, and nothing of it can take the token off again.
func (x *exchange) forwardGeneral() {
	ctx, cancel := context.WithCancelCause(x.in.Context())
	defer cancel(nil)
	x.attempt = attempt{token: x.attempt.token, fields: x.attempt.fields, cancel: cancel, timer: newSendTimer(x.proxy.config.TargetTimeout, cancel)}
	defer x.attempt.timer.stop()
	defer x.release()
	if x.isUnkept() {
		x.upload.timer = x.attempt.timer
	}
	in := x.in.WithContext(ctx) // a copy, since net/http looks at the body of its own
	if x.streams() {
		// Else net/http reads on in the body before it sends the answer, and a
		// client that waits for the answer first would wait for ever.
		_ = x.upload.control.EnableFullDuplex()
		in.Body = x.upload
	}
	forwarder := httputil.ReverseProxy{
		Rewrite:        x.rewrite,
		Transport:      x,
		ModifyResponse: x.filterGeneral,
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { x.fail(x.blame(ctx, err)) },
		ErrorLog:       quiet, // its lines quote errors of net/http; the access log says what counts
		BufferPool:     buffers,
	}
	forwarder.ServeHTTP(&x.out, in)
}

// filterGeneral is filter on the general way. There answerBody flushes what has come before it waits for
// more, and ReverseProxy must not flush as well, since it does so from a goroutine of its own. It does
// for answers whose length it does not know, so that it is told one, of which it makes nothing else; and
// for streams of events, which are left to it.
func (x *exchange) filterGeneral(res *http.Response) error {
	if err := x.filter(res); err != nil || res.StatusCode == http.StatusSwitchingProtocols {
		return err
	}
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind != "text/event-stream" {
		x.attempt.answer.flushes = true
		res.ContentLength = max(res.ContentLength, 0)
	}
	return nil
}

// RoundTrip implements [http.RoundTripper]: it sends the request with its token, and once
// more with another one if the target refuses the first.
func (x *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	token := x.attempt.token // of the lean way, which could not send it
	if token.IsZero() {
		var err error
		if token, err = x.getToken(); err != nil {
			return nil, tokenError{err}
		}
		if err := x.getFields(); err != nil {
			return nil, err
		}
	}
	x.trace(req)
	res, err := x.send(req, token)
	if err != nil || !refusesToken(res) {
		return res, err
	}
	next, ok := x.replaceToken()
	if !ok {
		return res, nil
	}
	_ = res.Body.Close() // unread, since it may never end
	x.dropReplaced(req.Header)
	if err := x.getFields(); err != nil {
		return nil, err
	}
	return x.send(req, next)
}

// trace adds to the trace by which ReverseProxy follows req: informational answers are
// filtered before they are passed on, and the token is looked at once more when the request
// has its connection.
func (x *exchange) trace(req *http.Request) {
	trace := httptrace.ContextClientTrace(req.Context())
	passOn := trace.Got1xxResponse
	trace.Got1xxResponse = func(status int, h textproto.MIMEHeader) error {
		if status == http.StatusSwitchingProtocols {
			return errAnswer // over HTTP/2, where there is no switch (RFC 9113 section 8.6)
		}
		if pass, err := x.filterInformational(http.Header(h)); !pass {
			return err
		}
		return passOn(status, h)
	}
	trace.GotConn = func(httptrace.GotConnInfo) {
		if x.attempt.shared != nil {
			x.attempt.asked(true)
		}
		switch x.attempt.tries++; {
		case x.attempt.tries > maxTries:
			x.attempt.cancel(errAnswer)
			return
		case x.attempt.tries > 1: // the target's time goes on
		case !x.isUnkept() && x.streams():
			x.attempt.timer.restart(bodyTime) // the app may take that for the rest of it
		default:
			x.attempt.timer.restart(0)
		}
		x.renewToken(req)
	}
}

// maxTries is how often net/http may send a request, each time because the target says that it has
// not processed it, or has closed a kept connection. Of itself net/http knows no end of that.
const maxTries = 5

// unwritable is a path that net/http will not write, so that nothing at all is sent.
const unwritable = "\x00"

// renewToken sees to it that the token is good at the moment it is sent: the request may
// have waited for its connection for longer than the token lived. If there is no other one
// it ends the attempt, and nothing is sent.
func (x *exchange) renewToken(req *http.Request) {
	if time.Now().Before(x.attempt.token.Expiry()) {
		return
	}
	token, err := x.getToken()
	if err == nil && token.Certificate() != x.attempt.token.Certificate() {
		err = errors.New("the client certificate was replaced while the connection was opened")
	}
	if err != nil {
		req.URL.Opaque = unwritable
		x.attempt.cancel(tokenError{err})
		return
	}
	x.authorize(req, token)
}

// authorize sets the token of req.
func (x *exchange) authorize(req *http.Request, token upstream.Token) {
	x.attempt.token = token
	req.Header["Authorization"] = []string{token.Authorization()}
}

// send sends req with a token and returns the answer, whose body is still to be read.
func (x *exchange) send(req *http.Request, token upstream.Token) (res *http.Response, err error) {
	x.attempt.tries = 0
	x.authorize(req, token)
	x.setFields(req.Header)
	x.setBody(req)
	over := x.route.connections.sets.of(token)
	if !x.webSocket && !x.isUnkept() { // those have connections of their own
		x.release()
		x.attempt.shared, x.attempt.asked = over.requests.Take(req.Context())
		defer x.attempt.asked(false)
	}
	if err := x.audit(eventSent); err != nil {
		return nil, err
	}
	began := time.Now()
	switch {
	case x.isUnkept():
		res, err = x.sendUpload(req, over.uploads)
	case x.webSocket:
		res, err = over.upgrades.RoundTrip(req)
		x.attempt.timer.stop()
	default:
		res, err = x.attempt.shared.RoundTrip(req)
		x.attempt.timer.stop()
	}
	if err == nil {
		x.answered(time.Since(began))
	}
	return res, err
}

// release gives back what the request was sent with last, whose answer nobody reads any more.
func (x *exchange) release() {
	if x.attempt.shared != nil {
		x.attempt.shared.Release()
		x.attempt.shared = nil
	}
}

// sendUpload sends an upload over a connection of its own, which over opens: on one of
// HTTP/2 that others share, a target that does not read it would stop the bodies of all (RFC
// 9113 section 5.2.2). The connection lives as long as the exchange.
func (x *exchange) sendUpload(req *http.Request, over *http.Transport) (*http.Response, error) {
	to := x.route.Target
	conn, err := over.NewClientConn(req.Context(), to.Scheme, targetconn.Address(to))
	if err != nil {
		return nil, err
	}
	context.AfterFunc(req.Context(), func() { _ = conn.Close() })
	x.renewToken(req)
	x.attempt.timer.restart(0)
	res, err := conn.RoundTrip(req)
	x.upload.answerBegan()
	return res, err
}

// quiet is a logger that writes nothing.
var quiet = log.New(io.Discard, "", 0)

// bufferPool keeps the buffers that the bodies of answers are copied through. It is safe
// for concurrent use.
type bufferPool struct{ sync.Pool }

const bufferSize = 32 << 10

var buffers = &bufferPool{sync.Pool{New: func() any { return new([bufferSize]byte) }}}

// Get implements [httputil.BufferPool].
func (p *bufferPool) Get() []byte { return p.Pool.Get().(*[bufferSize]byte)[:] }

// Put implements [httputil.BufferPool].
func (p *bufferPool) Put(b []byte) { p.Pool.Put((*[bufferSize]byte)(b)) }
