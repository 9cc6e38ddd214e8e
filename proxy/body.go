package proxy

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"time"
)

const (
	// bodyGrace is how long the sidecar waits for a small body before it sends the
	// request on without it. It is longer than a program takes that sends head and body
	// together, and short for a person who waits for an answer that comes first.
	bodyGrace = 100 * time.Millisecond
	// bodyBudget is the memory for small bodies of all requests together, in bytes.
	bodyBudget = 8 << 20
)

// readSmallBody reads a small body of known length before its request is sent, so that the
// request can be sent twice. It blocks for bodyGrace at most: if the body has not come by
// then, as when the app waits for the answer first, it is sent on as it comes, and kept
// meanwhile. A body for which there is no memory left is only sent on.
func (x *exchange) readSmallBody() error {
	n := x.in.ContentLength
	limit := x.proxy.config.ReplayLimit
	if x.fits != nil || n <= 0 || n > limit || !x.reserve(n) {
		return nil
	}
	x.upload.kept, x.upload.done = make([]byte, n), make(chan struct{})
	x.upload.setDeadline(time.Now().Add(bodyTime))
	go x.upload.readAll()
	grace := time.NewTimer(bodyGrace)
	defer grace.Stop()
	select {
	case <-x.upload.done:
		return x.bodyFault()
	case <-grace.C:
		return nil
	}
}

// reserve takes n bytes of the memory for small bodies. It reports false if they are not there.
func (x *exchange) reserve(n int64) bool {
	if x.proxy.keptBodies.Add(n) > max(bodyBudget, x.proxy.config.ReplayLimit) {
		x.proxy.keptBodies.Add(-n)
		return false
	}
	return true
}

// takeBody has the request's body be one that has come whole. It reports false if no memory is
// left for bodies that are kept.
func (x *exchange) takeBody(body []byte) bool {
	if !x.reserve(int64(len(body))) {
		return false
	}
	x.upload = &upload{kept: body, read: len(body), err: io.EOF, done: allRead}
	x.upload.changed.L = &x.upload.mu
	return true
}

// allRead is closed.
var allRead = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// isUnkept reports whether the request has a body that is not kept, but only sent on as it
// comes.
func (x *exchange) isUnkept() bool { return x.upload != nil && x.upload.kept == nil }

// streams reports whether some of the body may still have to come.
func (x *exchange) streams() bool {
	return x.upload != nil && (x.upload.kept == nil || !x.upload.whole())
}

// setBody gives req the body for one sending, if it can be sent more than once.
func (x *exchange) setBody(req *http.Request) {
	switch {
	case x.upload == nil, x.upload.kept == nil:
		return
	case x.upload.whole():
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(x.upload.kept)), nil }
	default:
		req.GetBody = func() (io.ReadCloser, error) { return &keptReader{upload: x.upload}, nil }
	}
	req.Body, _ = req.GetBody()
}

// blame returns what made the exchange with the target fail: the app did not send its
// body, or ctx has ended, for whatever cause, or else err.
func (x *exchange) blame(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return cmp.Or(x.bodyFault(), context.Cause(ctx), err)
}

// appConn is the connection of an app while net/http serves it.
type appConn interface {
	// bodyFault returns why the body of the request could not be read, or nil. net/http, which
	// cancels the request then, does not say all of it.
	bodyFault() *problem
	// abort closes the connection so that its client sees that something is missing, even if the
	// answer ends with the connection.
	abort()
}

// appConnKey is the key of the appConn in the context of a request.
type appConnKey struct{}

// appConn returns the connection of the app, nil if net/http does not serve it.
func (x *exchange) appConn() appConn {
	c, _ := x.in.Context().Value(appConnKey{}).(appConn)
	return c
}

// bodyFault returns why the body did not come to its end. It returns nil if the body did,
// or if it still may.
func (x *exchange) bodyFault() error {
	if x.upload == nil {
		return nil
	}
	err := x.upload.ended()
	if err == io.EOF {
		return nil
	}
	if c := x.appConn(); c != nil && c.bodyFault() != nil {
		return c.bodyFault()
	}
	switch {
	case err == nil:
		return nil
	case x.in.Context().Err() != nil:
		return context.Canceled // the app left
	}
	return errBody
}

// discardBody ends the reading of a body that is not wanted any more, once the app was answered,
// or is not going to be. clientConn.Close reads what the app still sends.
func (x *exchange) discardBody() {
	if x.upload == nil {
		return
	}
	if !x.upload.whole() {
		x.upload.setDeadline(time.Now())
	}
	if x.upload.kept == nil {
		x.upload.giveUp()
		return
	}
	<-x.upload.done
	x.proxy.keptBodies.Add(-x.in.ContentLength)
}
