package proxy

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"token-sidecar/upstream"
)

// setBody gives req its body for an attempt.
func (x *exchange) setBody(req *http.Request) {
	switch {
	case x.bodyIsKept():
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(x.body)), nil }
	case x.small != nil:
		req.GetBody = func() (io.ReadCloser, error) { return x.small.reader(), nil }
	default:
		return // it can be sent once only, or there is none
	}
	req.Body, _ = req.GetBody()
}

// replayable reports whether the request can be sent again as it was.
func (x *exchange) replayable() bool {
	return x.proxy.mayReplay(x.in.Method) && (x.in.ContentLength == 0 || x.bodyIsKept()) && !x.upgrade
}

// again deals with a 401: the request is sent once more if another token is
// to be had. Otherwise the app gets the 401.
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
