package proxy

import (
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"time"
)

// watch adds to the trace that ReverseProxy has made for this request. connected is
// called when the request has its connection.
func (x *exchange) watch(req *http.Request, connected func()) {
	trace := httptrace.ContextClientTrace(req.Context())
	passOn := trace.Got1xxResponse
	trace.Got1xxResponse = func(status int, h textproto.MIMEHeader) error {
		if pass, err := x.informs(http.Header(h)); !pass {
			return err
		}
		return passOn(status, h)
	}
	trace.GotConn = func(httptrace.GotConnInfo) {
		connected()
		if x.small != nil && !x.bodyIsKept() {
			x.stall.restart(bodyTime) // which the app may take for the rest of it
		} else {
			x.stall.restart(0)
		}
		if x.lapsed == nil {
			x.renew(req)
		}
	}
}

// unwritable is a path that net/http will not write, so that nothing at all is sent.
const unwritable = "\x00"

// renew sees to it that the token is good at the moment it is sent. The
// request may have waited for its connection for longer than the token lived.
func (x *exchange) renew(req *http.Request) {
	now := time.Now()
	if now.Before(x.sent.Expiry()) {
		return
	}
	token, err := x.token(now)
	if err != nil {
		x.lapsed = err
		req.URL.Opaque = unwritable
		return
	}
	x.authorize(req, token)
}
