package cache

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/cache/shared"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// limited is a token endpoint that allows so many requests in any second, and counts
// those that it refuses among them.
type limited struct {
	allowed int             // zero: any number
	life    time.Duration   // of its tokens
	retry   time.Duration   // Retry-After of a refusal
	down    atomic.Bool     // it answers 503
	wrong   atomic.Bool     // it refuses the credential
	first   *upstream.Error // what it answers to the first replica, nil: as to the others

	mu      sync.Mutex // guards the rest
	asked   []time.Time
	refused []time.Time
}

// answerTime is how long the endpoint takes.
const answerTime = 50 * time.Millisecond

func (l *limited) token(ctx context.Context, key upstream.Key) (upstream.Token, error) {
	began := time.Now()
	l.mu.Lock()
	l.asked = append(l.asked, began)
	within := 0
	for i := len(l.asked) - 1; i >= 0 && began.Sub(l.asked[i]) < time.Second; i-- {
		within++
	}
	over := l.allowed > 0 && within > l.allowed
	if over {
		l.refused = append(l.refused, began)
	}
	l.mu.Unlock()
	if err := sleep(ctx, answerTime); err != nil {
		return upstream.Token{}, &upstream.Error{Upstream: "up", Class: upstream.ClassUnavailable}
	}
	switch {
	case over:
		return upstream.Token{}, &upstream.Error{Upstream: "up", Class: upstream.ClassThrottled, Status: 429, RetryAfter: l.retry}
	case l.wrong.Load():
		return upstream.Token{}, &upstream.Error{Upstream: "up", Class: upstream.ClassCredential, Status: 401}
	case l.down.Load():
		return upstream.Token{}, &upstream.Error{Upstream: "up", Class: upstream.ClassUnavailable, Status: 503}
	}
	return upstream.NewToken("t", "", began, began.Add(l.life))
}

// between returns how many requests came between two times.
func (l *limited) between(from, to time.Time) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.asked {
		if !at.Before(from) && at.Before(to) {
			n++
		}
	}
	return n
}

// counts returns how many requests came, and how many of them were refused.
func (l *limited) counts() (asked, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.asked), len(l.refused)
}

// most returns the most requests in one second from a time on.
func (l *limited) most(from time.Time) (most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, at := range l.asked {
		n := 0
		for ; i+n < len(l.asked) && l.asked[i+n].Sub(at) < time.Second; n++ {
		}
		if !at.Before(from) {
			most = max(most, n)
		}
	}
	return most
}

// pod is one replica's way to the endpoint.
type pod struct {
	*limited
	first bool // the first replica of its fleet
}

func (pod) Name() string                                                         { return "up" }
func (pod) Routes() []upstream.Route                                             { return nil }
func (pod) CloseIdleConnections()                                                {}
func (pod) Bind(t upstream.Token, _ upstream.Fingerprint) (upstream.Token, bool) { return t, true }
func (pod) Fingerprint() upstream.Fingerprint                                    { return upstream.Fingerprint{} }
func (pod) Key(upstream.Kind, string, string) (upstream.Key, error) {
	return upstream.Key{}, nil
}
func (p pod) Fetch(ctx context.Context, key upstream.Key, _ upstream.TokenSource) (upstream.Token, error) {
	if p.first && p.limited.first != nil {
		return upstream.Token{}, p.limited.first
	}
	return p.token(ctx, key)
}

// takesLong has the test of a fleet run beside others, and not at all in a short run.
func takesLong(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a fleet takes long")
	}
	t.Parallel()
}

// budgetRate is the budget of the fleets: nine tenths of what the endpoint allows.
const budgetRate = 9

// fleet returns n replicas with a budget, in a bubble, that make rate token requests a
// second each.
func (l *limited) fleet(t *testing.T, network *redistest.Network, n int, rate float64) (all []*Cache) {
	t.Helper()
	return l.loggingFleet(t, network, n, rate, zerolog.Nop())
}

func (l *limited) loggingFleet(t *testing.T, network *redistest.Network, n int, rate float64, log zerolog.Logger) (all []*Cache) {
	t.Helper()
	for k := range n {
		m := metrics.New("test")
		store := mustShare(t, shared.Config{URL: upstream.NewSecret("redis://redis.test"), Dial: network.Dial,
			Ring: ring("a"), Metrics: m, Log: zerolog.Nop(), Budgets: true})
		c := New(Config{Upstreams: []upstream.Upstream{pod{l, k == 0}}, Metrics: m, Shared: store, TokenRate: rate, Log: log,
			Budgets: map[string]float64{"up": budgetRate}})
		t.Cleanup(func() { _ = c.Close() })
		all = append(all, c)
	}
	return all
}

// counted returns the sum of a counter over a fleet, of the series with these labels.
func counted(t *testing.T, fleet []*Cache, name string, labels ...string) (sum float64) {
	t.Helper()
	for _, c := range fleet {
		families, err := c.config.Metrics.Gatherer().Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, series := range f.GetMetric() {
				var values []string
				for _, l := range series.GetLabel() {
					values = append(values, l.GetValue())
				}
				if f.GetName() == "token_sidecar_"+name && slices.Equal(values, labels) {
					sum += series.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

// obedient asks for a token until it gets one, and comes again when it is told, in the
// whole seconds of Retry-After.
func obedient(t *testing.T, c *Cache, name string) {
	for {
		_, err := c.Token(t.Context(), subject(name))
		var known *Error
		switch {
		case err == nil:
			return
		case !errors.As(err, &known):
			t.Errorf("%s: %v", name, err)
			return
		}
		time.Sleep(time.Duration(math.Ceil(known.RetryAfter.Seconds())) * time.Second)
	}
}
