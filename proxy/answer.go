package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"token-sidecar/upstream"
)

// errAnswer is the error of an answer that no client could read in one way only.
var errAnswer = errors.New("the target's answer breaks HTTP")

// answered notes that the target sent the head of an answer, after so long.
func (x *exchange) answered(took time.Duration) {
	x.route.metrics.TargetAnswered(took)
	x.route.connections.answered()
}

// filter judges and changes the head of an answer before anything of it is passed on, and
// puts an answerBody in place of its body. It fails if the app must not have the answer.
func (x *exchange) filter(res *http.Response) error {
	if err := checkHead(res); err != nil {
		return err
	}
	if err := x.checkRedirect(res); err != nil {
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
	x.restrictCaching(res.Header)
	if granted := x.attempt.token.Scope(); upstream.Narrower(granted, x.key.Scope) {
		res.Header[scopeHeader] = []string{granted} // else it would pass for all that was asked for
	}
	if _, ok := res.Header["Content-Type"]; !ok {
		x.out.Header()["Content-Type"] = nil // else net/http guesses one
	}
	x.attempt.answer = answerBody{ReadCloser: res.Body, exchange: x, trailer: &res.Trailer, limit: bodyIdle}
	if res.ContentLength < 0 {
		x.attempt.answer.limit = streamIdle
	}
	res.Body = &x.attempt.answer
	return nil
}

// filterSwitch changes the head of an answer that switches to another protocol.
// ReverseProxy compares that with what was asked for.
func (x *exchange) filterSwitch(res *http.Response) {
	// ReverseProxy leaves the connection to the target open if the upgrade fails on its way
	// to the app.
	if both, ok := res.Body.(io.ReadWriteCloser); ok { // else ReverseProxy refuses the answer
		res.Body = newTunnel(both)
	}
	connection := res.Body
	context.AfterFunc(res.Request.Context(), func() { _ = connection.Close() })
	res.Status = "" // the text behind the number is the target's, and net/http has its own
	upgrade, switches := res.Header["Upgrade"], nominates(res.Header["Connection"], "Upgrade")
	x.scrub(res.Header)
	if switches && len(upgrade) > 0 {
		res.Header["Connection"], res.Header["Upgrade"] = []string{"Upgrade"}, upgrade[:1]
	}
}

const (
	// maxInformational is how many informational answers (1xx) to a request are passed on.
	maxInformational = 16
	// tooManyInformational is how many a target may send before the final one. A long job
	// that tells ten times a second that it goes on can do so for a quarter of an hour.
	tooManyInformational = 10_000
)

// filterInformational changes the head of an informational answer (RFC 9110 section 15.2):
// what is kept from the app in final answers is kept from it here. It reports false if the
// answer is not to be passed on, and an error if the target floods or breaks HTTP.
func (x *exchange) filterInformational(h http.Header) (bool, error) {
	x.informational++
	if x.informational > tooManyInformational {
		return false, errAnswer
	}
	if err := checkNames(h); err != nil {
		return false, err
	}
	if x.informational > maxInformational || !x.in.ProtoAtLeast(1, 1) { // HTTP/1.0 has none
		return false, nil
	}
	x.scrub(h)
	for _, name := range finalOnly {
		delete(h, name)
	}
	x.rewriteReferences(h)
	return true, nil
}

// finalOnly are headers that frame an answer or rule caches. In an informational one they
// mean nothing, or say something else than restrictCaching makes the final one say.
var finalOnly = []string{"Content-Length", "Cache-Control", "Expires", "Age", "Pragma", "Vary"}

// checkHead refuses an answer that net/http reads in one way and others may read in
// another: of a version that nobody speaks, since the first line of an answer over HTTP/1.1
// can say anything; with several lengths, or one that is not written as numbers are (RFC
// 9112 section 6.3), of which net/http over HTTP/2 makes sure of nothing; or with a space in
// a name, which net/http takes for a part of the name (section 5.1). A line that continues
// the one above (obs-fold) is no such case: net/http has replaced its beginning by one
// space, as section 5.2 allows.
func checkHead(res *http.Response) error {
	overHTTP2 := res.TLS != nil && res.TLS.NegotiatedProtocol == "h2"
	spoken := res.ProtoMajor == 1 && res.ProtoMinor <= 1 || res.ProtoMajor == 2 && overHTTP2
	length := res.Header["Content-Length"]
	if !spoken || len(length) > 1 || len(length) == 1 && !plainNumber(length[0]) {
		return errAnswer
	}
	return checkNames(res.Header)
}

// plainNumber reports whether s is a number without sign and leading zeros.
func plainNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 63)
	return err == nil && (s == "0" || s[0] != '0')
}

// checkNames refuses headers with a name that is none.
func checkNames(h http.Header) error {
	for name := range h {
		if !isToken(name) {
			return errAnswer
		}
	}
	return nil
}

// restrictCaching tells caches on the app's side whose answer this is. They see no
// Authorization header, so the rule of RFC 9111 section 3.5, which keeps
// answers to authorized requests out of shared caches, does not work for them:
// private states it. And they must not give one subject's answer to another:
// Vary (section 4.1) names the headers that choose the token; an answer whose
// URL does not tell whose it is must not be stored at all, since not all
// caches heed Vary. Where directives differ the strictest counts (section
// 4.2.1), so the target's own may stay beside private.
func (x *exchange) restrictCaching(h http.Header) {
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

// How long a target may send nothing within the body of an answer.
const (
	bodyIdle   = 5 * time.Minute // if its length is known: then it is ready when the answer begins
	streamIdle = 2 * time.Hour   // if not: it may be a stream of events that are far between
)

// answerBody is the body of an answer. It ends an answer that no longer moves, and scrubs
// the trailers, which are known once the body was read.
type answerBody struct {
	io.ReadCloser
	exchange *exchange
	trailer  *http.Header
	err      error         // that reading ended with before all was read
	limit    time.Duration // how long a read may wait
	flushes  bool          // on the general way: what has come is flushed before more is waited for
	idle     *time.Timer   // runs while a read waits, on the general way; nil before the first read
}

// Read implements [io.Reader].
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// read reads, and waits for limit at most. What the app has not been sent yet does not wait for it.
func (b *answerBody) read(p []byte) (int, error) {
	if b.exchange.attempt.conn != nil {
		if err := b.readyLean(); err != nil {
			return 0, err
		}
		return b.ReadCloser.Read(p)
	}
	if b.flushes && (b.idle != nil || b.limit == streamIdle) { // else a small body goes together with its head
		b.exchange.out.ResponseWriter.(http.Flusher).Flush()
	}
	if b.idle == nil {
		b.idle = time.AfterFunc(b.limit, func() { b.exchange.attempt.cancel(os.ErrDeadlineExceeded) })
	} else {
		b.idle.Reset(b.limit)
	}
	defer b.idle.Stop()
	return b.ReadCloser.Read(p)
}

// readyLean prepares a read on the lean way. If that has to wait for the target, it flushes
// what has come to the app, so that a stream arrives as it is sent, and bounds the wait. A
// read of a chunk that has not come whole waits, whatever has come of it.
func (b *answerBody) readyLean() error {
	x := b.exchange
	if !x.attempt.conn.Ready() {
		x.out.ResponseWriter.(http.Flusher).Flush() // that of net/http is one
	} else if b.limit == bodyIdle {
		return nil
	}
	_ = x.attempt.conn.SetReadDeadline(time.Now().Add(b.limit))
	// If the app left meanwhile, this has taken away the deadline that ended the connection.
	return x.in.Context().Err()
}

// Close implements [io.Closer].
func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.exchange.scrubTrailer(*b.trailer)
	return err
}
