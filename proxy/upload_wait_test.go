package proxy

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
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
