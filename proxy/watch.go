package proxy

import (
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"time"
)

// maxInformational is how many informational answers (1xx) a target may send
// before the real one.
const maxInformational = 16

// watch adds to the trace that ReverseProxy has made for this request. connected is
// called when the request has its connection.
func (x *exchange) watch(req *http.Request, connected func()) {
	trace := httptrace.ContextClientTrace(req.Context())
	passOn := trace.Got1xxResponse
	trace.Got1xxResponse = func(status int, h textproto.MIMEHeader) error {
		x.informational++
		if x.informational > maxInformational {
			return errAnswer
		}
		if !x.in.ProtoAtLeast(1, 1) {
			return nil // RFC 9110 section 15.2
		}
		x.scrub(http.Header(h))
		return passOn(status, h)
	}
	trace.GotConn = func(httptrace.GotConnInfo) {
		connected()
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
