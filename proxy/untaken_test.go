package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/upstream"
)

// subjectsOver starts a target over TLS, and a side that forwards to it requests of subjects.
func subjectsOver(t *testing.T, serve http.HandlerFunc) *side {
	network := &pipes{}
	target := newTLSTargetOn(t, network.listen(), 0)
	target.serve = serve
	return newSide(t, setup{pipes: network, config: func(c *Config) { c.Roots = target.roots["trusted"] }, upstreams: func(*side) []upstream.Upstream {
		return []upstream.Upstream{subjects(target.url)}
	}})
}

// endless answers with a body that goes on until nobody takes more of it, unless a small one is
// asked for.
func endless(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/small") {
		_, _ = io.WriteString(w, strings.Repeat("s", 100<<10))
		return
	}
	w.Header().Set("Content-Length", "1000000000000")
	for err := error(nil); err == nil; {
		_, err = w.Write(make([]byte, 64<<10))
	}
}

// Apps that do not read what they have asked for keep no answer of another subject from coming,
// however many they are: over HTTP/2 all answers share a few connections.
//
// Case P21.
func TestUnreadAnswersKeepNoOthersFromComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := subjectsOver(t, endless)
		for n := range 200 {
			c := s.dial(s.addr)
			c.write(fmt.Sprintf("GET /mydatahelps.participant/x%s%s: s%d\r\n\r\n", stalledHead, subjectHeader, n))
			if _, err := http.ReadResponse(c.br, nil); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if a := s.get("/mydatahelps.participant/small", subjectHeader+": other"); a.status != 200 || len(a.body) != 100<<10 || a.err != nil {
			t.Errorf("%d, %d bytes, %v", a.status, len(a.body), a.err)
		}
	})
}

// An app that takes nothing of its answer for five minutes counts as gone, on each way: the exchange
// with the target ends. One that takes some of it now and then does not.
//
// Case P21.
func TestAppsThatTakeNothingCountAsGone(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) (s *side, request string){
		"plain": func(t *testing.T) (*side, string) {
			s := newSide(t, setup{pipes: &pipes{}})
			s.up.play(func(r *upRequest) bool {
				r.say("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + strings.Repeat("x", 1<<20))
				return false
			})
			return s, "GET /alpha/x" + stalledHead + "\r\n"
		},
		"HTTP/2": func(t *testing.T) (*side, string) {
			return subjectsOver(t, endless), "GET /mydatahelps.participant/x" + stalledHead + subjectHeader + ": alice\r\n\r\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, request := start(t)
				c := s.dial(s.addr)
				_ = c.SetDeadline(time.Time{})
				c.write(request)
				if _, err := http.ReadResponse(c.br, nil); err != nil {
					t.Fatal(err)
				}
				for range 6 {
					time.Sleep(2 * time.Minute)
					if _, err := io.ReadFull(c.br, make([]byte, 64<<10)); err != nil {
						t.Fatal(err)
					}
				}
				s.endsUntaken(`"problem":"client_stalled"`)
			})
		})
	}
}

// That it has taken an answer just before, on the same connection, makes no difference.
//
// Case P21.
func TestAppsThatTakeNothingOfALaterAnswerCountAsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := subjectsOver(t, endless)
		c := s.dial(s.addr)
		_ = c.SetDeadline(time.Time{})
		const head = stalledHead + subjectHeader + ": alice\r\n\r\n"
		c.write("GET /mydatahelps.participant/small" + head)
		if a := c.read("GET"); a.status != 200 {
			t.Fatal(a)
		}
		_ = c.SetDeadline(time.Time{})
		c.write("GET /mydatahelps.participant/x" + head)
		s.endsUntaken(`"problem":"client_stalled"`)
	})
}

// An app that takes nothing of what comes over its WebSocket counts as gone, too. An informational
// answer just before has no part in that.
//
// Case P21.
func TestWebSocketsThatTakeNothingEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}})
		s.up.play(func(r *upRequest) bool {
			r.say("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			for err := error(nil); err == nil; {
				_, err = r.Conn.Write(make([]byte, 1<<10))
			}
			return false
		})
		c := s.dial(s.addr)
		_ = c.SetDeadline(time.Time{})
		c.write("GET /alpha/x" + stalledHead + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		for _, want := range []int{103, 101} {
			if res, err := http.ReadResponse(c.br, nil); err != nil || res.StatusCode != want {
				t.Fatal(res, err)
			}
		}
		s.endsUntaken(`"status":101`)
	})
}

// endsUntaken waits until the log says so of an exchange that has ended, which must be when the app
// has taken nothing for as long as it may.
func (s *side) endsUntaken(says string) {
	s.t.Helper()
	began := time.Now()
	for !strings.Contains(s.log.String(), says) {
		time.Sleep(time.Second)
		if time.Since(began) > time.Hour {
			s.t.Fatal("the exchange does not end")
		}
	}
	if took := time.Since(began); took < untakenTime-20*time.Second || took > untakenTime+time.Second {
		s.t.Errorf("the exchange ended after %v", took)
	}
}

// An answer that ends too early has a line in the log, and a count, that say whose fault it was.
//
// Case P22.
func TestAnswersThatBreakOffAreTold(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\n"
	for name, c := range map[string]struct {
		answer  string // of the target, which closes the connection behind it
		stays   bool   // it does not
		leaves  bool   // the app does
		problem string
	}{
		"shorter than its length": {answer: head + "Content-Length: 10000\r\n\r\n" + strings.Repeat("x", 9000), problem: `"answer_incomplete","cause":"connection_terminated"`},
		"without the last chunk":  {answer: head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", problem: `"answer_incomplete","cause":"connection_terminated"`},
		"not in chunks":           {answer: head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nno number\r\n", problem: `"answer_incomplete","cause":"http_protocol_error"`},
		"trailers too large": {answer: head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Large: " + strings.Repeat("x", 2<<20) + "\r\n\r\n",
			problem: `"answer_incomplete","cause":"http_protocol_error"`},
		"stands still":   {answer: head + "Content-Length: 100\r\n\r\nhello", stays: true, problem: `"answer_incomplete","cause":"http_response_timeout"`},
		"the app leaves": {answer: head + "Content-Length: 100\r\n\r\nhello", stays: true, leaves: true, problem: `"client_closed"`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSide(t, setup{pipes: &pipes{}})
				s.up.play(func(r *upRequest) bool {
					r.say(c.answer)
					return c.stays
				})
				conn := s.dial(s.addr)
				_ = conn.SetDeadline(time.Time{})
				conn.write("GET /alpha/x" + stalledHead + "\r\n")
				if c.leaves {
					time.Sleep(time.Second)
					_ = conn.Close()
				} else if res, err := http.ReadResponse(conn.br, nil); err != nil {
					t.Fatal(err)
				} else if _, err := io.Copy(io.Discard, res.Body); err == nil {
					t.Error("the answer looks whole")
				}
				time.Sleep(time.Minute)
				if log := s.log.String(); !strings.Contains(log, `"status":200`) || !strings.Contains(log, `"problem":`+c.problem) {
					t.Error(log)
				}
			})
		})
	}
}
