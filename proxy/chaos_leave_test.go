package proxy

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/upstream"
)

// leaves is an app that leaves while the target takes its time.
type leaves struct {
	before string        // what it has sent and got an answer to
	idle   time.Duration // between that and what follows
	parts  []string      // of what it sends
	gap    time.Duration // between the parts
	answer string        // what the target sends before it waits
	after  time.Duration // behind the last part it leaves
}

// TestChaosTargetsAreLeftWithTheApp has apps leave in many states. The connection to the target ends
// at once: what the app asked for is nobody's any more.
func TestChaosTargetsAreLeftWithTheApp(t *testing.T) {
	get, put := newAsk("GET", "/alpha/slow", "1", "").text, newAsk("PUT", "/alpha/slow", "1", "body").text
	quick := newAsk("GET", "/alpha/quick", "0", "").text
	half := strings.TrimSuffix(put, "body")
	for name, c := range map[string]leaves{
		"a GET":                        {parts: []string{get}, after: time.Second},
		"a HEAD":                       {parts: []string{newAsk("HEAD", "/alpha/slow", "1", "").text}, after: time.Second},
		"a PUT":                        {parts: []string{put}, after: time.Second},
		"an upload":                    {parts: []string{newChunkedAsk("POST", "/alpha/slow", "1", "body", 2).text}, after: time.Second},
		"not plain":                    {parts: []string{newAsk("GET", "/alpha/slow", "1", "", "X_Odd: 1").text}, after: time.Second},
		"after twice the time":         {parts: []string{get}, after: 2 * halfCloseTime},
		"behind an answer":             {before: quick, parts: []string{get}, after: time.Second},
		"behind a refusal":             {before: newAsk("GET", "/none/quick", "0", "").text, parts: []string{get}, after: time.Second},
		"behind one over net/http":     {before: newAsk("GET", "/alpha/quick", "0", "", "X_Odd: 1").text, parts: []string{get}, after: time.Second},
		"behind an idle time":          {before: quick, idle: time.Minute, parts: []string{get}, after: time.Second},
		"in front of another":          {parts: []string{get + quick}, after: time.Second},
		"in front of another, later":   {parts: []string{get, quick}, gap: 2 * halfCloseTime, after: time.Second},
		"within a body":                {parts: []string{get}, after: time.Second, answer: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"},
		"within chunks":                {parts: []string{get}, after: time.Second, answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"},
		"within a chunk":               {parts: []string{get}, after: time.Second, answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf"},
		"behind informational answers": {parts: []string{get}, after: time.Second, answer: "HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n"},
		"within a body, second":        {before: quick, parts: []string{get}, after: time.Second, answer: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"},
		"after longer than a head":     {parts: []string{get}, after: headTime + time.Second},
		"after longer than idle":       {before: quick, parts: []string{get}, after: idleTime + time.Second},
		"at the end of the idle time":  {before: quick, idle: idleTime - time.Second, parts: []string{get}, after: 2 * time.Second},
		"a head in parts":              {before: quick, parts: []string{get[:9], get[9:]}, gap: time.Millisecond, after: headTime + time.Second},
		"a body behind its head":       {parts: []string{half, "body"}, gap: leanGrace / 2, after: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, c.run)
		})
	}
}

// run has the app leave, and fails the test unless all of its request ends then.
func (c leaves) run(t *testing.T) {
	s := newSide(t, setup{pipes: &pipes{}, config: func(c *Config) { c.TargetTimeout = time.Hour }})
	addr, server := s.serve(s.proxy.Handler())
	left := make(chan time.Time, 1)
	s.up.play(func(r *upRequest) bool {
		if r.target == "/quick" {
			return echo(r)
		}
		r.readBody()
		if c.answer != "" {
			r.say(c.answer)
		}
		_, _ = r.br.ReadByte()
		left <- time.Now()
		return false
	})
	app := s.dial(addr)
	if c.before != "" {
		app.write(c.before)
		if a := app.read("GET"); a.err != nil || a.close {
			t.Fatalf("%d, to be closed: %t, %v", a.status, a.close, a.err)
		}
		time.Sleep(c.idle)
	}
	go app.untilEOF() // what comes of the answer
	for i, part := range c.parts {
		if i > 0 {
			time.Sleep(c.gap)
		}
		go app.write(part)
	}
	time.Sleep(c.after)
	began := time.Now()
	_ = app.Close()
	select {
	case at := <-left:
		if late := at.Sub(began); late != 0 {
			t.Errorf("the target's connection ended %v after the app had left", late)
		}
	case <-time.After(time.Minute):
		t.Error("the target's connection is still open")
		s.up.close()
	}
	s.letGo(t, server)
	if log := s.log.String(); c.answer == "" && !strings.Contains(log, `"status":499`) {
		t.Errorf("the log says %s", log)
	}
}

// letGo fails the test if anything of a request is left in the bubble.
func (s *side) letGo(t *testing.T, server *Server) {
	t.Helper()
	synctest.Wait()
	if open, active, kept := server.open.Load(), server.active.Load(), s.proxy.keptBodies.Load(); open != 0 || active != 0 || kept != 0 {
		t.Errorf("%d connections, %d requests and %d bytes of bodies are left", open, active, kept)
	}
	if got := s.proxy.Connections()[0]; got.InUse != 0 {
		t.Errorf("%d connections to the target are in use", got.InUse)
	}
}

// TestChaosResetsEndTheTargetsRequest has apps reset their connections, on loopback.
func TestChaosResetsEndTheTargetsRequest(t *testing.T) {
	s := newSide(t, setup{config: func(c *Config) { c.TargetTimeout = time.Hour }})
	addr, server := s.serve(s.proxy.Handler())
	came, left := make(chan bool), make(chan bool)
	s.up.play(func(r *upRequest) bool {
		if r.target == "/quick" {
			return echo(r)
		}
		came <- true
		_, _ = r.br.ReadByte()
		left <- true
		return false
	})
	for _, answered := range []bool{false, true} {
		for _, lines := range [][]string{nil, {"X_Odd: 1"}} {
			c := dialRaw(t, addr)
			if answered {
				c.write(newAsk("GET", "/alpha/quick", "0", "").text)
				c.read("GET")
			}
			c.write(newAsk("GET", "/alpha/slow", "1", "", lines...).text)
			<-came
			_ = c.Conn.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
			select {
			case <-left:
			case <-time.After(time.Minute):
				t.Fatal("the connection to the target is still open")
			}
		}
	}
	s.atRest(t, server, 0)
}

// TestChaosClosingAnIdleConnectionLeavesRequestsWatched: an app has had an answer over a connection
// to one target, which is closed when it was idle for long, while the app waits for another target.
// That it leaves then is still noticed.
func TestChaosClosingAnIdleConnectionLeavesRequestsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &pipes{}
		slow := newUp(t, network.listen())
		s := newSide(t, setup{pipes: network, config: func(c *Config) { c.TargetTimeout = time.Hour }, upstreams: func(s *side) []upstream.Upstream {
			return []upstream.Upstream{s.oauth2("alpha", s.up.url()), s.oauth2("beta", slow.url())}
		}})
		s.up.play(echo)
		left := make(chan bool, 1)
		slow.play(func(r *upRequest) bool {
			_, _ = r.br.ReadByte()
			left <- true
			return false
		})
		c := s.dial(s.addr)
		first := newAsk("GET", "/alpha/x", "first", "")
		c.write(first.text)
		if wrong := first.wrong(c.read("GET")); wrong != "" {
			t.Fatal(wrong)
		}
		c.write(newAsk("GET", "/beta/x", "second", "").text)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if got := s.proxy.Connections()[0]; got.Idle != 0 {
			t.Fatalf("%d connections are still idle", got.Idle)
		}
		_ = c.Close()
		select {
		case <-left:
		case <-time.After(time.Minute):
			t.Error("the connection to the second target is still open")
			slow.close()
		}
	})
}

// TestChaosHalfClosesAreToldFromLeaving: an app that ends its direction before the sidecar looks
// waits for its answer, and one that does so after that has left, however little later.
func TestChaosHalfClosesAreToldFromLeaving(t *testing.T) {
	if !leanWay() {
		t.Skip("net/http has read on since the request came")
	}
	s := newSide(t, setup{})
	came := make(chan bool, 1)
	left := make(chan bool, 1)
	waits := 20 * halfCloseTime
	s.up.play(func(r *upRequest) bool {
		came <- true
		_ = r.SetReadDeadline(time.Now().Add(waits))
		_, err := r.br.ReadByte()
		left <- !timedOut(err)
		return echo(r)
	})
	for _, half := range []bool{true, false} {
		c := dialRaw(t, s.addr)
		a := newAsk("GET", "/alpha/x", "1", "")
		if !half {
			waits = time.Minute
		}
		c.write(a.text)
		if !half {
			<-came
			time.Sleep(time.Second) // on a busy machine the sidecar looks late
		}
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		if half {
			<-came
		}
		if gone := <-left; gone == half {
			t.Errorf("half-closed at once: %t; taken for one that left: %t", half, gone)
		}
		if half {
			if wrong := a.wrong(c.read("GET")); wrong != "" {
				t.Error(wrong)
			}
		}
	}
}
