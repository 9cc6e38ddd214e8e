package proxy

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A body that is given up is read by nobody any more: the read under way is waited for, and others fail.
func TestUploadsThatAreGivenUpAreNotReadOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body, app := io.Pipe()
		u := newUpload(httptest.NewRecorder(), &http.Request{Body: body})
		go func() { _, _ = u.Read(make([]byte, 8)) }()
		synctest.Wait()
		ended := make(chan bool)
		go func() {
			u.giveUp()
			close(ended)
		}()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("the read under way is not waited for")
		default:
		}
		_, _ = app.Write([]byte("x"))
		<-ended
		if _, err := u.Read(make([]byte, 8)); !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("another read returns %v", err)
		}
	})
}

// An app that is answered before it has sent all of its body finds the answer and the end of its
// connection, also while the Server stops: what it has sent meanwhile does not reset the connection.
func TestEarlyAnswersReachTheAppWhileStopping(t *testing.T) {
	s := newSide(t, setup{})
	came, stopping := make(chan bool), make(chan bool)
	s.up.play(func(r *upRequest) bool {
		close(came)
		<-stopping
		r.say(ok("hello"))
		return false
	})
	addr, server := s.serve(s.proxy.Handler())
	c := dialRaw(t, addr)
	c.write("POST /alpha/x" + stalledHead + "Content-Length: 200000\r\n\r\n" + strings.Repeat("x", 100))
	<-came
	stopped := make(chan error)
	go func() { stopped <- server.Shutdown(t.Context()) }()
	eventually(t, "the Server stops", server.closing.Load)
	close(stopping)
	if a := c.read("POST"); a.status != 200 || a.body != "hello" {
		t.Errorf("the answer is %d %q %v", a.status, a.body, a.err)
	}
	for range 10 {
		if _, err := io.WriteString(c, strings.Repeat("x", 1000)); err != nil {
			t.Error(err)
		}
	}
	_ = closeWrite(c.Conn)
	if n, err := c.br.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("behind the answer come %d bytes, and the end is %v", n, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// An answer behind which the connection ends reaches an app that has sent more than is read.
func TestLastAnswersReachTheApp(t *testing.T) {
	eitherWay(t)
	s := newSide(t, setup{})
	body := strings.Repeat("b", 200<<10)
	s.up.say(ok(body))
	for range 20 {
		c := dialRaw(t, s.addr)
		c.write("GET /alpha/x" + stalledHead + "Connection: close\r\n\r\n" + strings.Repeat("GET /alpha/x"+stalledHead+"\r\n", 1000))
		a := c.read("GET")
		if a.status != 200 || a.body != body || a.broken != nil {
			t.Fatalf("the answer is %d, %d bytes, %v %v", a.status, len(a.body), a.err, a.broken)
		}
		if n, err := c.br.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("behind the answer come %d bytes, and the end is %v", n, err)
		}
	}
}

// What is there of an answer does not wait for the rest, on the general way neither.
func TestTheGeneralWayHoldsNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}, config: func(c *Config) { c.general = true }})
		s.up.play(func(r *upRequest) bool {
			r.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
			time.Sleep(time.Minute)
			r.say("llo")
			return true
		})
		c := s.dial(s.addr)
		began := time.Now()
		c.write("GET /alpha/x" + stalledHead + "\r\n")
		res, err := http.ReadResponse(c.br, nil)
		if err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 2)
		if _, err := io.ReadFull(res.Body, part); err != nil || string(part) != "he" || time.Since(began) != 0 {
			t.Errorf("%q comes after %v, %v", part, time.Since(began), err)
		}
		rest, err := io.ReadAll(res.Body)
		if err != nil || string(rest) != "llo" || time.Since(began) != time.Minute {
			t.Errorf("%q comes after %v, %v", rest, time.Since(began), err)
		}
	})
}

// The head of a stream does not wait for the first event of it.
func TestTheGeneralWaySendsTheHeadOfAStreamAtOnce(t *testing.T) {
	for _, kind := range []string{"text/event-stream", "application/x-ndjson"} {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}, config: func(c *Config) { c.general = true }})
			s.up.play(func(r *upRequest) bool {
				r.say("HTTP/1.1 200 OK\r\nContent-Type: " + kind + "\r\nTransfer-Encoding: chunked\r\n\r\n")
				time.Sleep(time.Hour)
				r.say("5\r\nevent\r\n0\r\n\r\n")
				return true
			})
			c := s.dial(s.addr)
			began := time.Now()
			c.write("GET /alpha/x" + stalledHead + "\r\n")
			res, err := http.ReadResponse(c.br, nil)
			if err != nil || time.Since(began) != 0 {
				t.Fatalf("%s: the head comes after %v, %v", kind, time.Since(began), err)
			}
			if text, err := io.ReadAll(res.Body); err != nil || string(text) != "event" || time.Since(began) != time.Hour {
				t.Errorf("%s: %q comes after %v, %v", kind, text, time.Since(began), err)
			}
		})
	}
}

// A request that net/http would have to serve is answered also if that takes none any more.
func TestRequestsAreAnsweredWhenNetHTTPTakesNoneAnyMore(t *testing.T) {
	if !leanWay() {
		t.Skip("nothing is handed over")
	}

	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}})
		addr, server := s.serve(s.proxy.Handler())
		c := s.dial(addr)
		c.write("PUT /alpha/x" + stalledHead + "Content-Length: 4\r\n\r\n") // the body is waited for
		synctest.Wait()
		stopped := make(chan error)
		go func() { stopped <- server.Shutdown(t.Context()) }()
		a := c.read("PUT")
		if a.problem(t, 503, "sidecar_stopping"); !a.close {
			t.Error("the connection is said to go on")
		}
		c.untilEOF()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if !strings.Contains(s.log.String(), `"problem":"sidecar_stopping"`) {
			t.Errorf("the log says %s", s.log)
		}
		s.untouched()
	})
}

// Shutdown waits until the last answer has reached an app that has sent more than is read.
func TestShutdownWaitsForTheLastAnswer(t *testing.T) {
	eitherWay(t)
	s := newSide(t, setup{})
	came, stopping := make(chan bool, 1), make(chan bool)
	s.up.play(func(r *upRequest) bool {
		came <- true
		<-stopping
		return hello(r)
	})
	addr, server := s.serve(s.proxy.Handler())
	c := dialRaw(t, addr)
	get := "GET /alpha/x" + stalledHead + "\r\n"
	c.write(get)
	<-came
	c.write(strings.Repeat(get, 1000))
	stopped := make(chan time.Time, 1)
	go func() {
		_ = server.Shutdown(t.Context())
		stopped <- time.Now()
	}()
	eventually(t, "the Server stops", server.closing.Load)
	close(stopping)
	if a := c.read("GET"); a.status != 200 || a.body != "hello" || !a.close {
		t.Fatalf("the answer is %d %q %v", a.status, a.body, a.err)
	}
	answered := time.Now()
	time.Sleep(lingerTime / 5)
	left := time.Now()
	if n, err := c.br.Read(make([]byte, 1)); err != io.EOF && left.Sub(answered) < lingerTime/2 {
		t.Errorf("behind the answer come %d bytes, and the end is %v", n, err)
	}
	_ = c.Close()
	if at := <-stopped; at.Before(left) && left.Sub(answered) < lingerTime/2 { // else the machine is slow
		t.Errorf("Shutdown has returned %v before the app left", left.Sub(at))
	}
}
