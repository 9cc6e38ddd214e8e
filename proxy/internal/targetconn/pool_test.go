package targetconn

import (
	"net"
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

func count(p *Pool) (idle, open int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle), p.open
}

// nothing is a connection to nobody.
type nothing struct{ net.Conn }

func (nothing) Close() error { return nil }
