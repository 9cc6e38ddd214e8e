package proxy

import (
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
