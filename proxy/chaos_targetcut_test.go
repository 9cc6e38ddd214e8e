package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// cutAnswers are answers of targets that are cut off, for one id each.
var cutAnswers = map[string]func(id string) (text, body string){
	"length": func(id string) (string, string) {
		body := "the body of " + id
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%s", id, len(body), body), body
	},
	"chunked": func(id string) (string, string) {
		body := "the body of " + id
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Id: %s\r\nTransfer-Encoding: chunked\r\nTrailer: X-Last\r\n\r\n4\r\n%s\r\n%x\r\n%s\r\n0\r\nX-Last: %s\r\n\r\n",
			id, body[:4], len(body)-4, body[4:], id), body
	},
	"informational": func(id string) (string, string) {
		body := "the body of " + id
		return fmt.Sprintf("HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%s", id, len(body), body), body
	},
}

// How a target ends its connection within an answer.
const (
	byEnd   = "end"   // of both directions
	byHalf  = "half"  // of that to the sidecar: it goes on reading
	byReset = "reset" // of the connection
)

// cutTarget answers a request for /form/way/cut with the first bytes of that answer.
func cutTarget(t *testing.T, r *upRequest) bool {
	parts := strings.Split(r.target, "/")
	var cut int
	_, _ = fmt.Sscanf(parts[3], "%d", &cut)
	text, _ := cutAnswers[parts[1]](parts[3])
	r.readBody()
	r.say(text[:cut])
	if cut == len(text) {
		return true
	}
	switch c := r.Conn.(*net.TCPConn); parts[2] {
	case byHalf:
		_ = c.CloseWrite()
		if more, err := io.ReadAll(r.br); len(more) > 0 {
			t.Errorf("%s: the connection was used again: %q %v", r.target, more, err)
		}
	case byReset:
		_ = c.SetLinger(0)
	}
	return false
}

// cutReader asks for cut answers, over one connection as long as that lives.
type cutReader struct {
	*side
	t    *testing.T
	addr string
	c    *rawClient
}

// ask asks for the first bytes of an answer, and fails the test if what comes looks whole and
// is not, or is not for this request.
func (r *cutReader) ask(form, way string, cut int) {
	if r.c == nil {
		r.c = dialRaw(r.t, r.addr)
	}
	id := fmt.Sprintf("%03d", cut)
	text, body := cutAnswers[form](id)
	path := fmt.Sprintf("/alpha/%s/%s/%s", form, way, id)
	r.c.write("GET " + path + stalledHead + "\r\n")
	a := r.c.read("GET")
	switch {
	case cut == len(text):
		if a.status != 200 || a.body != body || a.broken != nil || a.header.Get("X-Id") != id || form == "chunked" && a.trailer.Get("X-Last") != id {
			r.t.Errorf("%s, whole: %d %v %q %v %v", path, a.status, a.header, a.body, a.trailer, a.broken)
		}
	case a.status == 502:
		a.problem(r.t, 502, "target_unreachable")
	case a.err == nil && a.broken == nil:
		r.t.Errorf("%s: %d %q looks whole", path, a.status, a.body)
	case a.err == nil && (!strings.HasPrefix(body, a.body) || a.header.Get("X-Id") != id):
		r.t.Errorf("%s: %v %q belongs to another answer", path, a.header, a.body)
	}
	if a.err != nil || a.broken != nil {
		_ = r.c.Close()
		r.c = nil
	}
}

// isCut reports whether the answer to a target of cutTarget is cut behind its first byte.
func isCut(target string) bool {
	parts := strings.Split(target, "/")
	text, _ := cutAnswers[parts[1]](parts[3])
	return parts[3] != "000" && parts[3] != fmt.Sprintf("%03d", len(text))
}

// TestChaosCutAnswersNeverLookWhole cuts the connections of a target after each byte of an answer,
// by turns with whole answers, so that kept connections are cut, too.
func TestChaosCutAnswersNeverLookWhole(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(func(r *upRequest) bool {
		if strings.HasPrefix(r.target, "/beside") {
			return echo(r)
		}
		return cutTarget(t, r)
	})
	addr, server := s.serve(s.proxy.Handler())
	stop := s.beside(t, addr)
	var all sync.WaitGroup
	for form, answer := range cutAnswers {
		for _, way := range []string{byEnd, byHalf, byReset} {
			all.Go(func() {
				r := &cutReader{side: s, t: t, addr: addr}
				text, _ := answer("000")
				for cut := range len(text) {
					if !*general { // which keeps no connection
						r.ask(form, way, len(text))
					}
					r.ask(form, way, cut)
				}
				r.ask(form, way, len(text))
				_ = r.c.Close()
			})
		}
	}
	all.Wait()
	stop()
	times := map[string]int{}
	for _, r := range s.up.requests() {
		if times[r.target]++; times[r.target] == 2 && r.target != "/beside" && isCut(r.target) {
			t.Errorf("%s was sent again, to which an answer had begun", r.target)
		}
	}
	s.atRest(t, server, 2) // those of others
}

// TestChaosCutAnswersAreResetForHTTP10: an answer to HTTP/1.0 ends with the connection, so that one
// that was cut must not end like that.
func TestChaosCutAnswersAreResetForHTTP10(t *testing.T) {
	s := newSide(t, setup{})
	whole := true
	s.up.play(func(r *upRequest) bool {
		r.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
		if whole {
			r.say("0\r\n\r\n")
		}
		return false
	})
	for _, whole = range []bool{true, false} {
		c := dialRaw(t, s.addr)
		c.write("GET /alpha/x HTTP/1.0\r\nHost: localhost\r\n\r\n")
		got, err := io.ReadAll(c.br)
		if reset := errors.Is(err, syscall.ECONNRESET); reset == whole || whole && !strings.HasSuffix(string(got), "\r\n\r\nhalf") {
			t.Errorf("whole: %t; the app got %q (%v)", whole, got, err)
		}
	}
}
