package proxy

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"

	"token-sidecar/upstream"
)

// forSubject answers with the subject of the token, and with what is to be told of the request.
func forSubject(r *upRequest) bool {
	body := r.readBody()
	whose := strings.TrimPrefix(strings.Join(r.header("authorization"), "+"), "Bearer token-of-")
	says := fmt.Sprintf("for %s %s %s", whose, strings.Join(r.header("x-id"), "+"), body)
	head := "HTTP/1.1 200 OK\r\nX-For: " + whose + "\r\nX-Only-" + whose + ": here\r\n"
	if r.n%3 == 0 {
		r.say(head + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(says), says))
		return true
	}
	r.say(head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(says), says))
	return true
}

// subjectCaller asks for one subject after the other on its connection, which it opens again when
// an answer was the last.
type subjectCaller struct {
	*side
	t      *testing.T
	name   string
	random *rand.Rand
	c      *rawClient
	opened int
}

var chaosSubjects = []string{"alice", "bob", "carol", "dave", "erin", "frank"}

// request returns a request for subject, and whether its answer is the last on the connection. Most
// are plain; after one that is not, net/http serves the connection.
func (c *subjectCaller) request(subject, id string) (method, text, body string, last bool) {
	const path = "/mydatahelps.participant/x"
	lines := []string{subjectHeader + ": " + subject}
	method, body = []string{"GET", "GET", "PUT", "HEAD"}[c.random.IntN(4)], ""
	if method == "PUT" {
		body = strings.Repeat("b", 1+c.random.IntN(40))
	}
	switch c.random.IntN(24) {
	case 0:
		lines = append(lines, "X_Odd: 1")
	case 1:
		lines = append(lines, "X-High: \xe9")
	case 2:
		a := newChunkedAsk("POST", path, id, "in chunks", 4)
		return "POST", strings.Replace(a.text, "X-Id:", lines[0]+"\r\nX-Id:", 1), a.body, true
	case 3:
		a := newAsk("GET", path, id, "", lines...)
		return "GET", strings.Replace(a.text, "HTTP/1.1", "HTTP/1.0", 1), "", true
	case 4:
		method, body = "GET", "" // the subject in the path
		return method, newAsk("GET", "/mydatahelps.participant/~"+subject+"/x", id, "").text, "", false
	}
	return method, newAsk(method, path, id, body, lines...).text, body, false
}

// ask asks for one subject, and fails the test if the answer is for another.
func (c *subjectCaller) ask(i int) bool {
	if c.c == nil {
		c.c = c.dial(c.addr)
		c.opened++
	}
	subject, id := chaosSubjects[c.random.IntN(len(chaosSubjects))], fmt.Sprintf("%s-%d", c.name, i)
	method, text, body, last := c.request(subject, id)
	writeInPieces(c.c, text, c.random)
	a := c.c.read(method)
	want := fmt.Sprintf("for %s %s %s", subject, id, body)
	if method == "HEAD" {
		want = ""
	}
	if a.err != nil || a.broken != nil || a.status != 200 || a.body != want || a.header.Get("X-For") != subject || a.close != last {
		c.t.Errorf("%s for %s: %d %q for %s, the last: %t, %v %v", id, subject, a.status, a.body, a.header.Get("X-For"), a.close, a.err, a.broken)
		return false
	}
	for name := range a.header {
		if only, ok := strings.CutPrefix(name, "X-Only-"); ok && !strings.EqualFold(only, subject) {
			c.t.Errorf("%s for %s: got the field %s", id, subject, name)
		}
	}
	if a.close {
		_ = c.c.Close()
		c.c = nil
	}
	return true
}

// TestChaosSubjectsNeverMix has 16 connections change the subject with each of 5,000 requests. Each
// answer is for its own subject, and no connection to the target serves two of them.
func TestChaosSubjectsNeverMix(t *testing.T) {
	s := newSide(t, setup{upstreams: func(s *side) []upstream.Upstream { return []upstream.Upstream{subjects(s.up.url())} }})
	s.up.play(forSubject)
	const callers = 16
	each := many(626) / 2 // 5,000 in all
	if *general {
		each = 60 // every request has a connection of its own
	}
	var all sync.WaitGroup
	for n := range callers {
		all.Go(func() {
			c := &subjectCaller{side: s, t: t, name: fmt.Sprint("n", n), random: rand.New(rand.NewPCG(3, uint64(n)))}
			for i := range each {
				if !c.ask(i) {
					return
				}
			}
			if c.opened < 2 {
				t.Error("no answer was the last on its connection")
			}
		})
	}
	all.Wait()
	served := map[net.Conn]string{}
	for _, r := range s.up.requests() {
		whose := strings.Join(r.header("authorization"), "+")
		if before, ok := served[r.Conn]; ok && before != whose {
			t.Errorf("a connection to the target served %s and %s", before, whose)
		}
		served[r.Conn] = whose
	}
	if n := len(s.up.requests()); n != callers*each {
		t.Errorf("the target saw %d requests, want %d", n, callers*each)
	}
}
