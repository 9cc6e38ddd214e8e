package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/upstream"
)

const stalledHead = " HTTP/1.1\r\nHost: localhost\r\n"

// A refused request is answered at once, and its connection ended, although its body
// never comes.
//
// Case P3.
func TestRefusalsDoNotWaitForTheBody(t *testing.T) {
	eitherWay(t)
	for _, c := range []struct {
		line   string
		status int
		code   string
	}{
		{"POST /alpha/x HTTP/1.1\r\nHost: localhost\r\n", 403, "caller_refused"},
		{"POST /none/x HTTP/1.1\r\nHost: localhost\r\nX-Sidecar-Token: right\r\n", 404, "unknown_route"},
		{"POST /alpha/../x HTTP/1.1\r\nHost: localhost\r\nX-Sidecar-Token: right\r\n", 400, "path_invalid"},
		{"TRACE /alpha/x HTTP/1.1\r\nHost: localhost\r\n", 405, "method_not_allowed"},
		{"PUT /alpha/x HTTP/1.1\r\nHost: elsewhere\r\n", 403, "host_not_allowed"},
	} {
		for _, framing := range []string{"Content-Length: 1000\r\n\r\nab", "Transfer-Encoding: chunked\r\n\r\n3\r\nab", "Content-Length: 100000000\r\n\r\nab"} {
			synctest.Test(t, func(t *testing.T) {
				s := newSide(t, setup{pipes: &pipes{}, config: func(config *Config) { config.CallerToken = upstream.NewSecret("right") }})
				began := time.Now()
				conn := s.dial(s.addr)
				conn.write(c.line + framing)
				a := conn.read("POST")
				if a.problem(t, c.status, c.code); !a.close || time.Since(began) != 0 {
					t.Errorf("%s: to be closed %t, after %v", c.code, a.close, time.Since(began))
				}
				conn.untilEOF()
				if took := time.Since(began); took > 2*lingerTime {
					t.Errorf("%s: the connection ended after %v", c.code, took)
				}
				s.untouched()
			})
		}
	}
}

// A body that stands still ends its request, with an answer, and frees the connection to the
// target. A body that moves slowly does not.
//
// Case P3.
func TestStalledBodiesEndTheirRequest(t *testing.T) {
	for name, c := range map[string]struct {
		head, part string
		moves      bool
	}{
		"small":          {"PUT /alpha/x" + stalledHead + "Content-Length: 10\r\n\r\n", "half.", false},
		"small, POST":    {"POST /alpha/x" + stalledHead + "Content-Length: 10\r\n\r\n", "half.", false},
		"large":          {"PUT /alpha/x" + stalledHead + "Content-Length: 1000000\r\n\r\n", "half.", false},
		"chunked":        {"POST /alpha/x" + stalledHead + "Transfer-Encoding: chunked\r\n\r\n", "5\r\nhalf.\r\n", false},
		"large, nothing": {"POST /alpha/x" + stalledHead + "Content-Length: 1000000\r\n\r\n", "", false},
		"moves":          {"POST /alpha/x" + stalledHead + "Transfer-Encoding: chunked\r\n\r\n", "5\r\nslow.\r\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSide(t, setup{pipes: &pipes{}, config: func(config *Config) { config.TargetTimeout = time.Second }})
				conn := s.dial(s.addr)
				conn.write(c.head + c.part)
				began := time.Now()
				if c.moves {
					for range 9 {
						time.Sleep(bodyTime - time.Millisecond)
						conn.write(c.part)
					}
					conn.write("0\r\n\r\n")
					if a := conn.read("POST"); a.status != 200 || len(s.up.last().body) != 50 {
						t.Errorf("%d, the target got %d bytes", a.status, len(s.up.last().body))
					}
					return
				}
				a := conn.read("POST")
				late := time.Since(began) - bodyTime
				if a.problem(t, 408, "body_timeout"); !a.close || late < 0 || late > leanGrace {
					t.Errorf("to be closed %t, after %v", a.close, time.Since(began))
				}
				conn.untilEOF()
				synctest.Wait()
				s.up.mu.Lock()
				defer s.up.mu.Unlock()
				if len(s.up.conns) != 0 {
					t.Error("the target's connection is kept")
				}
			})
		})
	}
}

// The memory for small bodies of all requests together is bounded. A body beyond the bound is
// sent on as it comes.
//
// Case P3.
func TestMemoryForKeptBodiesIsBounded(t *testing.T) {
	eitherWay(t)
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}})
		var all sync.WaitGroup
		const size = 64 << 10
		for range 2 * bodyBudget / size {
			all.Go(func() {
				conn := s.dial(s.addr)
				conn.write(fmt.Sprintf("PUT /alpha/x%sContent-Length: %d\r\n\r\nhalf", stalledHead, size))
				if a := conn.read("PUT"); a.status != 408 && a.status != 503 {
					t.Errorf("%d %s", a.status, a.body)
				}
			})
		}
		synctest.Wait()
		if n := s.proxy.keptBodies.Load(); n != bodyBudget {
			t.Errorf("%d bytes for small bodies, want all %d", n, bodyBudget)
		}
		all.Wait()
		synctest.Wait()
		if n := s.proxy.keptBodies.Load(); n != 0 {
			t.Errorf("%d bytes of the budget are not given back", n)
		}
		if a := s.send("PUT", "/alpha/x", "body"); a.status != 200 {
			t.Errorf("afterwards: %d", a.status)
		}
	})
}

// A request that finds no slot among those of its target waits for one for a moment, and is
// refused then.
//
// Case P10.
func TestWaitForASlotIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		bounded func(*connections) *slots
		request string
	}{
		"request": {func(c *connections) *slots { return &c.slots.requests }, "GET /alpha/x" + stalledHead + "\r\n"},
		"upload":  {func(c *connections) *slots { return &c.slots.uploads }, "POST /alpha/x" + stalledHead + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"},
		"upgrade": {func(c *connections) *slots { return &c.slots.upgrades }, "GET /alpha/x" + stalledHead + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}})
			*c.bounded(s.proxy.routes["alpha"].connections) = make(slots, 1)
			free := make(chan bool)
			s.up.play(func(r *upRequest) bool {
				<-free
				return hello(r)
			})
			first, second := s.dial(s.addr), s.dial(s.addr)
			first.write(c.request)
			synctest.Wait()
			began := time.Now()
			second.write(c.request)
			a := second.read("GET")
			if a.problem(t, 503, "target_busy"); time.Since(began) != slotWait || a.header.Get("Retry-After") != "1" {
				t.Errorf("%s: after %v, %v", name, time.Since(began), a.header)
			}
			close(free)
			if a := first.read("GET"); a.status != 200 {
				t.Errorf("%s: the first got %d", name, a.status)
			}
			if a := s.get("/alpha/x"); a.status != 200 {
				t.Errorf("%s: afterwards %d", name, a.status)
			}
		})
	}
}

// Once the sidecar has the body, it does not wait for a target that never answers 100 to
// Expect.
//
// Case P13.
func TestBodyIsSentWithoutWaitingForContinue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}})
		for _, method := range []string{"PUT", "POST"} {
			began := time.Now()
			conn := s.dial(s.addr)
			conn.write(method + " /alpha/x" + stalledHead + "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
			if line, err := conn.br.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
				t.Fatalf("%q, %v", line, err)
			}
			conn.write("body")
			_, _ = conn.br.ReadString('\n')
			a := conn.read(method)
			if a.status != 200 || time.Since(began) != 0 {
				t.Errorf("%s: %d after %v", method, a.status, time.Since(began))
			}
			if r := s.up.last(); r.header("expect") != nil || r.body != "body" {
				t.Errorf("%s: the target saw %q", method, r.head)
			}
		}
	})
}

// An answer that a target gives before it closes on the rest of the body arrives.
//
// Case P13.
func TestAnswerBeforeTheTargetClosesArrives(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(func(r *upRequest) bool {
		r.say("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
		return false // with bytes unread, which resets the connection
	})
	body := strings.Repeat("x", 8<<20)
	for range 30 {
		conn := dialRaw(t, s.addr)
		go conn.write(fmt.Sprintf("POST /alpha/x%sContent-Length: %d\r\n\r\n", stalledHead, len(body)) + body)
		if a := conn.read("POST"); a.status != 413 || a.body != "no" {
			t.Errorf("%d %q %v", a.status, a.body, a.err)
		}
		_ = conn.Close()
	}
}

// An answer of which the target sends nothing more for very long is broken off.
//
// Case P14.
func TestIdleAnswersEnd(t *testing.T) {
	for head, limit := range map[string]time.Duration{
		"Content-Length: 9\r\n\r\nhalf":                   bodyIdle,
		"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n": streamIdle,
		"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf":     streamIdle, // a chunk that is not whole
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}})
			s.up.play(func(r *upRequest) bool {
				r.say("HTTP/1.1 200 OK\r\n" + head)
				_, _ = r.br.ReadByte()
				return false
			})
			began := time.Now()
			if a := s.get("/alpha/x"); (a.broken == nil && a.err == nil) || time.Since(began) != limit {
				t.Errorf("%q after %v: %v", a.body, time.Since(began), a.broken)
			}
		})
	}
}

// halfDuplex is a connection each direction of which ends by itself.
type halfDuplex struct {
	net.Conn // for writing, and the rest
	in       net.Conn
}

func (c halfDuplex) Read(b []byte) (int, error)        { return c.in.Read(b) }
func (c halfDuplex) SetReadDeadline(t time.Time) error { return c.in.SetReadDeadline(t) }
func (c halfDuplex) Close() error {
	_ = c.in.Close()
	return c.Conn.Close()
}

// TestIdleTimeEndsWithItsAnswer: the time that an answer had to go on does not bound the
// next one on its connection.
func TestIdleTimeEndsWithItsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}, config: func(c *Config) { c.TargetTimeout = 3 * streamIdle }})
		s.up.play(func(r *upRequest) bool {
			if r.n > 1 {
				time.Sleep(2 * streamIdle)
				return hello(r)
			}
			r.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
			time.Sleep(time.Second)
			r.say("0\r\n\r\n")
			return true
		})
		for _, want := range []string{"half", "hello"} {
			if a := s.get("/alpha/x"); a.body != want || a.broken != nil {
				t.Errorf("%d %q %v, want %s", a.status, a.body, a.broken, want)
			}
		}
	})
}

// TestTimeForTheHeadBoundsNothingElse: the time within which the head of an answer must come
// bounds neither the rest of its body nor the next request on its connection.
func TestTimeForTheHeadBoundsNothingElse(t *testing.T) {
	const timeout = time.Second
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}, config: func(c *Config) { c.TargetTimeout = timeout }})
		s.up.play(func(r *upRequest) bool {
			parts := []string{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo", "dy"}
			if r.n == 3 {
				parts = []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4", "\r\nbody\r\n0\r\n\r\n"}
			}
			r.say(parts[0])
			if r.n > 1 { // the first comes in one piece
				time.Sleep(3 * timeout)
			}
			r.say(parts[1])
			return true
		})
		for n := range 4 {
			if a := s.get("/alpha/x"); a.body != "body" || a.broken != nil {
				t.Errorf("request %d: %d %q %v", n+1, a.status, a.body, a.broken)
			}
			time.Sleep(3 * timeout)
		}
		if got := s.up.requests(); !*general && got[3].Conn != got[0].Conn {
			t.Error("the connection was not kept")
		}
	})
}

// A client that ends its direction with its request gets its answer; one whose end
// comes later, or within its body, has left.
//
// Case P14.
func TestHalfClosedClientsGetTheirAnswer(t *testing.T) {
	const request = "GET /alpha/x" + stalledHead + "\r\n"
	for name, c := range map[string]struct {
		sent    string
		after   time.Duration
		answers int
	}{
		"with the request":     {request, 0, 1},
		"with two requests":    {request + request, 0, 2},
		"with a body":          {"PUT /alpha/x" + stalledHead + "Content-Length: 4\r\n\r\nbody", 0, 1},
		"with an upload":       {"POST /alpha/x" + stalledHead + "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", 0, 1},
		"later":                {request, 2 * halfCloseTime, 0},
		"within a body":        {"PUT /alpha/x" + stalledHead + "Content-Length: 4\r\n\r\nbo", 0, 0},
		"within a large body":  {"PUT /alpha/x" + stalledHead + "Content-Length: 400000\r\n\r\nbo", 0, 0},
		"within a head (none)": {"GET /alpha", 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}})
			s.up.play(func(r *upRequest) bool {
				r.readBody()
				time.Sleep(time.Minute / 2)
				return hello(r)
			})
			toServer, serverIn := net.Pipe()
			fromServer, serverOut := net.Pipe()
			l := &oneListener{conn: halfDuplex{serverOut, serverIn}, closed: make(chan struct{})}
			serveOn(t, l, s.proxy.Handler())
			_, _ = io.WriteString(toServer, c.sent)
			time.Sleep(c.after)
			_ = toServer.Close()
			ended := time.Now()
			client := rawOn(t, fromServer)
			for n := range c.answers {
				if a := client.read("GET"); a.body != "hello" {
					t.Errorf("ended %s: answer %d is %d %q %v", name, n+1, a.status, a.body, a.err)
				}
			}
			client.untilEOF()
			if took := time.Since(ended); c.answers == 0 && took > lingerTime {
				t.Errorf("ended %s: noticed after %v", name, took)
			}
			synctest.Wait()
			if strings.Contains(s.log.String(), `"status":408`) {
				t.Errorf("ended %s: taken for a body that stands still: %s", name, s.log)
			}
		})
	}
}

// oneListener accepts one connection.
type oneListener struct {
	conn   net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *oneListener) Accept() (net.Conn, error) {
	var c net.Conn
	l.once.Do(func() { c = l.conn })
	if c != nil {
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *oneListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
