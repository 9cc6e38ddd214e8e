package cache

import (
	"errors"
	"sync/atomic"
	"time"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// source is one upstream and what the cache knows of its token endpoint.
type source struct {
	upstream.Upstream
	queue       *requestQueue
	budget      *budget // nil: there is none
	breaker     endpointBreaker
	loads       atomic.Int32 // under way
	metrics     *metrics.Upstream
	lastRequest atomic.Pointer[TokenRequest] // nil: none was made
}

func newSource(config Config, u upstream.Upstream) *source {
	m := config.Metrics.Upstream(u.Name())
	return &source{
		Upstream: u,
		queue:    newRequestQueue(u.Name(), config.TokenRate, config.TokenTimeout/4),
		budget:   newBudget(u.Name(), config.Budgets[u.Name()], config.Shared, m, config.Log),
		metrics:  m,
	}
}

// TokenRequest is one token request that was made. The zero TokenRequest is none.
type TokenRequest struct {
	Began   time.Time
	Took    time.Duration
	Failure *upstream.Error // nil: it brought a token
}

// recordRequest keeps a token request, which ended with err, for the status of the cache.
func (s *source) recordRequest(began time.Time, err error) {
	last := &TokenRequest{Began: began, Took: time.Since(began)}
	if err != nil && !errors.As(err, &last.Failure) {
		last.Failure = brokenOff(s.Name())
	}
	s.lastRequest.Store(last)
}

// maxLoads bounds the loads of one upstream at a time: their entries have to stay in the
// table, so that subjects asked for faster than tokens come must not pile up.
const maxLoads = 2048

// addLoad counts one more load. If there are as many as may be, one whose deadline is
// later than that of w makes room for it, and else there is an error. One that buys tokens
// for other loads (n is needFresh) is never refused. The caller takes the load off again.
func (s *source) addLoad(w *waiter, n need) error {
	if s.loads.Add(1) > maxLoads && n != needFresh && !s.queue.makeRoom(w.deadline) {
		s.loads.Add(-1)
		return tooMany(s.Name(), max(s.queue.drained(), time.Second))
	}
	return nil
}

// version returns what the failures of the keys of s depend on.
func (s *source) version() endpointVersion {
	return endpointVersion{s.Fingerprint(), s.breaker.closed()}
}
