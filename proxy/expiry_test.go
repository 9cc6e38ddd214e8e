package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/upstream"
)

// lapse is one way in which a request waits for its connection while its token ends.
type lapse struct {
	wait time.Duration // for the connection
	more bool          // there is another token
}

const tokenLife = time.Hour

// lapses has a request that waits until just before the end of its token, and some that
// wait to the very end of it.
func lapses() []lapse {
	return []lapse{{tokenLife - time.Microsecond, true}, {tokenLife, true}, {tokenLife, false}}
}

// issue has the first token of s live for tokenLife, and others for a day if there are any.
func (l lapse) issue(s *side) {
	s.idp.answer = func(n int64) (upstream.Token, error) {
		switch {
		case n == 1:
			return newToken(n, "", tokenLife)
		case l.more:
			return newToken(n, "", 24*time.Hour)
		}
		return unavailable()
	}
}

// want returns the token that is to be sent, "" if none is.
func (l lapse) want(s *side) string {
	switch {
	case l.wait < tokenLife:
		return tokenOf(1)
	case l.more:
		return tokenOf(s.idp.count.Load())
	}
	return ""
}

// What waits for its connection for longer than its token lives gets another token
// before it is sent, or is not sent.
//
// Case F10.
func TestTokenThatExpiresDuringDialIsNotSent(t *testing.T) {
	const upload = "POST /alpha/x" + stalledHead + "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
	for request, proto := range map[string]string{"GET /alpha/x" + stalledHead + "\r\n": protocol(), upload: "HTTP/2.0"} {
		for _, c := range lapses() {
			synctest.Test(t, func(t *testing.T) {
				network := &pipes{}
				target := newTLSTargetOn(t, network.listen(), 0)
				target.serve = func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(w, r.Proto+" "+r.Header.Get("Authorization"))
				}
				s := newSide(t, setup{pipes: network, config: func(c *Config) { c.Roots = target.roots["trusted"] },
					upstreams: func(s *side) []upstream.Upstream { return []upstream.Upstream{s.oauth2("alpha", target.url)} }})
				c.issue(s)
				s.useDialer(func(ctx context.Context, network, address string) (net.Conn, error) {
					time.Sleep(c.wait)
					return s.pipes.DialContext(ctx, network, address)
				})
				conn := s.dial(s.addr)
				conn.write(request)
				a := conn.read("GET")
				if want := c.want(s); want != "" {
					if want = proto + " Bearer " + want; a.status != 200 || a.body != want {
						t.Errorf("%+v: %d %q, want %q", c, a.status, a.body, want)
					}
					return
				}
				a.problem(t, 503, "token_unavailable")
				if target.served.Load() != 0 {
					t.Error("a request was sent")
				}
				time.Sleep(time.Second) // net/http lingers after an answer that comes before the body
			})
		}
	}
}
