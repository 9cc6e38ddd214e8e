package proxy

import (
	"net/http"
	"testing"
)

// A request whose body nobody read, since there was no token for it, must not
// cost the next request its connection: an app could not send that again if it
// is a POST.
func TestUnreadBodyKeepsTheConnection(t *testing.T) {
	s := newSide(t, setup{})
	s.idp.answer = func(int64) (int, string) { return http.StatusInternalServerError, "" }
	const head = "POST /alpha/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
	conn := dialRaw(t, s.addr)
	for i := range 50 {
		conn.write(head + "hello")
		if a := conn.read("POST"); a.status != http.StatusServiceUnavailable || a.close || a.broken != nil {
			t.Fatalf("request %d on one connection: %d, to be closed %t, %v %v", i, a.status, a.close, a.err, a.broken)
		}
	}
	for i := range 5 { // a client that waits for the answer before it sends the body
		conn.write(head)
		if a := conn.read("POST"); a.status != http.StatusServiceUnavailable || a.broken != nil {
			t.Fatalf("request %d without its body: %d, %v %v", i, a.status, a.err, a.broken)
		}
		conn.write("hello")
	}
}
