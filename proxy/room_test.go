package proxy

import (
	"fmt"
	"sync"
	"testing"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// Connections that no request uses make room for those that one does, also to another target: there
// are no more than there should be.
//
// Case P23.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	const most = 6
	var beta *up
	s := newSide(t, setup{
		config: func(c *Config) { c.MaxTargetConnections = most },
		upstreams: func(s *side) []upstream.Upstream {
			beta = newUp(t, listen(t))
			return []upstream.Upstream{s.oauth2("alpha", s.up.url()), s.oauth2("beta", beta.url())}
		},
	})
	count := func() (open int) {
		var all metrics.Connections
		for _, c := range s.proxy.targets {
			c.addTo(&all)
		}
		return all.InUse + all.Idle + all.Shared
	}
	for range 3 {
		for name, target := range map[string]*up{"alpha": s.up, "beta": beta} {
			var here sync.WaitGroup // so that each needs a connection
			here.Add(most)
			target.play(func(r *upRequest) bool {
				here.Done()
				here.Wait()
				return hello(r)
			})
			var all sync.WaitGroup
			for range most {
				all.Go(func() {
					if a := s.get("/" + name + "/x"); a.status != 200 {
						t.Errorf("%s: %d %s", name, a.status, a.body)
					}
				})
			}
			all.Wait()
			if open := count(); open > most {
				t.Errorf("%d connections are open, want %d at most", open, most)
			}
		}
	}
}

// Requests over HTTP/2 share a connection, one after the other, and at once when it was lost.
//
// Case P21.
func TestRequestsShareAConnection(t *testing.T) {
	target := newTLSTarget(t, 0)
	s := newSide(t, setup{config: func(c *Config) { c.Roots = target.roots["trusted"] }, upstreams: func(*side) []upstream.Upstream {
		return []upstream.Upstream{subjects(target.url)}
	}})
	ask := func(n int) {
		if a := s.get("/mydatahelps.participant/x", fmt.Sprintf("%s: s%d", subjectHeader, n)); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	opened := func() uint64 { return s.proxy.Connections()[0].Opened }
	for n := range 2 * 64 {
		ask(n)
	}
	if n := opened(); n != 1 {
		t.Errorf("%d connections for requests one after the other", n)
	}
	target.CloseClientConnections()
	eventually(t, "the connection is lost", func() bool { return s.proxy.Connections()[0].Shared == 0 })
	before := opened()
	var all sync.WaitGroup
	for n := range 32 {
		all.Go(func() { ask(n) })
	}
	all.Wait()
	if n := opened() - before; n != 1 {
		t.Errorf("%d connections for requests at once", n)
	}
}
