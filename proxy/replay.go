package proxy

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"token-sidecar/upstream"
)

// keepBody reads a small body of known length before it is sent, if the
// request may have to be sent twice.
func (x *exchange) keepBody() error {
	n := x.in.ContentLength
	if n <= 0 || n > x.proxy.config.ReplayLimit || !x.proxy.mayReplay(x.in.Method) {
		return nil
	}
	x.body = make([]byte, n)
	if _, err := io.ReadFull(x.in.Body, x.body); err != nil {
		if x.in.Context().Err() != nil {
			return context.Canceled
		}
		return errBody
	}
	return nil
}

// setBody gives req its body for an attempt.
func (x *exchange) setBody(req *http.Request) {
	if x.body == nil {
		if req.Body != nil {
			req.Body = unsent{req.Body, x}
		}
		return
	}
	req.Body = io.NopCloser(bytes.NewReader(x.body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(x.body)), nil }
}

// unsent is a body that stays open when a stale connection is left, for which
// nothing of it was read.
type unsent struct {
	io.ReadCloser
	x *exchange
}

func (u unsent) Close() error {
	if u.x.stale {
		return nil
	}
	return u.ReadCloser.Close()
}

// replayable reports whether the request can be sent again as it was.
func (x *exchange) replayable() bool {
	return x.proxy.mayReplay(x.in.Method) && (x.body != nil || x.in.ContentLength == 0) &&
		x.in.Header.Get("Upgrade") == ""
}

// again deals with a 401: the request is sent once more if another token is to
// be had. Otherwise the app gets the 401.
func (x *exchange) again(req *http.Request, res *http.Response) (*http.Response, error) {
	token, ok := x.another()
	if !ok {
		return res, nil
	}
	_ = res.Body.Close() // unread: it may never end
	return x.send(req, token)
}

// another asks for another token in place of the one sent, which the target
// answered 401 to. It reports false if there is none, or if the request cannot
// be sent again. A 401 does not prove that the token is bad, so this is asked
// once for a request.
func (x *exchange) another() (upstream.Token, bool) {
	tokens, rejected := x.proxy.config.Cache, x.sent
	if !x.replayable() {
		// The next request shall have a better token; this one cannot wait for it.
		left, leave := context.WithCancel(context.Background())
		leave()
		tokens.Reject(left, x.key, rejected)
		return upstream.Token{}, false
	}
	tokens.Reject(x.in.Context(), x.key, rejected)
	token, err := x.token(time.Now())
	return token, err == nil && !token.Same(rejected)
}
