package proxy

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/proxy/internal/http1"
)

// wireLaterFaults are what may follow good chunks and breaks the grammar.
func wireLaterFaults() (faults []string) {
	for _, line := range wireFaultySizes {
		faults = append(faults, line+"0\r\n\r\n")
	}
	for _, end := range wireFaultyEnds {
		faults = append(faults, "5\r\nhello"+end)
	}
	for _, trailers := range wireFaultyTrailers {
		faults = append(faults, "0\r\n"+trailers)
	}
	return append(faults, strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nb\r\n", 20)+"0\r\n\r\n", wireNext)
}

// TestWireFaultyLaterChunksEndNoBody: a malformed chunk behind good ones, which the target has got
// already, cuts the connection to the target. The body never ends there, and the app is told.
//
// Case A8.
func TestWireFaultyLaterChunksEndNoBody(t *testing.T) {
	const head = "POST /alpha/x HTTP/1.1\r\n" + wireHost + "Transfer-Encoding: chunked\r\n\r\n"
	for i, fault := range wireLaterFaults() {
		t.Run(wireName(i, fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSide(t, setup{pipes: &pipes{}})
				target := watch(s, func(*upRequest) string { return ok("hello") })
				fails := time.Now().Add(2 * wirePause)
				got, _ := s.dial(s.addr).converse(head+"5\r\nfirst\r\n", "", "6\r\nsecond\r\n", "", fault+wireNext)
				if late := time.Since(fails); late > time.Second {
					t.Errorf("the app's connection ends %v behind the fault", late)
				}
				bodyRefused(t, got)
				time.Sleep(time.Minute)
				seen := target.all()
				if len(seen) != 1 || !strings.HasPrefix(seen[0].body, "firstsecond") {
					t.Fatalf("the target saw %d requests", len(seen))
				}
				if late := seen[0].ended.Sub(fails); late < 0 || late > time.Second {
					t.Errorf("the target's connection ends %v behind the fault", late)
				}
				neverWhole(t, seen)
				wellFormed(t, seen[0].raw)
			})
		})
	}
}

// bodyRefused fails the test if what an app got is not the problem of its body.
func bodyRefused(t *testing.T, got string) {
	t.Helper()
	if answers, err := wireAnswers(got, "POST"); err != nil || len(answers) != 1 {
		t.Errorf("the app got %q (%v)", got, err)
	} else {
		answers[0].problem(t, 400, "body_incomplete")
	}
}

// wellFormed fails the test if the chunks that a target got could not have been the beginning of a
// body.
func wellFormed(t *testing.T, raw string) {
	t.Helper()
	var chunks http1.Chunks
	if n, err := chunks.Check([]byte(raw)); err != nil || chunks.Done() {
		t.Errorf("the target got %q and then %q (%v)", raw[:n], raw[n:], err)
	}
}

// TestWireSlowChunksAreServed: a body in chunks of which each byte comes some seconds after the one
// before is sent on whole.
func TestWireSlowChunksAreServed(t *testing.T) {
	for body, data := range map[string]string{
		"0\r\n\r\n": "", "5\r\nhello\r\n0\r\n\r\n": "hello", "5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-A: b\r\n\r\n": "hello!",
		"3\r\na\r\n\r\n" + strings.Repeat("1\r\nb\r\n", 20) + "0\r\n\r\n": "a\r\n" + strings.Repeat("b", 20),
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}})
			target := watch(s, func(*upRequest) string { return ok("hello") })
			began := time.Now()
			c := s.dial(s.addr)
			go func() {
				c.write("POST /alpha/x HTTP/1.1\r\n" + wireHost + "Transfer-Encoding: chunked\r\n\r\n")
				for _, b := range []byte(body) {
					time.Sleep(3 * time.Second)
					c.write(string(b))
				}
			}()
			want := time.Duration(len(body)) * 3 * time.Second
			if a := c.read("POST"); a.status != 200 || a.body != "hello" || time.Since(began) != want {
				t.Errorf("%q: %d %q (%v) after %v, want %v", body, a.status, a.body, a.err, time.Since(began), want)
			}
			_ = c.Close()
			time.Sleep(time.Minute)
			if seen := target.all(); len(seen) != 1 {
				t.Errorf("%q: the target saw %d requests", body, len(seen))
			} else {
				seen[0].check(t, "POST /x HTTP/1.1", data, s.up.l.Addr().String())
			}
		})
	}
}

// TestWireFirstChunksMayComeLate: the head of a request waits for the first of its chunks for
// a second. What comes within that is judged before anything is dialled, and what comes later is
// judged as it comes.
//
// Case A8.
func TestWireFirstChunksMayComeLate(t *testing.T) {
	const rest = "\r\nhello\r\n0\r\n\r\n"
	for _, c := range []lateChunk{
		{"good and soon", 900 * time.Millisecond, "5" + rest, true, 900 * time.Millisecond},
		{"good and late", 1100 * time.Millisecond, "5" + rest, true, time.Second},
		{"good and very late", 9 * time.Second, "5" + rest, true, time.Second},
		{"faulty and soon", 900 * time.Millisecond, "0x5" + rest, false, -1},
		{"faulty and late", 1100 * time.Millisecond, "0x5" + rest, false, time.Second},
		{"faulty and very late", 9 * time.Second, "-5" + rest, false, time.Second},
		{"LF and soon", 900 * time.Millisecond, "5\nhello\n0\n\n", false, -1},
		{"LF and late", 1100 * time.Millisecond, "5\nhello\n0\n\n", false, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.run(t) })
		})
	}
}

// lateChunk is a body in chunks that comes later than its head.
type lateChunk struct {
	name   string
	after  time.Duration // behind the head
	chunks string
	served bool
	dialed time.Duration // behind the head; below zero if never
}

func (c lateChunk) run(t *testing.T) {
	s := newSide(t, setup{pipes: &pipes{}})
	target := watch(s, func(*upRequest) string { return ok("hello") })
	app := s.dial(s.addr)
	app.write("POST /alpha/x HTTP/1.1\r\n" + wireHost + "Transfer-Encoding: chunked\r\n\r\n")
	go func() {
		time.Sleep(c.after)
		app.write(c.chunks)
	}()
	dialed := time.Duration(-1)
	for n := range 12 {
		time.Sleep(100 * time.Millisecond)
		if synctest.Wait(); wireDials(s) > 0 && dialed < 0 {
			dialed = time.Duration(n+1) * 100 * time.Millisecond
		}
	}
	if dialed != c.dialed {
		t.Errorf("dialed after %v, want %v", dialed, c.dialed)
	}
	got := app.untilEOF()
	time.Sleep(time.Minute)
	seen := target.all()
	if !c.served {
		bodyRefused(t, got)
		neverWhole(t, seen)
		return
	}
	if answers, err := wireAnswers(got, "POST"); err != nil || len(answers) != 1 || answers[0].body != "hello" || len(seen) != 1 {
		t.Fatalf("%q (%v); the target saw %d requests", got, err, len(seen))
	}
	seen[0].check(t, "POST /x HTTP/1.1", "hello", s.up.l.Addr().String())
}

// TestWireEarlyAnswersArePassedOnAtOnce: the app gets an answer that comes before the end of
// its body in chunks at once, be it before the first chunk or behind one. A fault behind that ends
// both connections.
func TestWireEarlyAnswersArePassedOnAtOnce(t *testing.T) {
	for first, after := range map[string]time.Duration{"": time.Second, "5\r\nhello\r\n": 0} {
		for _, fault := range []string{"", "0x5\r\nhello\r\n0\r\n\r\n", "5\nhello\n0\n\n", wireNext, "0\r\n" + wireNext} {
			synctest.Test(t, func(t *testing.T) {
				s := newSide(t, setup{pipes: &pipes{}})
				cut := make(chan string, 1)
				s.up.play(func(r *upRequest) bool {
					r.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly")
					raw, _ := io.ReadAll(r.br)
					cut <- string(raw)
					return false
				})
				began, c := time.Now(), s.dial(s.addr)
				c.write("POST /alpha/x HTTP/1.1\r\n" + wireHost + "Transfer-Encoding: chunked\r\n\r\n" + first)
				if a := c.read("POST"); a.status != 200 || a.body != "early" || time.Since(began) != after {
					t.Errorf("%q: %d %q (%v) after %v", first, a.status, a.body, a.err, time.Since(began))
				}
				go c.write(fault)
				if more := c.untilEOF(); more != "" || time.Since(began) > after+time.Second {
					t.Errorf("%q: then %q, after %v", fault, more, time.Since(began))
				}
				wellFormed(t, <-cut)
				if n := len(s.up.requests()); n != 1 {
					t.Errorf("%q: the target saw %d requests", fault, n)
				}
			})
		}
	}
}

// TestWireFaultyChunksBehindAContinueEndNoBody: an app that has been told to go on with its body,
// and sends a malformed one, has its request cut.
//
// Case A12.
func TestWireFaultyChunksBehindAContinueEndNoBody(t *testing.T) {
	for i, fault := range wireLaterFaults() {
		for _, good := range []string{"", "5\r\nhello\r\n"} {
			t.Run(wireName(i, fault), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSide(t, setup{pipes: &pipes{}})
					target := watch(s, func(*upRequest) string { return ok("hello") })
					c := s.dial(s.addr)
					c.write("POST /alpha/x HTTP/1.1\r\n" + wireHost + "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
					if line, err := c.br.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
						t.Fatalf("%q (%v)", line, err)
					}
					_, _ = c.br.Discard(len("\r\n"))
					got, _ := c.converse(good, "", fault+wireNext)
					bodyRefused(t, got)
					time.Sleep(time.Minute)
					seen := target.all()
					neverWhole(t, seen)
					wellFormed(t, seen[0].raw)
				})
			})
		}
	}
}
