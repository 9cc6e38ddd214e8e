package proxy

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"token-sidecar/upstream"
)

// forwardLean sends the request over an HTTP/1.1 connection of its key, and the answer to
// the app. If it fails it has answered nothing, unless it panics. It returns
// targetconn.ErrNotHTTP1 if the request has to go the general way.
func (x *exchange) forwardLean() error {
	token, err := x.getToken()
	if err != nil {
		return tokenError{err}
	}
	res, err := x.sendLean(token)
	if err == nil && refusesToken(res) {
		if next, ok := x.replaceToken(); ok {
			x.attempt.over.kept.Drop(x.attempt.conn) // its answer stays unread, since it may never end
			res, err = x.sendLean(next)
		}
	}
	if err != nil {
		return err
	}
	reusable := false
	defer func() {
		if reusable {
			x.attempt.over.kept.Put(x.attempt.conn)
		} else {
			x.attempt.over.kept.Drop(x.attempt.conn)
		}
	}()
	if err := x.filter(res); err != nil {
		return err
	}
	if err := x.answerLean(res); err != nil {
		panic(http.ErrAbortHandler) // a part must not pass for the whole
	}
	reusable = !res.Close && x.attempt.conn.Finish()
	return nil
}

// sendLean sends the request with a token and reads the head of the answer. A kept
// connection may turn out to be dead: if nothing came back on it, and sending twice does no
// harm, the request is sent again on a new one (RFC 9110 section 9.2.2). Unless it fails,
// x.attempt.conn is the connection, on which the answer's body is still to be read.
func (x *exchange) sendLean(token upstream.Token) (*http.Response, error) {
	ctx := x.in.Context()
	x.attempt = attempt{token: token}
	for kept := true; ; kept = false {
		if err := x.getFields(); err != nil {
			return nil, err
		}
		x.attempt.over = x.route.connections.sets.of(x.attempt.token)
		pool := x.attempt.over.kept
		c, err := pool.Get(ctx, x.key, kept)
		if err != nil {
			return nil, err
		}
		if err := x.audit(eventSent); err != nil {
			pool.Put(c)
			return nil, err
		}
		now := time.Now()
		if !now.Before(x.attempt.token.Expiry()) { // the connection took its time
			if x.attempt.token, err = x.getToken(); err != nil {
				pool.Put(c)
				return nil, tokenError{err}
			}
			if x.route.connections.sets.of(x.attempt.token) != x.attempt.over {
				pool.Put(c) // it presents another client certificate
				continue
			}
			now = time.Now()
		}
		_ = c.SetDeadline(now.Add(x.proxy.config.TargetTimeout)) // before Begin, which may end the connection at once
		c.Begin(ctx)
		x.attempt.conn = c
		res, err := x.roundTripLean(now)
		if err == nil {
			return res, nil
		}
		again := c.Reused() && !c.Answered() && ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) &&
			slices.Contains(safeMethods, x.in.Method)
		pool.Drop(c)
		if !again {
			return nil, err
		}
	}
}

// safeMethods are those of which a request asks for no change (RFC 9110 section 9.2.1), so
// that net/http's Transport, too, sends it again when a kept connection breaks.
var safeMethods = []string{http.MethodGet, http.MethodHead, http.MethodOptions}

// roundTripLean writes the request to the connection and reads the head of its answer, passing
// informational answers on.
func (x *exchange) roundTripLean(began time.Time) (*http.Response, error) {
	c := x.attempt.conn
	x.writeHead(c.Writer())
	if x.upload != nil {
		_, _ = c.Writer().Write(x.upload.kept)
	}
	// If the target no longer reads it may have answered already, with 413 for
	// instance: what it sent is there to be read.
	unsent := c.Writer().Flush()
	for {
		res, err := c.ReadHead(x.in.Method)
		if err != nil {
			return nil, cmp.Or(unsent, err)
		}
		res.Close = res.Close || unsent != nil
		switch {
		case res.StatusCode == http.StatusSwitchingProtocols, res.StatusCode < 100:
			return nil, errAnswer // it was not asked to switch
		case res.StatusCode >= 200:
			x.answered(time.Since(began))
			// A body may take any time. answerBody bounds the wait for more of it, which a
			// body in chunks may do within one Read. If the app left meanwhile, the
			// deadline that ends the connection must not be taken away again.
			if res.ContentLength < 0 {
				_ = c.SetDeadline(time.Time{})
			}
			return res, x.in.Context().Err()
		}
		if pass, err := x.filterInformational(res.Header); err != nil {
			return nil, err
		} else if pass {
			maps.Copy(x.out.Header(), res.Header)
			x.out.WriteHeader(res.StatusCode)
			clear(x.out.Header())
		}
	}
}

// copyBody sends the body of the answer to the app as it comes: what is there already is sent
// together, and nothing of it waits for more.
func (x *exchange) copyBody(res *http.Response) error {
	buffer := buffers.Get()
	defer buffers.Put(buffer)
	if res.ContentLength > bufferSize {
		ahead := buffers.Get()
		defer buffers.Put(ahead)
		x.attempt.conn.ReadAhead(ahead)
		defer x.attempt.conn.ReadAhead(nil)
	}
	for have := 0; ; {
		n, err := res.Body.Read(buffer[have:])
		if have += n; err == nil && have < len(buffer) && x.attempt.conn.Ready() {
			continue
		}
		if _, broken := x.out.Write(buffer[:have]); broken != nil {
			return broken
		}
		if have = 0; err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// answerLean sends the answer to the app.
func (x *exchange) answerLean(res *http.Response) error {
	h := x.out.useHeader(res.Header)
	if len(res.Trailer) > 0 {
		h["Trailer"] = []string{strings.Join(slices.Collect(maps.Keys(res.Trailer)), ", ")}
	}
	x.out.WriteHeader(res.StatusCode)
	if whole := x.attempt.conn.WholeBody(res); whole != nil {
		if _, err := x.out.Write(whole); err != nil {
			return err
		}
	} else if x.attempt.answer.ReadCloser != http.NoBody {
		if err := x.copyBody(res); err != nil {
			return err
		}
	}
	_ = res.Body.Close() // all is read: this only fills the trailers in
	if len(res.Trailer) > 0 {
		// Else net/http counts a short body and leaves no room for trailers.
		_ = http.NewResponseController(&x.out).Flush()
	}
	for name, values := range res.Trailer { // those that were not announced, too
		x.out.Header()[http.TrailerPrefix+name] = values
	}
	return nil
}
