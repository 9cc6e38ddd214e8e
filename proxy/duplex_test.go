package proxy

import (
	"net/http"
	"testing"

	"token-sidecar/upstream"
)

const fiveBytes = "POST /alpha/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"

// TestUnreadBodyEndsTheConnection: the answer to a request whose body has not come,
// since there was no token for it, says that the connection ends. An app that learned
// so from its next request could not send that again if it is a POST.
func TestUnreadBodyEndsTheConnection(t *testing.T) {
	s := newSide(t, setup{})
	s.idp.answer = func(int64) (upstream.Token, error) { return unavailable() }
	for _, body := range []string{"hell", ""} { // or waits for the answer first
		conn := dialRaw(t, s.addr)
		conn.write(fiveBytes + body)
		a := conn.read("POST")
		if a.status != http.StatusServiceUnavailable || a.broken != nil || a.length <= 0 || !a.close {
			t.Errorf("with body %q: %d, length %d, to be closed %t, %v %v", body, a.status, a.length, a.close, a.err, a.broken)
		}
		conn.write("hello"[len(body):])
		if !conn.closed() {
			t.Errorf("with body %q: the connection stays open", body)
		}
	}
}

// TestReadBodyKeepsTheConnection: a body that was read to its end leaves the connection
// good for the next request.
func TestReadBodyKeepsTheConnection(t *testing.T) {
	s := newSide(t, setup{})
	conn := dialRaw(t, s.addr)
	for i := range 50 {
		conn.write(fiveBytes + "hello")
		if a := conn.read("POST"); a.status != http.StatusOK || a.close || a.broken != nil {
			t.Fatalf("request %d on one connection: %d, to be closed %t, %v %v", i, a.status, a.close, a.err, a.broken)
		}
	}
}

// TestAnswerArrivesBeforeTheBodyIsSent: a client that waits for the whole answer before it
// sends its body gets it, however the answer is framed.
func TestAnswerArrivesBeforeTheBodyIsSent(t *testing.T) {
	s := newSide(t, setup{})
	for name, says := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	} {
		s.up.play(func(r *upRequest) bool {
			r.say(says)
			r.readBody()
			return false
		})
		conn := dialRaw(t, s.addr)
		conn.write(fiveBytes)
		if a := conn.read("POST"); a.status != http.StatusOK || a.body != "ok" || a.broken != nil || !a.close {
			t.Errorf("%s: %d %q, to be closed %t, %v %v", name, a.status, a.body, a.close, a.err, a.broken)
		}
		conn.write("hello")
		if !conn.closed() {
			t.Errorf("%s: the connection stays open", name)
		}
	}
}
