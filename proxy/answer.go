package proxy

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"token-sidecar/upstream"
)

// errAnswer is an answer that no client could read in one way only.
var errAnswer = errors.New("the target's answer breaks HTTP")

// filter looks at the head of an answer before anything of it is passed on.
func (x *exchange) filter(res *http.Response) error {
	if err := checkHead(res); err != nil {
		return err
	}
	if err := x.ownAnswer(res); err != nil {
		return err
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.filterSwitch(res)
		return nil
	}
	if res.StatusCode < 200 {
		return errAnswer
	}
	x.scrub(res.Header)
	x.scrubTrailer(res.Trailer) // the names that are known beforehand
	x.keepApart(res.Header)
	x.tellScope(res.Header)
	if _, ok := res.Header["Content-Type"]; !ok {
		x.out.Header()["Content-Type"] = nil // else net/http guesses one
	}
	x.answer = answerBody{ReadCloser: res.Body, exchange: x, res: res}
	res.Body = &x.answer
	return nil
}

// filterSwitch looks at the head of an answer that switches to another protocol.
// ReverseProxy compares that with what was asked for.
func (x *exchange) filterSwitch(res *http.Response) {
	x.tunnel = res.Body
	res.Status = "" // what is behind the number is the target's words, and net/http has its own
	upgrade, switches := res.Header["Upgrade"], named(res.Header["Connection"], "Upgrade")
	x.scrub(res.Header)
	if switches && len(upgrade) > 0 {
		res.Header["Connection"], res.Header["Upgrade"] = []string{"Upgrade"}, upgrade[:1]
	}
}

// How long a target may send nothing within a body. One of known length is ready when
// its answer begins; any other may be a stream of events that are far between.
const (
	bodyIdle   = 5 * time.Minute
	streamIdle = 2 * time.Hour
)

// idleTime returns how long the target may send nothing within the body of res.
func idleTime(res *http.Response) time.Duration {
	if res.ContentLength >= 0 {
		return bodyIdle
	}
	return streamIdle
}

// answerBody ends an answer that no longer moves, and scrubs the trailers, which are
// known once the body was read.
type answerBody struct {
	io.ReadCloser
	exchange *exchange
	res      *http.Response
	idle     *time.Timer // on the general way; runs while a read waits
}

func (b *answerBody) Read(p []byte) (int, error) {
	if cut := b.exchange.cut; cut != nil { // on the lean way the connection has a deadline
		if b.idle == nil {
			b.idle = time.AfterFunc(idleTime(b.res), cut)
		} else {
			b.idle.Reset(idleTime(b.res))
		}
		defer b.idle.Stop()
	}
	return b.ReadCloser.Read(p)
}

func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.exchange.scrubTrailer(b.res.Trailer)
	dropLinks(b.res.Trailer)
	return err
}

// scrub removes what is of the target's connection only, headers that do harm
// coming from the sidecar, and any that shows our token: the app must not have it.
// What the sidecar adds to an answer is added afterwards.
func (x *exchange) scrub(h http.Header) {
	endNominated(h)
	search := tokenSearch{token: x.sent.AccessToken()}
	for name, values := range h {
		if hopByHop(name) || withheld(name) || notTheTargets(name) || search.inHeader(name, values) {
			delete(h, name)
		}
	}
}

// scrubTrailer does to trailers what scrub does to headers, and removes those that must
// not be trailers.
func (x *exchange) scrubTrailer(h http.Header) {
	x.scrub(h)
	for name := range h {
		if !mayTrail(name) {
			delete(h, name)
		}
	}
}

// endNominated removes the headers that the Connection header nominates as those of one
// connection only (RFC 9110 section 7.6.1).
func endNominated(h http.Header) {
	for _, line := range h["Connection"] {
		for option := range strings.SplitSeq(line, ",") {
			delete(h, http.CanonicalHeaderKey(strings.Trim(option, " \t")))
		}
	}
}

// withheld reports whether a header of an answer is kept from the app.
//
//   - Cookies: a cookie jar would send what one subject's session set with the
//     next subject's request (RFC 6265 section 5.4 goes by host and path).
//   - Properties of the target's origin, which bind the client to it, make no
//     sense for loopback and would hit every other service there: RFC 7838
//     (Alt-Svc), RFC 6797 (HSTS), RFC 7469, RFC 9163, Clear-Site-Data, reporting.
//   - Cache controls that outrank Cache-Control (RFC 9213 section 2.2).
func withheld(name string) bool {
	switch name {
	case "Set-Cookie", "Set-Cookie2",
		"Alt-Svc", "Strict-Transport-Security", "Public-Key-Pins", "Public-Key-Pins-Report-Only", "Expect-Ct",
		"Clear-Site-Data", "Nel", "Report-To", "Reporting-Endpoints", "Service-Worker-Allowed",
		"Cdn-Cache-Control", "Surrogate-Control", "Proxy-Authentication-Info":
		return true
	}
	return false
}

// keepApart tells caches on the app's side whose answer this is. They see no
// Authorization header, so the rule of RFC 9111 section 3.5, which keeps
// answers to authorized requests out of shared caches, does not work for them:
// private states it. And they must not give one subject's answer to another:
// Vary (section 4.1) names the headers that choose the token; an answer whose
// URL does not tell whose it is must not be stored at all, since not all
// caches heed Vary. Where directives differ the strictest counts (section
// 4.2.1), so the target's own may stay beside private.
func (x *exchange) keepApart(h http.Header) {
	h["Vary"] = with(h["Vary"], varies)
	if x.route.Subject != upstream.SubjectRefused && x.subjectInPath == "" {
		h["Cache-Control"] = noStore
		return
	}
	h["Cache-Control"] = with(h["Cache-Control"], private)
}

// Values of headers that many answers share. Nobody changes them.
var (
	varies  = []string{subjectHeader + ", " + scopeHeader + ", " + routeHeader}
	noStore = []string{"no-store"}
	private = []string{"private"}
)

// with returns values and one more.
func with(values, one []string) []string {
	if len(values) == 0 {
		return one
	}
	return append(values, one...)
}

// tellScope names the scope of a token that was granted less than was asked for,
// so that it does not pass for all of it.
func (x *exchange) tellScope(h http.Header) {
	if granted := x.sent.Scope(); upstream.Narrower(granted, x.key.Scope) {
		h[scopeHeader] = []string{granted}
	}
}

// closeTunnel ends an upgraded connection to the target: ReverseProxy leaves it
// open if the upgrade fails on its way to the client.
func (x *exchange) closeTunnel() {
	if x.tunnel != nil {
		_ = x.tunnel.Close()
	}
}
