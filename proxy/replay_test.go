package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/upstream"
)

const unauthorized = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer error=\"invalid_token\"\r\nContent-Length: 4\r\n\r\nnope"

// refuseFirst answers 401 to the first n requests.
func (u *up) refuseFirst(n int) {
	u.play(func(r *upRequest) bool {
		r.readBody()
		if r.n <= n {
			r.say(unauthorized)
		} else {
			r.say(ok("hello"))
		}
		return true
	})
}

// warm makes one request, so that there is a token and a connection.
func (s *side) warm() {
	s.t.Helper()
	if a := s.get("/alpha/warm"); a.status != 200 {
		s.t.Fatalf("warming up: %d %s", a.status, a.body)
	}
	s.up.mu.Lock()
	s.up.got = nil
	s.up.mu.Unlock()
}

func Test401IsReplayedWithAnotherToken(t *testing.T) {
	for _, c := range []struct{ method, body, line string }{
		{"GET", "", ""}, {"HEAD", "", ""}, {"OPTIONS", "", ""}, {"DELETE", "", ""}, {"PUT", "", ""},
		{"PUT", "a\x00b\r\nc", ""}, {"PUT", strings.Repeat("x", 64<<10), "Content-Type: a/b"}, {"DELETE", "body", ""},
		{"GET", "body", ""}, {"PUT", "body", "Idempotency-Key: 1"},
	} {
		s := newSide(t, setup{})
		s.warm()
		s.up.refuseFirst(1)
		lines := []string{"X-Kept: 1"}
		if c.line != "" {
			lines = append(lines, c.line)
		}
		a := s.send(c.method, "/alpha/x?y", c.body, lines...)
		if a.status != 200 {
			t.Errorf("%s: %d", c.method, a.status)
		}
		got := s.up.requests()
		if len(got) != 2 || s.idp.count.Load() != 2 {
			t.Fatalf("%s: %d requests, %d token requests", c.method, len(got), s.idp.count.Load())
		}
		got[0].authorized(t, tokenOf(1))
		got[1].authorized(t, tokenOf(2))
		if got[0].body != c.body || got[1].body != c.body || !got[1].bodyOK {
			t.Errorf("%s: bodies of %d and %d bytes, want %d", c.method, len(got[0].body), len(got[1].body), len(c.body))
		}
		if sortedLines(strings.Replace(got[0].head, tokenOf(1), tokenOf(2), 1)) != sortedLines(got[1].head) {
			t.Errorf("%s: sent %q, then %q", c.method, got[0].head, got[1].head)
		}
	}
}

// Case F7.
func TestBodiesThatAreNotKeptAreNotReplayed(t *testing.T) {
	chunked := "Transfer-Encoding: chunked"
	for _, c := range []struct{ method, body, line string }{
		{"POST", "", ""}, {"POST", "small", ""}, {"PATCH", "small", ""}, {"POST", "small", "Idempotency-Key: 1"},
		{"POST", "", "Idempotency-Key: 1"}, {"BREW", "", ""}, {"PUT", strings.Repeat("x", 64<<10+1), ""}, {"PUT", "5\r\nsmall\r\n0\r\n\r\n", chunked},
		{"GET", "5\r\nsmall\r\n0\r\n\r\n", chunked}, {"POST", "5\r\nsmall\r\n0\r\n\r\n", chunked},
	} {
		s := newSide(t, setup{})
		s.warm()
		s.up.refuseFirst(100)
		var a answer
		if c.line == chunked {
			conn := dialRaw(t, s.addr)
			conn.write(c.method + " /alpha/x HTTP/1.1\r\nHost: localhost\r\n" + chunked + "\r\n\r\n" + c.body)
			a = conn.read(c.method)
			c.body = "small"
		} else if c.line != "" {
			a = s.send(c.method, "/alpha/x", c.body, c.line)
		} else {
			a = s.send(c.method, "/alpha/x", c.body)
		}
		if a.status != 401 || a.body != "nope" || a.header.Get("Www-Authenticate") != `Bearer error="invalid_token"` {
			t.Errorf("%s: %d %q %v", c.method, a.status, a.body, a.header)
		}
		if got := s.up.requests(); len(got) != 1 || got[0].body != c.body {
			t.Errorf("%s: %d requests", c.method, len(got))
		}
		eventually(t, "a better token for the next request", func() bool { return s.idp.count.Load() == 2 })
	}
}

func TestSecond401ReachesTheApp(t *testing.T) {
	s := newSide(t, setup{})
	s.warm()
	s.up.refuseFirst(100)
	if a := s.get("/alpha/x"); a.status != 401 || a.body != "nope" {
		t.Errorf("%d %q", a.status, a.body)
	}
	if got := s.up.requests(); len(got) != 2 || s.idp.count.Load() != 2 {
		t.Errorf("%d requests, %d token requests, want one replay and no more", len(got), s.idp.count.Load())
	}
}

func Test401WithoutAnotherTokenReachesTheApp(t *testing.T) {
	for _, answer := range []func(int64) (upstream.Token, error){
		func(int64) (upstream.Token, error) { return newToken(1, "", time.Hour) }, // the same again
		func(n int64) (upstream.Token, error) {
			if n == 1 {
				return newToken(1, "", time.Hour)
			}
			return unavailable()
		},
	} {
		s := newSide(t, setup{})
		s.idp.answer = answer
		s.warm()
		s.up.refuseFirst(100)
		if a := s.get("/alpha/x"); a.status != 401 || a.body != "nope" {
			t.Errorf("%d %q", a.status, a.body)
		}
		if got := s.up.requests(); len(got) != 1 {
			t.Errorf("%d requests", len(got))
		}
	}
}

// TestEndlessBodyOfA401DoesNotDelayItsReplay: the body of a 401 is not read before the request
// is sent again.
func TestEndlessBodyOfA401DoesNotDelayItsReplay(t *testing.T) {
	s := newSide(t, setup{})
	s.warm()
	s.up.play(func(r *upRequest) bool {
		if r.n > 1 {
			return hello(r)
		}
		r.say("HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n")
		_, _ = r.Read(make([]byte, 1)) // until the sidecar lets go
		return false
	})
	if a := s.get("/alpha/x"); a.status != 200 {
		t.Errorf("%d %q %v", a.status, a.body, a.err)
	}
}

// TestConstant401sCostFewTokenRequests has a target refuse whatever it is sent, 200 times a second. That costs a
// token request at the first 401, and then one when half a minute has passed.
func TestConstant401sCostFewTokenRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}})
		s.warm()
		s.up.refuseFirst(1 << 30)
		c := s.client()
		var wrong atomic.Int64
		refused := func(n int) {
			var wg sync.WaitGroup
			for i := range n {
				time.Sleep(5 * time.Millisecond)
				wg.Go(func() {
					method := []string{"GET", "POST", "PUT"}[i%3]
					req, _ := http.NewRequest(method, "http://"+s.addr+"/alpha/x", nil)
					res, err := c.Do(req)
					if err != nil {
						wrong.Add(1)
						return
					}
					b, _ := io.ReadAll(res.Body)
					_ = res.Body.Close()
					if res.StatusCode != 401 || string(b) != "nope" {
						wrong.Add(1)
					}
				})
			}
			wg.Wait()
		}
		const perSecond = 200
		for _, c := range []struct {
			requests int
			tokens   int64
		}{{3*perSecond - 20, 3}, {0, 3}, {perSecond, 4}} { // at once, a second later, and no sooner than two later
			if c.requests == 0 {
				time.Sleep(27 * time.Second)
				continue
			}
			refused(c.requests)
			if n := s.idp.count.Load(); n != c.tokens {
				t.Errorf("%d token requests, want %d", n, c.tokens)
			}
		}
		if n := wrong.Load(); n != 0 {
			t.Errorf("%d requests did not get the target's 401", n)
		}
	})
}

func TestOtherStatusesMakeNoTokenRequest(t *testing.T) {
	for _, status := range []int{400, 403, 407, 408, 429, 500, 502, 503, 504} {
		s := newSide(t, setup{})
		s.warm()
		s.up.say(fmt.Sprintf("HTTP/1.1 %d X\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno", status))
		for range 20 {
			if a := s.get("/alpha/x"); a.status != status || a.body != "no" || a.header.Get("Retry-After") != "7" {
				t.Fatalf("%d became %d %q", status, a.status, a.body)
			}
		}
		if n := s.idp.count.Load(); n != 1 || len(s.up.requests()) != 20 {
			t.Errorf("%d: %d token requests, %d requests", status, n, len(s.up.requests()))
		}
	}
}

func TestTimeoutIsNotReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 7 * time.Second
		s := newSide(t, setup{pipes: &pipes{}, config: func(c *Config) { c.TargetTimeout = limit }})
		s.warm()
		s.up.play(func(r *upRequest) bool {
			r.readBody()
			_, _ = r.br.ReadByte()
			return false
		})
		for _, method := range []string{"GET", "PUT"} {
			began, body := time.Now(), ""
			if method == "PUT" {
				body = "body"
			}
			s.send(method, "/alpha/x", body).problem(t, 504, "target_timeout")
			if took := time.Since(began); took != limit {
				t.Errorf("%s: given up after %v, want %v", method, took, limit)
			}
		}
		if n := len(s.up.requests()); n != 2 {
			t.Errorf("%d requests, want two", n)
		}
	})
}

// If a kept connection ends just as a request is sent on it, the request is sent again only
// if that does no harm.
//
// Case G7.
func TestNoRequestWithABodyIsSentTwice(t *testing.T) {
	for _, c := range []struct {
		method, body string
		lines        []string
		atMost       int
	}{
		{"POST", "", nil, 1}, {"POST", "", []string{"Idempotency-Key: 1"}, 1}, {"POST", "", []string{"X-Idempotency-Key: 1"}, 1},
		{"POST", "b", []string{"Idempotency-Key: 1"}, 1}, {"PATCH", "b", nil, 1}, {"PUT", "b", nil, 1},
		{"PUT", "b", []string{"Idempotency-Key: 1"}, 1}, {"DELETE", "", []string{"idempotency-key: 1"}, 1}, {"GET", "", nil, 2},
	} {
		s := newSide(t, setup{})
		s.warm()
		s.up.play(func(r *upRequest) bool {
			r.readBody()
			if r.n == 1 {
				return false // close without an answer
			}
			r.say(ok("second"))
			return true
		})
		a := s.send(c.method, "/alpha/x", c.body, c.lines...)
		got := s.up.requests()
		if *general {
			c.atMost = 1 // it keeps no connection that could die so
		}
		if len(got) != c.atMost {
			t.Errorf("%s %q: sent %d times", c.method, c.lines, len(got))
		}
		if c.atMost == 1 {
			a.problem(t, 502, "target_unreachable")
		} else if a.status != 200 {
			t.Errorf("%s: %d", c.method, a.status)
		}
		if len(c.lines) > 0 && len(got[0].header(strings.ToLower(strings.TrimSuffix(c.lines[0], ": 1")))) != 1 {
			t.Errorf("the key is not passed on: %q", got[0].head)
		}
	}
}
