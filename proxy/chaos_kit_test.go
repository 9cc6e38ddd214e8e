package proxy

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
)

// ask is a request that a target with echo answers so that it can be told from all others.
type ask struct {
	method string
	id     string
	text   string // what the app sends
	body   string
	last   bool // the connection ends behind its answer
}

// newAsk returns a request for path, with a body of known length unless that is empty.
func newAsk(method, path, id, body string, lines ...string) ask {
	head := method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nX-Id: " + id + "\r\n" + joinLines(lines)
	if body != "" {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return ask{method: method, id: id, text: head + "\r\n" + body, body: body}
}

// newChunkedAsk is newAsk with the body in chunks of up to size bytes.
func newChunkedAsk(method, path, id, body string, size int) ask {
	a := newAsk(method, path, id, "", "Transfer-Encoding: chunked")
	for rest := body; rest != ""; {
		n := min(size, len(rest))
		a.text += fmt.Sprintf("%x\r\n%s\r\n", n, rest[:n])
		rest = rest[n:]
	}
	a.text, a.body, a.last = a.text+"0\r\n\r\n", body, true
	return a
}

// fillTo has the request's head be n bytes longer by a field of its own.
func (a ask) fillTo(n int) ask {
	const name = "X-Fill: \r\n"
	if more := n - len(a.text); more >= len(name) {
		a.text = strings.Replace(a.text, "X-Id:", "X-Fill: "+strings.Repeat("f", more-len(name))+"\r\nX-Id:", 1)
	}
	return a
}

// echo answers with the id of the request, in a field and in the body, and with what came of it.
// How the answer is framed depends on the id.
func echo(r *upRequest) bool {
	body := r.readBody()
	id := strings.Join(r.header("x-id"), "+")
	says := echoed(r.method, id, body)
	head := "HTTP/1.1 200 OK\r\nX-Id: " + id + "\r\nX-Only-" + id + ": here\r\n"
	switch framing(id) {
	case 0:
		r.say(head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(says), says))
	case 1:
		r.say(head + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(says), says))
	default:
		r.say(head + fmt.Sprintf("Transfer-Encoding: chunked\r\nTrailer: X-Last\r\n\r\n%x\r\n%s\r\n0\r\nX-Last: %s\r\n\r\n", len(says), says, id))
	}
	return r.bodyOK
}

// echoed is the body of the answer of echo.
func echoed(method, id, body string) string {
	return fmt.Sprintf("%s %s %d %08x", method, id, len(body), crc32.ChecksumIEEE([]byte(body)))
}

// framing is how echo frames the answer to the request id.
func framing(id string) uint32 { return crc32.ChecksumIEEE([]byte(id)) % 3 }

// wrong returns what is wrong with the answer of echo to a request, "" if nothing is.
func (a ask) wrong(got answer) string {
	want := echoed(a.method, a.id, a.body)
	if a.method == "HEAD" {
		want = ""
	}
	switch {
	case got.err != nil || got.broken != nil || got.status != 200:
		return fmt.Sprintf("%s %s: %d %.100q, %v %v", a.method, a.id, got.status, got.body, got.err, got.broken)
	case got.body != want || got.header.Get("X-Id") != a.id:
		return fmt.Sprintf("%s %s: got the answer %.100q of %s", a.method, a.id, got.body, got.header.Get("X-Id"))
	case got.close != a.last:
		return fmt.Sprintf("%s %s: the connection is to end: %t", a.method, a.id, got.close)
	case a.method != "HEAD" && framing(a.id) == 2 && got.trailer.Get("X-Last") != a.id:
		return fmt.Sprintf("%s %s: the trailers are %v", a.method, a.id, got.trailer)
	}
	for name := range got.header {
		if only, ok := strings.CutPrefix(name, "X-Only-"); ok && !strings.EqualFold(only, a.id) {
			return fmt.Sprintf("%s %s: got the field %s of another answer", a.method, a.id, name)
		}
	}
	return ""
}

// writeInPieces writes text in pieces, whose lengths are drawn from random.
func writeInPieces(c net.Conn, text string, random *rand.Rand) {
	for text != "" {
		n := min(len(text), 1+random.IntN(1<<random.IntN(14)))
		if _, err := c.Write([]byte(text[:n])); err != nil {
			return
		}
		text = text[n:]
	}
}

// beside has others ask until stop is called. The test fails unless each is served.
func (s *side) beside(t *testing.T, addr string) (stop func()) {
	done := make(chan struct{})
	var all sync.WaitGroup
	for n := range 2 {
		c := dialRaw(t, addr)
		all.Go(func() {
			for i := 0; ; i++ {
				a := newAsk([]string{"GET", "PUT"}[n], "/alpha/beside", fmt.Sprintf("beside-%d-%d", n, i), strings.Repeat("b", n))
				c.write(a.text)
				if wrong := a.wrong(c.read(a.method)); wrong != "" {
					t.Errorf("beside: %s", wrong)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	return func() {
		close(done)
		all.Wait()
	}
}

// atRest fails the test unless all that is counted of connections and bodies comes back to
// nothing, but for open connections of apps.
func (s *side) atRest(t *testing.T, server *Server, open int64) {
	t.Helper()
	eventually(t, "open connections, requests, bodies and connections in use are let go", func() bool {
		inUse := 0
		for _, c := range s.proxy.Connections() {
			inUse += c.InUse
		}
		return server.open.Load() == open && server.active.Load() == 0 && s.proxy.keptBodies.Load() == 0 && inUse == 0
	})
	s.trusted(t)
}

// trusted fails the test if a target is taken for one that sent bytes unasked, as it is if bytes of
// its answers are left.
func (s *side) trusted(t *testing.T) {
	t.Helper()
	for _, c := range s.proxy.Connections() {
		if c.Distrusted {
			t.Error("a target is not trusted any more that sent nothing unasked")
		}
	}
}

// many returns n on the way that these tests are for first of all, and half of it on the others.
func many(n int) int {
	if leanWay() {
		return n
	}
	return n / 2
}

// leanWay reports whether leanConns serve the connections of apps.
func leanWay() bool { return !*general && !*noLeanServer }
