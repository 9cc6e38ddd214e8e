package proxy

import (
	"errors"

	"token-sidecar/proxy/internal/targetconn"
	"token-sidecar/upstream"
)

// attempt is how the request is sent to the target at present: with which token, over what,
// and what comes back. After a 401 the lean way makes another attempt, with another token;
// on the general way the attempt goes on and its token changes.
type attempt struct {
	token  upstream.Token        // sent last, or about to be sent
	fields []upstream.Field      // that are sent beside the token
	answer answerBody            // once the head of the answer is there
	over   *connectionSet        // that the token may be sent over; of the lean way
	conn   *targetconn.Conn      // of the lean way; nil on the general way
	cancel func(cause error)     // of the general way: ends the attempt; nil on the lean way
	timer  *sendTimer            // of the general way: bounds the time that the target may take nothing
	shared *targetconn.Transport // of the general way: what the request was sent with last; nil if that had a connection of its own
	asked  func(connected bool)  // of shared
	tries  int                   // of the general way: how many connections the request was given since it was sent last
}

// forward sends the request to the target and the answer to the app, by one of two ways.
// The lean way serves plain requests over HTTP/1.1, and the general way all others. Both
// follow the same rules: those of rewrite.go for what the target gets, of token.go for its
// token, and of answer.go for what comes back.
func (x *exchange) forward() error {
	slots := x.route.connections.slotsFor(x.streams(), x.webSocket)
	if err := slots.acquire(x.in.Context()); err != nil {
		return err
	}
	defer slots.release()
	if x.plain() {
		if err := x.forwardLean(); !errors.Is(err, targetconn.ErrNotHTTP1) {
			return x.blame(x.in.Context(), err)
		}
	}
	if x.fits != nil {
		return errNotLean
	}
	x.forwardGeneral()
	return nil
}

// errNotLean says that a leanConn cannot serve a request, of which nothing was sent yet.
var errNotLean = errors.New("the request is not one for the lean way")

// plain reports whether the lean way can serve the request.
func (x *exchange) plain() bool {
	if x.proxy.config.general || x.webSocket || x.streams() || !x.route.connections.lean(x.route) {
		return false
	}
	_, asks := x.in.Header["Te"] // ReverseProxy knows what of it may be passed on
	return !asks
}
