package proxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// moment is a connection of an app at the time of Shutdown.
type moment struct {
	name   string
	before bool   // a request was answered
	sends  string // what it has sent of a request
	later  string // what it sends later
	whole  bool   // its request is answered in time, whole
	begun  bool   // its answer has begun
	served bool   // its request is under way, so that it is answered or cut at the deadline
}

// moments are the states that a connection may be in. The target answers /soon after a while, /never
// not at all, and /half- by half of the answer at first.
func moments(id string) []moment {
	get := func(path string, lines ...string) string { return newAsk("GET", "/alpha/"+path, id, "", lines...).text }
	put := newAsk("PUT", "/alpha/soon", id, strings.Repeat("b", 100)).text
	large := newAsk("PUT", "/alpha/soon", id, strings.Repeat("b", 10_000)).text
	chunked := newChunkedAsk("POST", "/alpha/soon", id, "in chunks", 4).text
	return []moment{
		{name: "fresh"},
		{name: "idle", before: true},
		{name: "half a head", sends: get("soon")[:30], later: get("soon")[30:]},
		{name: "half a head behind an answer", before: true, sends: get("soon")[:30], later: get("soon")[30:]},
		{name: "waits", sends: get("soon"), whole: true, served: true},
		{name: "waits behind an answer", before: true, sends: get("soon"), whole: true, served: true},
		{name: "waits, not plain", sends: get("soon", "X_Odd: 1"), whole: true, served: true},
		{name: "waits, behind it another", sends: get("soon") + get("soon"), whole: true, served: true},
		{name: "waits in vain", sends: get("never"), served: true},
		{name: "waits in vain behind an answer", before: true, sends: get("never", "X_Odd: 1"), served: true},
		{name: "a body", sends: put, whole: true, served: true},
		{name: "half a body", sends: put[:len(put)-20], later: put[len(put)-20:]},
		{name: "half a large body", sends: large[:len(large)-20], later: large[len(large)-20:], whole: true, served: true},
		{name: "half of the chunks", sends: chunked[:len(chunked)-12], later: chunked[len(chunked)-12:], whole: true, served: true},
		{name: "within an answer", sends: get("half-soon"), begun: true, whole: true, served: true},
		{name: "within an answer that does not go on", sends: get("half-never"), begun: true, served: true},
		{name: "within chunks", before: true, sends: get("chunks-soon"), begun: true, whole: true, served: true},
		{name: "within chunks that do not go on", before: true, sends: get("chunks-never"), begun: true, served: true},
	}
}

// wholeAnswer is the body of each answer that is whole.
const wholeAnswer = "twenty bytes of body"

// takeTime answers in two halves: the second comes after a while, or never.
func takeTime(r *upRequest, while time.Duration) bool {
	if r.target == "/quick" {
		return echo(r)
	}
	r.readBody()
	first, second := "", ok(wholeAnswer)
	switch form, _, _ := strings.Cut(r.target, "-"); form {
	case "/half":
		first, second = second[:len(second)-10], second[len(second)-10:]
	case "/chunks":
		first, second = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n"+wholeAnswer[:7]+"\r\n", "d\r\n"+wholeAnswer[7:]+"\r\n0\r\n\r\n"
	}
	if first != "" {
		r.say(first)
	}
	if strings.HasSuffix(r.target, "never") {
		_, _ = r.br.ReadByte()
		return false
	}
	time.Sleep(while)
	r.say(second)
	return true
}

// TestChaosShutdownLeavesNobodyHanging calls Shutdown while 200 connections are in states drawn at
// random. What is under way is answered whole, or cut at the deadline and does not pass for whole.
func TestChaosShutdownLeavesNobodyHanging(t *testing.T) {
	const deadline = 3 * time.Second
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}})
		s.up.play(func(r *upRequest) bool { return takeTime(r, time.Second) })
		addr, server := s.serve(s.proxy.Handler())
		random, ready := rand.New(rand.NewPCG(4, 4)), make(chan bool)
		var all, ended sync.WaitGroup
		for n := range 200 {
			all.Add(1)
			kinds := moments(fmt.Sprint(n))
			m := kinds[random.IntN(len(kinds))]
			ended.Go(func() { s.meetShutdown(t, addr, m, &all, ready, deadline) })
		}
		all.Wait()
		synctest.Wait()
		close(ready)
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		began := time.Now()
		if err := server.Shutdown(ctx); err != context.DeadlineExceeded || time.Since(began) < deadline || time.Since(began) > deadline+10*time.Millisecond {
			t.Errorf("Shutdown returned %v after %v", err, time.Since(began))
		}
		ended.Wait()
		s.letGo(t, server)
	})
}

// come has a connection come into a state. The channel gets the answer to what it has sent.
func (s *side) come(t *testing.T, addr string, m moment) (*rawClient, <-chan answer) {
	c := s.dial(addr)
	if m.before {
		a := newAsk("GET", "/alpha/quick", "before", "")
		c.write(a.text)
		if wrong := a.wrong(c.read("GET")); wrong != "" {
			t.Errorf("%s: %s", m.name, wrong)
		}
	}
	if m.sends != "" {
		go c.write(m.sends)
	}
	answers := make(chan answer, 1)
	go func() { answers <- c.read("GET") }() // what comes of it before Shutdown, too
	return c, answers
}

// refusedForStop reports whether an answer says that nothing was sent on, since the sidecar stops.
func refusedForStop(a answer) bool {
	return a.status == 503 && a.close && strings.Contains(a.body, `"code":"sidecar_stopping"`)
}

// meetShutdown has a connection come into a state, waits for Shutdown, and judges how it ends.
func (s *side) meetShutdown(t *testing.T, addr string, m moment, all *sync.WaitGroup, ready chan bool, deadline time.Duration) {
	c, answers := s.come(t, addr, m)
	all.Done()
	<-ready
	began := time.Now()
	if m.later != "" {
		go func() {
			time.Sleep(500 * time.Millisecond)
			c.write(m.later)
		}()
	}
	a := <-answers
	took := time.Since(began)
	switch whole := a.err == nil && a.broken == nil; {
	case refusedForStop(a) && !m.served: // nothing was sent on
	case whole && (a.status != 200 || a.body != wholeAnswer):
		t.Errorf("%s: %d %q passes for whole", m.name, a.status, a.body)
	case whole && !a.close && !m.begun:
		t.Errorf("%s: the connection is not to be closed", m.name)
	case whole && !m.whole && m.served, !whole && m.whole:
		t.Errorf("%s: is answered whole: %t, after %v, %d %q %v %v", m.name, whole, took, a.status, a.body, a.err, a.broken)
	case m.sends == "" && took > 0 && (leanWay() || m.before):
		t.Errorf("%s: is left open for %v", m.name, took)
	case took > deadline+10*time.Millisecond, !whole && m.served && took < deadline:
		t.Errorf("%s: ended after %v", m.name, took)
	}
	if rest := c.untilEOF(); rest != "" {
		t.Errorf("%s: more comes: %q", m.name, rest)
	}
}

// TestChaosShutdownOnLoopbackLetsNothingPassForWhole is the same with real connections: some are
// answered before the deadline, and some are cut. All end.
func TestChaosShutdownOnLoopbackLetsNothingPassForWhole(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(func(r *upRequest) bool { return takeTime(r, time.Duration(r.n%10)*20*time.Millisecond) })
	addr, server := s.serve(s.proxy.Handler())
	random := rand.New(rand.NewPCG(8, 8))
	var all sync.WaitGroup
	for n := range 200 {
		kinds := moments(fmt.Sprint(n))
		m := kinds[random.IntN(len(kinds))]
		c, answers := s.come(t, addr, m)
		all.Go(func() {
			if a := <-answers; a.err == nil && a.broken == nil && !refusedForStop(a) && (a.status != 200 || a.body != wholeAnswer) {
				t.Errorf("%s: %d %q passes for whole", m.name, a.status, a.body)
			}
			_ = closeWrite(c.Conn) // so that nobody waits for it
			_ = c.untilEOF()
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_ = server.Shutdown(ctx)
	all.Wait()
	s.atRest(t, server, 0)
}

// TestChaosShutdownCutsAppsThatReadNothing: an app that does not read its answer holds Shutdown up
// until the deadline, and no longer.
func TestChaosShutdownCutsAppsThatReadNothing(t *testing.T) {
	const deadline = 3 * time.Second
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}})
		s.up.say(ok(strings.Repeat("x", 1<<20)))
		addr, server := s.serve(s.proxy.Handler())
		c := s.dial(addr)
		c.write("GET /alpha/x" + stalledHead + "\r\n")
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		began := time.Now()
		if err := server.Shutdown(ctx); err != context.DeadlineExceeded || time.Since(began) > deadline+10*time.Millisecond {
			t.Errorf("Shutdown returned %v after %v", err, time.Since(began))
		}
		s.letGo(t, server)
	})
}

// stalling is a connection whose deadline Shutdown sets late.
type stalling struct {
	net.Conn
	first   sync.Once
	begun   chan bool // closed when Shutdown sets it
	goingOn chan bool // closed when it may
}

func (c *stalling) SetReadDeadline(t time.Time) error {
	if t.Equal(time.Unix(1, 0)) {
		c.first.Do(func() {
			close(c.begun)
			<-c.goingOn
		})
	}
	return c.Conn.SetReadDeadline(t)
}

// TestChaosShutdownDoesNotInterruptWhatIsHandedOver: Shutdown sets the deadlines of thousands of
// connections one after the other. A request on one of them that goes over to net/http meanwhile is
// answered whole, or never sent.
func TestChaosShutdownDoesNotInterruptWhatIsHandedOver(t *testing.T) {
	if !leanWay() {
		t.Skip("nothing is handed over")
	}

	s := newSide(t, setup{})
	came := make(chan bool, 1)
	s.up.play(func(r *upRequest) bool {
		came <- true
		_ = r.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := r.br.ReadByte(); !timedOut(err) {
			return false // the sidecar has ended the connection
		}
		return echo(r)
	})
	near, far := net.Pipe()
	stalled := &stalling{Conn: far, begun: make(chan bool), goingOn: make(chan bool)}
	server := NewServer(s.proxy.Handler())
	served, ended := make(chan error, 1), make(chan error, 1)
	go func() { served <- server.Serve(&oneListener{conn: stalled, closed: make(chan struct{})}) }()
	eventually(t, "the connection is served", func() bool {
		server.mu.Lock()
		defer server.mu.Unlock()
		return len(server.conns) == 1
	})
	go func() { ended <- server.Shutdown(t.Context()) }()
	<-stalled.begun
	c := rawOn(t, near)
	a := newAsk("GET", "/alpha/x", "1", "", "X_Odd: 1")
	a.last = true
	go c.write(a.text)
	select {
	case <-came:
	case <-time.After(50 * time.Millisecond): // it cannot come meanwhile
	}
	close(stalled.goingOn)
	if wrong := a.wrong(c.read("GET")); wrong != "" && len(s.up.requests()) > 0 {
		t.Error(wrong)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-served
}

// TestChaosShutdownEndsWithTheLastApp: an app that leaves while its request is under way is not
// waited for, also if Shutdown begins just then, or has begun.
func TestChaosShutdownEndsWithTheLastApp(t *testing.T) {
	for _, later := range []time.Duration{0, 1, halfCloseTime / 2, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}})
			s.up.play(func(r *upRequest) bool {
				_, _ = r.br.ReadByte()
				return false
			})
			addr, server := s.serve(s.proxy.Handler())
			c := s.dial(addr)
			c.write(newAsk("GET", "/alpha/x", "1", "").text)
			time.Sleep(time.Second)
			began := time.Now()
			go func() {
				time.Sleep(later)
				_ = c.Close()
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := server.Shutdown(ctx); err != nil || time.Since(began) > later+time.Second {
				t.Errorf("%v after %v, of an app that left after %v", err, time.Since(began), later)
			}
		})
	}
}
