package targetconn

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come. It only bounds how long a test
// hangs that fails.
const patience = time.Minute

// TestIdleConnectionsAreClosedForTheirAge: connections are closed once they were idle for
// too long, and one too many at once.
func TestIdleConnectionsAreClosedForTheirAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pool[string]{}
		add := func(n int) {
			for range n {
				p.mu.Lock()
				p.open++
				p.mu.Unlock()
				c := &Conn{raw: nothing{}}
				c.idleEntry = &idleEntry[string]{conn: c, key: fmt.Sprint(n % 3)}
				p.Put(c)
			}
		}
		add(3)
		time.Sleep(idleTimeout / 2)
		add(2)
		for _, left := range []int{5, 2, 2, 0} { // after 60, 60, 120 and 180 s at the latest
			if idle, open := count(p); idle != left || open != left {
				t.Errorf("%d idle, %d open, want %d", idle, open, left)
			}
			time.Sleep(idleTimeout/2 + 1)
			synctest.Wait()
		}
		add(maxIdle + 10)
		if idle, open := count(p); idle != maxIdle || open != idle {
			t.Errorf("%d idle, %d open", idle, open)
		}
		p.CloseIdle()
		add(1)
		if idle, open := count(p); idle != 0 || open != 0 {
			t.Errorf("%d idle, %d open once closed", idle, open)
		}
	})
}

func count(p *Pool[string]) (idle, open int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.idle.count, p.open
}

// nothing is a connection to nobody.
type nothing struct{ net.Conn }

func (nothing) Close() error { return nil }

// pipeTarget has a dialer whose connections are pipes, and gives their far ends.
func pipeTarget() (*Dialer, chan net.Conn) {
	far := make(chan net.Conn, 8)
	d := NewDialer(nil, nil, "http/1.1")
	d.DialContext = func(context.Context, string, string) (net.Conn, error) {
		near, other := net.Pipe()
		far <- other
		return near, nil
	}
	return d, far
}

// get returns a connection of p for the key, and whether it is a kept one.
func get(t *testing.T, p *Pool[string], key string) (*Conn, bool) {
	t.Helper()
	c, err := p.Get(t.Context(), key, true)
	if err != nil {
		t.Fatal(err)
	}
	return c, c.Reused()
}

// TestConnectionsServeOneKey: a connection is kept for its own key only, the newest first,
// and of too many the one that was idle for longest is closed, whosever it is.
func TestConnectionsServeOneKey(t *testing.T) {
	target := &url.URL{Scheme: "http", Host: "target.example"}
	d, _ := pipeTarget()
	d.DialContext = func(context.Context, string, string) (net.Conn, error) { return nothing{}, nil }
	p := NewPool[string](d, target, NewProtocol(target))
	a1, _ := get(t, p, "a")
	a2, _ := get(t, p, "a")
	b, _ := get(t, p, "b")
	for _, c := range []*Conn{a1, b, a2} {
		p.Put(c)
	}
	if c, kept := get(t, p, "c"); kept {
		t.Error("another key's connection is used")
	} else {
		p.Drop(c)
	}
	for _, want := range []*Conn{a2, a1} {
		if c, kept := get(t, p, "a"); !kept || c != want {
			t.Error("not the connection of the key that was used last")
		}
	}
	if c, kept := get(t, p, "b"); !kept || c != b {
		t.Error("not the connection of b")
	}
	p.Put(b)
	var others []*Conn
	for n := range maxIdle {
		c, _ := get(t, p, fmt.Sprint(n))
		others = append(others, c)
	}
	for _, c := range others {
		p.Put(c)
	}
	if _, kept := get(t, p, "b"); kept {
		t.Error("the connection that was idle for longest is still kept")
	}
	if _, kept := get(t, p, "0"); !kept {
		t.Error("the second longest is not kept")
	}
	if f := p.Figures(); f.Idle != maxIdle-1 || f.InUse != 4 {
		t.Errorf("%+v", f)
	}
	p.CloseIdle()
	if n := len(p.idle.newest); n != 0 || p.idle.oldest() != nil {
		t.Errorf("%d keys are left", n)
	}
}

// TestDistrustLastsForAnHour: for an hour after a target has sent bytes unasked none of its
// connections is kept. Unasked is called once.
func TestDistrustLastsForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := &url.URL{Scheme: "http", Host: "target.example"}
		d, far := pipeTarget()
		p := NewPool[string](d, target, NewProtocol(target))
		told := 0
		p.Unasked = func() { told++ }
		idle, _ := get(t, p, "idle")
		faulty, _ := get(t, p, "a")
		p.Put(idle)
		<-far
		target2 := <-far
		go func() { _, _ = target2.Write([]byte("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 ")) }()
		faulty.Begin(t.Context())
		if _, err := faulty.ReadHead("GET"); err != nil {
			t.Fatal(err)
		}
		if faulty.Finish() {
			t.Error("a connection with bytes behind the answer is good")
		}
		p.Drop(faulty)
		if f := p.Figures(); f.Idle != 0 || f.InUse != 0 || !f.Distrusted || told != 1 {
			t.Errorf("%+v, told %d times", f, told)
		}
		for _, c := range []struct {
			wait time.Duration
			kept bool
		}{{0, false}, {distrustFor - time.Second, false}, {time.Second, true}} {
			time.Sleep(c.wait)
			conn, _ := get(t, p, "a")
			p.Put(conn)
			if _, kept := get(t, p, "a"); kept != c.kept {
				t.Errorf("kept is %t", kept)
			}
		}
		if told != 1 || p.Figures().Distrusted {
			t.Errorf("told %d times, %+v", told, p.Figures())
		}
		p.CloseIdle()
	})
}

// TestUnaskedBytesOnIdleConnectionsAreSeen: what a target sent on a connection that no request came
// for is seen when that is closed for its age.
func TestUnaskedBytesOnIdleConnectionsAreSeen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const late = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n" // as HAProxy says before it closes
	for _, sends := range []string{"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 4", late} {
		target := &url.URL{Scheme: "http", Host: l.Addr().String()}
		p := NewPool[string](NewDialer(nil, nil, "http/1.1"), target, NewProtocol(target))
		c, _ := get(t, p, "a")
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		p.Put(c)
		_, _ = far.Write([]byte(sends))
		_ = far.Close()
		for end := time.Now().Add(patience); c.untouched(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("what the target did does not arrive")
			}
		}
		p.mu.Lock()
		p.idle.oldest().since = time.Now().Add(-idleTimeout)
		p.mu.Unlock()
		p.sweepIdle()
		if f := p.Figures(); f.Distrusted != (sends != "" && sends != late) || f.Idle != 0 || f.InUse != 0 {
			t.Errorf("after %q: %+v", sends, f)
		}
	}
}
