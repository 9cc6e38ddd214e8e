package targetconn

import (
	"context"
	"errors"
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

// TestIdleConnectionsAreSwept keeps some connections for a while, some for longer.
func TestIdleConnectionsAreSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pool{}
		add := func(n int) {
			for range n {
				p.mu.Lock()
				p.open++
				p.mu.Unlock()
				p.Put(&Conn{raw: nothing{}})
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

// TestPoolIsBounded: as many connections are opened as there may be and no more. One that
// fails, and one that is dropped, leaves its place to another.
func TestPoolIsBounded(t *testing.T) {
	refused := errors.New("refused")
	var fails bool
	dialer := NewDialer(nil, "http/1.1")
	dialer.DialContext = func(context.Context, string, string) (net.Conn, error) {
		if fails {
			return nil, refused
		}
		return nothing{}, nil
	}
	p := NewPool(dialer, &url.URL{Scheme: "http", Host: "target.example"})
	var last *Conn
	for n := range maxConns {
		c, err := p.Get(t.Context(), true)
		if err != nil {
			t.Fatalf("connection %d: %v", n+1, err)
		}
		last = c
	}
	if _, err := p.Get(t.Context(), true); err != ErrPoolFull {
		t.Errorf("one too many: %v", err)
	}
	p.Drop(last)
	for _, fail := range []bool{true, true, false} {
		fails = fail
		if _, err := p.Get(t.Context(), true); (err == nil) == fail || err == ErrPoolFull {
			t.Errorf("in the place of one that was dropped: %v", err)
		}
	}
	if idle, open := count(p); idle != 0 || open != maxConns {
		t.Errorf("%d idle, %d open", idle, open)
	}
}

func count(p *Pool) (idle, open int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle), p.open
}

// nothing is a connection to nobody.
type nothing struct{ net.Conn }

func (nothing) Close() error { return nil }
