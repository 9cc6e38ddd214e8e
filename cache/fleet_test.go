package cache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

func (pod) Name() string                      { return "up" }
func (pod) Routes() []upstream.Route          { return nil }
func (pod) CloseIdleConnections()             {}
func (pod) Fingerprint() upstream.Fingerprint { return upstream.Fingerprint{} }
func (pod) Key(upstream.Kind, string, string) (upstream.Key, error) {
	return upstream.Key{}, nil
}
func (p pod) Fetch(ctx context.Context, key upstream.Key, _ upstream.TokenSource) (upstream.Token, error) {
	if p.first && p.limited.first != nil {
		return upstream.Token{}, p.limited.first
	}
	return p.token(ctx, key)
}

// budgetRate is the budget of the fleets: nine tenths of what the endpoint allows.
const budgetRate = 9

// fleet returns n replicas with a budget, in a bubble, that make rate token requests a
// second each.
func (l *limited) fleet(t *testing.T, network *redistest.Network, n int, rate float64) (all []*Cache) {
	t.Helper()
	for k := range n {
		m := metrics.New("test")
		store := mustShare(t, shared.Config{URL: upstream.NewSecret("redis://redis.test"), Dial: network.Dial,
			Ring: ring("a"), Metrics: m, Log: zerolog.Nop(), Budgets: true})
		c := New(Config{Upstreams: []upstream.Upstream{pod{l, k == 0}}, Metrics: m, Shared: store, TokenRate: rate,
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

// TestAColdFleetStaysWithinItsBudget starts pods without any token, with an empty Redis
// and requests for all subjects at once. In one fleet all pods need the tokens of the same
// subjects, in the other each needs one of its own.
func TestAColdFleetStaysWithinItsBudget(t *testing.T) {
	t.Parallel()
	type size struct{ pods, subjects int }
	sizes := []size{{50, 20}, {300, 0}}
	if os.Getenv("SOAK") != "" {
		sizes = []size{{1000, 100}, {1000, 0}}
	}
	for _, s := range sizes {
		t.Run(fmt.Sprintf("%dx%d", s.pods, s.subjects), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := redistest.NewNetwork(t)
				endpoint := &limited{allowed: 10, life: time.Hour, retry: time.Second}
				began := time.Now()
				var all sync.WaitGroup
				fleet := endpoint.fleet(t, network, s.pods, 100)
				for n, c := range fleet {
					for k := range s.subjects {
						all.Go(func() { obedient(t, c, fmt.Sprint("s", k)) })
					}
					if s.subjects == 0 {
						all.Go(func() { obedient(t, c, fmt.Sprint("own-", n)) })
					}
				}
				all.Wait()
				took, tokens := time.Since(began), s.subjects
				if tokens == 0 {
					tokens = s.pods
				}
				if asked, refused := endpoint.counts(); asked != tokens || refused > 0 {
					t.Errorf("%d token requests for %d tokens, of which %d were answered 429", asked, tokens, refused)
				}
				// Who waits for another's turn does not ask Redis meanwhile.
				if n, most := counted(t, fleet, "redis_operations_total", "acquire", "miss"), float64(8*s.pods*max(s.subjects, 1)); n > most {
					t.Errorf("%v questions to Redis, want %v at most", n, most)
				}
				rest := 1.1 * float64(tokens) / budgetRate
				t.Logf("all were served within %s; at the budget's rate it takes %.1f s", took, float64(tokens)/budgetRate)
				if took.Seconds() > rest {
					t.Errorf("all were served within %s, want %.1f s", took, rest)
				}
			})
		})
	}
}

// TestRefreshesFitIntoTheBudget has a fleet whose refreshes alone need 87 of 100 requests
// that the endpoint allows.
func TestRefreshesFitIntoTheBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const pods, own, lasts = 4, 100, 2 * time.Minute
		network := redistest.NewNetwork(t)
		life := time.Duration(pods*own) * time.Second * 1000 / 6960 // 8.7 a second, at four fifths of their lives
		endpoint := &limited{allowed: 10, life: life, retry: time.Second}
		began := time.Now()
		var failed, early atomic.Int32
		var all sync.WaitGroup
		fleet := endpoint.fleet(t, network, pods, 100)
		for n, c := range fleet {
			for k := range own {
				all.Go(func() {
					name := fmt.Sprint(n, "-", k)
					for time.Since(began) < lasts {
						if _, err := c.Token(t.Context(), subject(name)); err != nil {
							if failed.Add(1); time.Since(began) < time.Minute {
								early.Add(1)
							}
						}
						time.Sleep(2500 * time.Millisecond)
					}
				})
			}
		}
		all.Wait()
		if n := failed.Load() - early.Load(); n > 0 {
			t.Errorf("%d requests failed after the first minute, and %d before", n, early.Load())
		}
		if asked, refused := endpoint.counts(); refused > 0 || asked < int(pods*own*lasts/life) {
			t.Errorf("%d token requests in %s, of which %d were answered 429", asked, lasts, refused)
		} else if n := counted(t, fleet, "token_budget_slots_total", "deferred", "up"); n == 0 || n > 1.2*float64(asked) {
			t.Errorf("%v refreshes gave way, beside %d token requests", n, asked)
		}
	})
}

// TestRedisComesBackToItsBudget has Redis go away from a fleet, once with what it knew
// and once without.
func TestRedisComesBackToItsBudget(t *testing.T) {
	t.Parallel()
	for _, forgets := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			network := redistest.NewNetwork(t)
			endpoint := &limited{life: time.Hour}
			const pods, rate = 10, 3
			var all sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			for n, c := range endpoint.fleet(t, network, pods, rate) {
				for k := range 80 {
					all.Go(func() {
						for ctx.Err() == nil {
							_, _ = c.Token(ctx, upstream.Key{Upstream: "up", Subject: fmt.Sprint(n, "-", k)})
							time.Sleep(2 * time.Second)
						}
					})
				}
			}
			time.Sleep(10 * time.Second)
			lost := time.Now()
			gone := redistest.Refused()
			gone.Reply = redistest.Reset().Reply
			network.Play(gone)
			time.Sleep(10 * time.Second)
			network.Play(redistest.Fault{})
			if forgets {
				network.Redis.FlushAll()
			}
			back := time.Now()
			time.Sleep(30 * time.Second)
			cancel()
			all.Wait()
			if n := endpoint.between(lost.Add(5*time.Second), back); n < 4*pods*rate || n > 6*pods*rate {
				t.Errorf("without Redis %d token requests in five seconds, want %d", n, 5*pods*rate)
			}
			if n := endpoint.most(back.Add(5 * time.Second)); n > budgetRate+1 {
				t.Errorf("forgets %v: %d token requests in a second, long after Redis came back", forgets, n)
			}
			if n := endpoint.between(back.Add(5*time.Second), back.Add(15*time.Second)); n < 9*budgetRate {
				t.Errorf("forgets %v: %d token requests in ten seconds", forgets, n)
			}
		})
	}
}

// TestAFleetProbesOnceASecond has the token endpoint fail for a minute, and come back.
func TestAFleetProbesOnceASecond(t *testing.T) {
	t.Parallel()
	for _, own := range []int{3, 1} { // tokens that each pod needs
		synctest.Test(t, func(t *testing.T) { testProbes(t, own) })
	}
}

func testProbes(t *testing.T, own int) {
	network := redistest.NewNetwork(t)
	endpoint := &limited{life: time.Hour}
	endpoint.down.Store(true)
	began := time.Now()
	var all sync.WaitGroup
	var last atomic.Pointer[time.Time]
	for n, c := range endpoint.fleet(t, network, 20, 100) {
		for k := range own {
			all.Go(func() {
				for time.Since(began) < 2*time.Minute {
					if _, err := c.Token(t.Context(), subject(fmt.Sprint(n, "-", k))); err == nil {
						return
					}
					now := time.Now()
					last.Store(&now)
					time.Sleep(500 * time.Millisecond)
				}
				t.Error("no token a minute after the recovery")
			})
		}
	}
	time.Sleep(time.Minute)
	healed := time.Now()
	endpoint.down.Store(false)
	all.Wait()
	if n := endpoint.between(began.Add(5*time.Second), healed); n < 45 || n > 56 {
		t.Errorf("%d token requests in 55 seconds of a fleet whose endpoint is down", n)
	}
	if n := endpoint.most(began); n > budgetRate+1 {
		t.Errorf("%d token requests in a second", n)
	}
	if took := last.Load().Sub(healed); took > 12*time.Second { // 60 tokens at 9 a second
		t.Errorf("the last request failed %s after the recovery", took)
	}
}

// TestOneReplicaDoesNotStopTheFleet has one of six replicas meet trouble that the others do
// not, while these need all the turns that they can get.
func TestOneReplicaDoesNotStopTheFleet(t *testing.T) {
	t.Parallel()
	for _, trouble := range []upstream.Error{
		{Class: upstream.ClassCredential, Status: 401},
		{Class: upstream.ClassUnavailable},
		{Class: upstream.ClassThrottled, Status: 429, RetryAfter: 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			const lasts = 30 * time.Second
			trouble.Upstream = "up"
			endpoint := &limited{allowed: 10, life: time.Hour, first: &trouble}
			began := time.Now()
			var all sync.WaitGroup
			for n, c := range endpoint.fleet(t, redistest.NewNetwork(t), 6, 100) {
				for k := range 10 {
					all.Go(func() {
						for i := 0; time.Since(began) < lasts; i++ {
							_, err := c.Token(t.Context(), subject(fmt.Sprint(n, "-", k, "-", i)))
							if err != nil {
								time.Sleep(time.Second)
							}
						}
					})
				}
			}
			all.Wait()
			asked, _ := endpoint.counts()
			t.Logf("%s: the others made %d token requests in %s", trouble.Class, asked, lasts)
			if asked < int(budgetRate*lasts.Seconds())/2 {
				t.Errorf("%s: the others made %d token requests in %s, of %v that they may", trouble.Class, asked, lasts, budgetRate*lasts.Seconds())
			}
		})
	}
}

// TestAFleetKeepsQuiet has the token endpoint answer 429 with a Retry-After of twenty
// seconds.
func TestAFleetKeepsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		endpoint := &limited{allowed: 5, life: time.Hour, retry: 20 * time.Second}
		began := time.Now()
		var all sync.WaitGroup
		for n, c := range endpoint.fleet(t, network, 30, 100) {
			all.Go(func() {
				for time.Since(began) < 15*time.Second {
					_, _ = c.Token(t.Context(), subject(fmt.Sprint("own-", n)))
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		all.Wait()
		refused := endpoint.refused[0]
		if n := endpoint.between(refused.Add(2*answerTime+unchecked), began.Add(time.Hour)); n > 0 {
			t.Errorf("%d token requests within 15 seconds", n)
		}
	})
}

// TestAHostileRedisWithholdsNewTokensAlone has somebody who can write to Redis, or who is
// Redis, say all the time that there is no turn yet.
func TestAHostileRedisWithholdsNewTokensAlone(t *testing.T) {
	t.Parallel()
	const lasts = 12 * time.Minute
	for what, hostile := range map[string]func(*redistest.Network){
		"writes": func(network *redistest.Network) {
			for began := time.Now(); time.Since(began) < lasts; time.Sleep(time.Second) {
				for _, name := range network.Redis.Keys() {
					if strings.Contains(name, "{budget}") && !strings.HasSuffix(name, ":turn") {
						_ = network.Redis.Set(name, fmt.Sprintf("%d 0 0 3 9 9 9", time.Now().Add(119*time.Second).UnixMicro()))
					}
				}
			}
		},
		"answers": func(network *redistest.Network) {
			network.Play(redistest.Says("*8\r\n$0\r\n\r\n:0\r\n:1\r\n:2\r\n:0\r\n$0\r\n\r\n:9000000000000000\r\n:0\r\n").On(acquires))
			time.Sleep(lasts)
			network.Play(redistest.Fault{})
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			network := redistest.NewNetwork(t)
			endpoint := &limited{life: 10 * time.Minute}
			c := endpoint.fleet(t, network, 1, 100)[0]
			obedient(t, c, "alice")
			began := time.Now()
			go hostile(network)
			time.Sleep(time.Second)
			end := began.Add(endpoint.life - maxSkew - answerTime)
			for time.Since(began) < lasts-10*time.Second {
				_, err := c.Token(t.Context(), subject("alice"))
				if alive := time.Now().Before(end); alive != (err == nil) {
					t.Fatalf("%s: after %s of 10 minutes of a token: %v", what, time.Since(began), err)
				}
				var known *Error
				if _, err := c.Token(t.Context(), subject("bob")); !errors.As(err, &known) || known.RetryAfter > shared.MaxTurnWait {
					t.Fatalf("%s: for a new token: %v", what, err)
				}
				time.Sleep(900 * time.Millisecond)
			}
			if asked, _ := endpoint.counts(); asked != 1 {
				t.Errorf("%s: %d token requests", what, asked)
			}
			time.Sleep(time.Until(began.Add(lasts)))
			obedient(t, c, "bob")
			if took := time.Since(began) - lasts; took > 2*time.Minute {
				t.Errorf("%s: a new token %s afterwards", what, took)
			}
		})
	}
}
