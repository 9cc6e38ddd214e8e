package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"token-sidecar/upstream"
)

// F10: what waits for a connection longer than its token lives gets another
// token before it is sent, or is not sent.
func TestF10_TokenExpiresBeforeSending(t *testing.T) {
	for _, more := range []bool{true, false} {
		// Only the general way has a queue for connections.
		s := newSide(t, setup{config: func(c *Config) { c.general = true }})
		s.idp.answer = func(n int64) (int, string) {
			if n > 1 && !more {
				return 503, ""
			}
			return 200, tokenAnswer(n, map[bool]int{true: 1, false: 3600}[n == 1])
		}
		transport := s.proxy.routes["alpha"].connections.requests
		transport.MaxConnsPerHost = 1
		started, finish := make(chan bool), make(chan bool)
		s.up.play(func(r *upRequest) bool {
			if r.n == 1 {
				close(started)
				<-finish
			}
			r.say(ok("hello"))
			return true
		})
		first := make(chan answer)
		go func() { first <- s.get("/alpha/1") }()
		<-started
		second := make(chan answer)
		go func() { second <- s.get("/alpha/2") }()
		expired := time.Now().Add(1100 * time.Millisecond)
		eventually(t, "the end of the token", func() bool { return time.Now().After(expired) })
		close(finish)
		if a := <-first; a.status != 200 {
			t.Errorf("the first got %d", a.status)
		}
		a := <-second
		got := s.up.requests()
		if more {
			if a.status != 200 || len(got) != 2 {
				t.Fatalf("%d %s, %d requests", a.status, a.body, len(got))
			}
			got[1].authorized(t, tokenOf(s.idp.count.Load()))
		} else {
			a.problem(t, 503, "token_unavailable")
			if len(got) != 1 {
				t.Errorf("%d requests were sent", len(got))
			}
		}
	}
}

// F10, where the wait is for the connection to be made.
func TestF10_TokenExpiresDuringDial(t *testing.T) {
	target := newTLSTarget(t, 0)
	target.serve = func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto+" "+r.Header.Get("Authorization"))
	}
	for _, more := range []bool{true, false} {
		s := newSide(t, setup{config: func(c *Config) { c.Roots = target.roots["trusted"] }, upstreams: func(s *side) []upstream.Upstream {
			return []upstream.Upstream{s.oauth2("alpha", target.url)}
		}})
		s.idp.answer = func(n int64) (int, string) {
			if n > 1 && !more {
				return 503, ""
			}
			return 200, tokenAnswer(n, map[bool]int{true: 1, false: 3600}[n == 1])
		}
		// The dial takes longer than the token lives.
		slow := func(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
			return func(ctx context.Context, network, address string) (net.Conn, error) {
				<-time.After(1100 * time.Millisecond)
				return dial(ctx, network, address)
			}
		}
		to := s.proxy.routes["alpha"].connections
		to.lean.Dialer.DialContext = slow(to.lean.Dialer.DialContext)
		to.requests.DialTLSContext = slow(to.requests.DialTLSContext)
		before := target.served.Load()
		a := s.get("/alpha/x")
		if more {
			want := protocol() + " Bearer " + tokenOf(s.idp.count.Load())
			if a.status != 200 || a.body != want || s.idp.count.Load() < 2 {
				t.Errorf("%d %q, want %q", a.status, a.body, want)
			}
			continue
		}
		a.problem(t, 503, "token_unavailable")
		if target.served.Load() != before {
			t.Error("a request was sent")
		}
	}
}
