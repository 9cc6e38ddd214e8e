package proxy

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"token-sidecar/proxy/internal/targetconn"
	"token-sidecar/upstream"
)

// forward sends the request on and the answer back. Streams flow both ways as
// they come. The exchange is its own RoundTripper, so that the token is set
// after everything a client sends was dealt with, and nothing of it can take
// the token off again.
func (x *exchange) forward() {
	x.upgrade = x.asksForWebSocket()
	streams := x.in.ContentLength != 0 && x.body == nil
	slots := x.route.connections.slotsFor(streams, x.upgrade)
	if err := slots.take(x.in.Context()); err != nil {
		x.fail(err)
		return
	}
	defer slots.give()
	if x.plain() && x.forwardLean() {
		return
	}
	ctx, cut := context.WithCancel(x.in.Context())
	defer cut()
	x.cut = cut
	x.stall = newStall(x.proxy.config.TargetTimeout, cut)
	defer x.stall.stop()
	if x.isUpload() {
		x.upload.stall = x.stall
	}
	in := x.in.WithContext(ctx) // a copy, since net/http looks at the body of its own
	if streams {
		// Else net/http reads on in the body before it sends the answer, and a
		// client that waits for the answer first would wait for ever.
		_ = x.upload.control.EnableFullDuplex()
		in.Body = x.upload
	}
	defer x.closeTunnel()
	forwarder := httputil.ReverseProxy{
		Rewrite:        x.rewrite,
		Transport:      x,
		ModifyResponse: x.filter,
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { x.fail(x.blame(err)) },
		ErrorLog:       quiet, // its lines quote errors of net/http; the access log says what counts
		BufferPool:     buffers,
	}
	forwarder.ServeHTTP(&x.out, in)
}

// RoundTrip sets the token, sends the request, and judges a 401.
func (x *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	token := x.sent // of the lean way, which could not send it
	if token.IsZero() {
		var err error
		if token, err = x.token(time.Now()); err != nil {
			return nil, tokenError{err}
		}
	}
	connected := func() {}
	if !x.upgrade && !x.isUpload() { // those have connections of their own
		connected = x.route.connections.protocol.Ask(req.Context())
		defer connected()
	}
	x.watch(req, connected)
	res, err := x.send(req, token)
	if err != nil || !refusesToken(res) {
		return res, err
	}
	return x.again(req, res)
}

// token returns the token to send. now has just been read from the clock.
func (x *exchange) token(now time.Time) (upstream.Token, error) {
	if token, ok := x.proxy.config.Cache.Held(x.key, now); ok {
		return token, nil
	}
	token, err := x.proxy.config.Cache.Token(x.in.Context(), x.key)
	x.waited += time.Since(now)
	return token, err
}

func (x *exchange) send(req *http.Request, token upstream.Token) (*http.Response, error) {
	x.authorize(req, token)
	x.setBody(req)
	transport := x.route.connections.requests
	if x.upgrade {
		transport = x.route.connections.upgrades
	}
	began := time.Now()
	var res *http.Response
	var err error
	if x.isUpload() {
		res, err = x.sendUpload(req, transport)
	} else {
		res, err = transport.RoundTrip(req)
		x.stall.stop()
	}
	if err == nil {
		x.route.metrics.TargetAnswered(time.Since(began))
	}
	if x.lapsed != nil {
		return nil, tokenError{x.lapsed}
	}
	return res, err
}

// sendUpload sends an upload over a connection of its own: on one of HTTP/2 that others
// share, a target that does not read it would stop the bodies of all (RFC 9113 section
// 5.2.2). The connection lives as long as the exchange.
func (x *exchange) sendUpload(req *http.Request, transport *http.Transport) (*http.Response, error) {
	to := x.route.Target
	conn, err := transport.NewClientConn(req.Context(), to.Scheme, targetconn.Address(to))
	if err != nil {
		return nil, err
	}
	context.AfterFunc(req.Context(), func() { _ = conn.Close() })
	x.renew(req)
	if x.lapsed != nil {
		return nil, x.lapsed
	}
	x.stall.restart(0)
	res, err := conn.RoundTrip(req)
	x.upload.answer()
	return res, err
}

func (x *exchange) authorize(req *http.Request, token upstream.Token) {
	x.sent = token
	req.Header["Authorization"] = []string{token.Authorization()}
}

var quiet = log.New(io.Discard, "", 0)

// bufferPool keeps the buffers that bodies are copied through.
type bufferPool struct{ sync.Pool }

const bufferSize = 32 << 10

var buffers = &bufferPool{sync.Pool{New: func() any { return new([bufferSize]byte) }}}

// Get implements [httputil.BufferPool].
func (p *bufferPool) Get() []byte { return p.Pool.Get().(*[bufferSize]byte)[:] }

// Put implements [httputil.BufferPool].
func (p *bufferPool) Put(b []byte) { p.Pool.Put((*[bufferSize]byte)(b)) }
