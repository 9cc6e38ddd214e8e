package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestServerSentEventsPassAtOnce: each event reaches the app in the moment in which the target
// sends it, and the target learns at once that the app has left.
//
// Case G3.
func TestServerSentEventsPassAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}})
		left := make(chan time.Time, 1)
		s.up.play(func(r *upRequest) bool {
			r.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
			go func() {
				_, _ = r.br.ReadByte() // until the sidecar leaves
				left <- time.Now()
			}()
			for range 5 {
				time.Sleep(time.Hour)
				r.say("d\r\ndata: event\n\n\r\n")
			}
			return false
		})
		c := s.client()
		c.Timeout = 0
		began := time.Now()
		res, err := c.Get("http://" + s.addr + "/alpha/events") // the head comes before any event
		if err != nil || time.Since(began) != 0 {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
		br := bufio.NewReader(res.Body)
		for i := range 5 {
			line, err := br.ReadString('\n')
			if at := time.Since(began); err != nil || line != "data: event\n" || at != time.Duration(i+1)*time.Hour {
				t.Errorf("%q after %v, %v", line, at, err)
			}
			_, _ = br.ReadString('\n')
		}
		before := time.Now()
		_ = res.Body.Close()
		if late := (<-left).Sub(before); late != 0 {
			t.Errorf("the target's request ended after %v", late)
		}
	})
}

func TestRequestEndsWhenItsClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}})
		came, left := make(chan bool), make(chan bool)
		s.up.play(func(r *upRequest) bool {
			close(came)
			_, _ = r.br.ReadByte()
			close(left)
			return false
		})
		c := s.dial(s.addr)
		c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
		<-came
		time.Sleep(time.Second)
		before := time.Now()
		_ = c.Close()
		<-left
		synctest.Wait()
		if late := time.Since(before); late != 0 || !strings.Contains(s.log.String(), `"status":499`) {
			t.Errorf("the target's request ended %v after the app had left; the log says %s", late, s.log)
		}
	})
}

// However long a request takes, and however long its connection was open before, its end follows
// that of its client.
func TestLongRequestEndsWhenItsClientLeaves(t *testing.T) {
	for _, first := range []time.Duration{0, headTime - time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}, config: func(c *Config) { c.TargetTimeout = time.Hour }})
			ended := make(chan time.Time, 1)
			s.up.play(func(r *upRequest) bool {
				_, _ = r.Read(make([]byte, 1))
				ended <- time.Now()
				return false
			})
			c := s.dial(s.addr)
			time.Sleep(first)
			c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
			time.Sleep(2 * idleTime)
			left := time.Now()
			_ = c.Close()
			if took := (<-ended).Sub(left); took > halfCloseTime {
				t.Errorf("after %v: the request to the target ended %v later", first, took)
			}
		})
	}
}

// TestBodyAndAnswerFlowAtTheSameTime: an answer may begin and go on while its request's body
// is still being sent.
func TestBodyAndAnswerFlowAtTheSameTime(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(func(r *upRequest) bool {
		r.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for {
			head, err := r.br.ReadString('\n')
			if err != nil || head == "0\r\n" {
				r.say("0\r\n\r\n")
				return false
			}
			line, _ := r.br.ReadString('\n')
			r.say(head + line)
		}
	})
	c := dialRaw(t, s.addr)
	c.write("POST /alpha/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
	res, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		want := fmt.Sprint("ping", i)
		c.write("5\r\n" + want + "\r\n")
		got := make([]byte, 5)
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
			t.Fatalf("%q, %v", got, err)
		}
	}
	c.write("0\r\n\r\n")
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) != 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestAnswerDuringTheBodyPassesAtOnce: an answer that comes while the body is still on its way
// is passed on at once.
func TestAnswerDuringTheBodyPassesAtOnce(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(func(r *upRequest) bool {
		r.say("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
		return false
	})
	c := dialRaw(t, s.addr)
	c.write("POST /alpha/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nsome")
	if a := c.read("POST"); a.status != 413 || a.body != "no" {
		t.Errorf("%d %q %v", a.status, a.body, a.err)
	}
}

// An answer that breaks off before its head has ended becomes 502 or 504. One that breaks off
// later never looks whole.
//
// Case G1.
func TestFaultsOfTargetsAreTold(t *testing.T) {
	reset := func(r *upRequest) { _ = r.Conn.(*net.TCPConn).SetLinger(0) }
	for name, c := range map[string]struct {
		says   string
		status int // 0: the connection breaks, before or within the body
		reset  bool
	}{
		"nothing":         {"", 502, false},
		"reset":           {"", 502, true},
		"half a line":     {"HTTP/1.1 20", 502, false},
		"half a head":     {"HTTP/1.1 200 OK\r\nContent-Le", 502, false},
		"no HTTP":         {"SSH-2.0-OpenSSH_9.6\r\n\r\n", 502, false},
		"HTTP/2 frames":   {"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00", 502, false},
		"status 99":       {"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n", 502, false},
		"status 0":        {"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n", 502, false},
		"two CL":          {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", 502, false},
		"CL list":         {"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nabc", 502, false},
		"CL garbage":      {"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab", 502, false},
		"TE garbage":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", 502, false},
		"unasked 101":     {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nxx", 502, false},
		"bare 101":        {"HTTP/1.1 101 Switching Protocols\r\n\r\nxx", 502, false},
		"short CL":        {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", 0, false},
		"short CL, long":  {"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 50000), 0, false},
		"short CL, reset": {"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 50000), 0, true},
		"no last chunk":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 0, false},
		"chunk garbage":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\nx\r\n", 0, false},
		"chunk overflow":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nhello\r\n", 0, false},
	} {
		s := newSide(t, setup{})
		s.up.play(func(r *upRequest) bool {
			r.readBody()
			r.say(c.says)
			if c.reset {
				reset(r)
			}
			return false
		})
		a := s.get("/alpha/x")
		switch {
		case c.status != 0:
			if a.problem(t, c.status, "target_unreachable"); t.Failed() {
				t.Fatalf("%s", name)
			}
		case a.err == nil && a.broken == nil:
			t.Errorf("%s: %d with %d bytes looks whole", name, a.status, len(a.body))
		}
		if a.err == nil && strings.Contains(a.body, "OpenSSH") {
			t.Errorf("%s: foreign text in %q", name, a.body)
		}
	}
}

// Case G1.
func TestTargetThatHangsInTheHeadTimesOut(t *testing.T) {
	for _, says := range []string{"", "HTTP/1.1 200 OK\r\nX-A: "} {
		synctest.Test(t, func(t *testing.T) {
			const limit = 7 * time.Second
			s := newSide(t, setup{pipes: &pipes{}, config: func(c *Config) { c.TargetTimeout = limit }})
			s.up.play(func(r *upRequest) bool {
				r.say(says)
				_, _ = r.br.ReadByte()
				return false
			})
			began := time.Now()
			s.get("/alpha/x").problem(t, 504, "target_timeout")
			if took := time.Since(began); took != limit {
				t.Errorf("after %q: given up after %v, want %v", says, took, limit)
			}
		})
	}
}

// An answer with more bytes than it says it has must not answer the next
// request on its connection.
//
// Case A14.
func TestBytesBehindAnAnswerReachNobody(t *testing.T) {
	for name, form := range map[string]string{
		"behind CL":          "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-N: %[1]s\r\n\r\n%04[1]s" + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-N: 9999\r\n\r\n9999",
		"204 with a body":    "HTTP/1.1 204 No Content\r\nX-N: %s\r\n\r\nHTTP/1.1 204 No Content\r\nX-N: 9999\r\n\r\n",
		"304 with a body":    "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\nX-N: %s\r\n\r\nHTTP/1.1 204 No Content\r\nX-N: 9999\r\n\r\n",
		"CL and TE":          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nX-N: %[1]s\r\n\r\n4\r\n%04[1]s\r\n0\r\n\r\n",
		"behind last chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-N: %[1]s\r\n\r\n4\r\n%04[1]s\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\nX-N: 9999\r\n\r\n",
		"no framing":         "HTTP/1.1 200 OK\r\nX-N: %[1]s\r\n\r\n%04[1]s",
		"an ordinary answer": "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-N: %[1]s\r\n\r\n%04[1]s",
	} {
		s := newSide(t, setup{})
		s.up.play(func(r *upRequest) bool {
			n := strings.TrimPrefix(r.target, "/")
			r.say(fmt.Sprintf(form, n))
			return name != "no framing"
		})
		c := client(t)
		results := make(chan string)
		for i := range 200 {
			go func() {
				n := fmt.Sprintf("%04d", i)
				res, err := c.Get("http://" + s.addr + "/alpha/" + n)
				if err != nil {
					results <- err.Error()
					return
				}
				body, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				switch {
				case res.StatusCode == 502:
					results <- "502"
				case err != nil || res.Header.Get("X-N") != n || len(body) > 0 && string(body) != n:
					results <- fmt.Sprintf("%s got %d %q %q, %v", n, res.StatusCode, res.Header.Get("X-N"), body, err)
				default:
					results <- ""
				}
			}()
		}
		refused := 0
		for range 200 {
			switch r := <-results; r {
			case "":
			case "502":
				refused++
			default:
				t.Errorf("%s: %s", name, r)
			}
		}
		if refused > 0 && (name == "an ordinary answer" || refused > 20) {
			t.Errorf("%s: %d of 200 got 502", name, refused)
		}
	}
}
