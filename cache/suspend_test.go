package cache

import (
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// TestASuspendedMachineRefreshes has the monotonic clock stand still for an hour, as
// it does while a machine is suspended, in which the life of a pinned token has ended by
// the wall clock: it is replaced as soon as the machine goes on.
//
// Case R9.
func TestASuspendedMachineRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: 30 * time.Minute}
		c := New(Config{Upstreams: []upstream.Upstream{&replica{issuer: i}}, Metrics: metrics.New("test")})
		defer c.Close()
		c.Pin(subject("alice"))
		synctest.Wait()
		w := c.newSourceWatch()
		time.Sleep(2 * time.Second)
		now := c.now()
		if len(w.changed(now)) > 0 {
			t.Error("a change is seen while the clocks go together")
		}
		if now.wall, now.mono = now.wall+int64(time.Hour), now.mono+int64(time.Second); len(w.changed(now)) != 1 {
			t.Error("an hour by which the clocks went apart is not seen")
		}
		alice := subject("alice")
		e := c.table.find(&alice)
		e.mu.Lock()
		h := *e.token.Load()
		h.staleAt.wall -= int64(time.Hour)
		h.invalidAt.wall -= int64(time.Hour)
		e.token.Store(&h)
		e.mu.Unlock()
		c.replan(w.sources)
		time.Sleep(time.Second)
		if n := i.calls.Load(); n != 2 {
			t.Errorf("%d token requests after the suspend, want 2", n)
		}
	})
}

// TestWallClockSetBackDuringATokenRequest stretches no life.
func TestWallClockSetBackDuringATokenRequest(t *testing.T) {
	began := instant{wall: int64(time.Hour), mono: int64(time.Hour)}
	for back, want := range map[time.Duration]time.Duration{0: 9 * time.Minute, 20 * time.Minute: 9 * time.Minute} {
		now := instant{wall: began.wall + int64(time.Minute-back), mono: began.mono + int64(time.Minute)}
		token, err := upstream.NewToken("t", "", time.Unix(0, began.wall), time.Unix(0, began.wall+int64(10*time.Minute)))
		if err != nil {
			t.Fatal(err)
		}
		if left := newIssuedToken(token, began, now, 0.2).invalidAt.until(now); left != want-maxSkew {
			t.Errorf("set back by %s: %s are left, want %s", back, left, want-maxSkew)
		}
	}
}
