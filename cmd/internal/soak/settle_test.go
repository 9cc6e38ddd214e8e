package soak

import (
	"fmt"
	"sync"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

// barrier holds requests until there are as many as it wants.
type barrier struct {
	mu     sync.Mutex // guards left
	left   int
	opened chan struct{}
}

func newBarrier(n int) *barrier { return &barrier{left: n, opened: make(chan struct{})} }

// wait blocks until all have come, for a bounded time.
func (b *barrier) wait() {
	b.mu.Lock()
	b.left--
	if b.left == 0 {
		close(b.opened)
	}
	b.mu.Unlock()
	select {
	case <-b.opened:
	case <-time.After(10 * time.Second): // some did not get through; the caller tries again
	}
}

func (b *barrier) err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left > 0 {
		return fmt.Errorf("%d are not", b.left)
	}
	return nil
}

// settle brings the sidecar into a state that depends on nothing that happened
// before but leaks: no fault, no request, no connection of an app, none to the
// token endpoint, and to the target one for each worker, which are kept.
func (l *load) settle(p *provider) usage {
	l.t.Helper()
	testkit.Eventually(l.t, "requests succeed and redis is used", func() error {
		before := l.sidecar.metric("token_sidecar_redis_operations_total", `operation="store",outcome="ok"`)
		if r := l.runUntil(soakRate(), 100); r.statuses[200] < r.sent {
			return fmt.Errorf("%s", r)
		}
		if l.sidecar.metric("token_sidecar_redis_operations_total", `operation="store",outcome="ok"`) == before {
			return fmt.Errorf("no token was stored in redis")
		}
		return nil
	})
	p.target.CloseClientConnections()
	testkit.Eventually(l.t, "all requests are at the target at the same time", func() error { return l.fillHouse(p) })
	l.client.CloseIdleConnections()
	return l.least(p)
}

// least returns the least that the sidecar holds once it refreshes no token any
// more and has collected the garbage of that time, twice for the sake of pools.
// To ask it takes a connection and goroutines of its own, which may still be
// there when it is asked again, while what has leaked is always there.
func (l *load) least(p *provider) usage {
	l.t.Helper()
	var u usage
	issued, since := -1, 0 // since: collections when the last token was issued
	testkit.Eventually(l.t, "the sidecar is still", func() error {
		p.CloseClientConnections() // tokens just used are replaced once more
		now := l.sidecar.usage()
		if n := p.TokenRequests(); issued != n {
			issued, since, u = n, now.collections, now
		}
		now.goroutines, now.files = min(now.goroutines, u.goroutines), min(now.files, u.files)
		u = now
		if u.collections < since+2 {
			return fmt.Errorf("%s, %d tokens issued, %d collections since", u, issued, u.collections-since)
		}
		return nil
	})
	return u
}

// fillHouse has one request of every worker at the target at the same time.
func (l *load) fillHouse(p *provider) error {
	house := newBarrier(workers)
	p.house.Store(house)
	defer p.house.Store(nil)
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() { l.send("GET", fmt.Sprintf("/humanapi/v1/full?n=%d", -i), subject(i), int64(-i), "") })
	}
	all.Wait()
	return house.err()
}

// grown names what is more than a tenth and a little above what it was.
func grown(before, after usage) error {
	for _, c := range []struct {
		what                  string
		before, after, little int
	}{
		{"goroutines", before.goroutines, after.goroutines, 3},
		{"open files", before.files, after.files, 3},
		// The runtime gives memory back when it likes.
		{"KiB resident", before.resident, after.resident, 8 << 10},
		{"KiB of heap", before.heap, after.heap, 4 << 10},
	} {
		if c.after > c.before+c.before/10+c.little {
			return fmt.Errorf("%s grew from %d to %d, want at most a tenth and %d more", c.what, c.before, c.after, c.little)
		}
	}
	return nil
}
