package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

// TestAColdFleetStaysWithinItsBudget starts pods without any token, with an empty Redis
// and requests for all subjects at once. In one fleet all pods need the tokens of the same
// subjects, in the other each needs one of its own.
func TestAColdFleetStaysWithinItsBudget(t *testing.T) {
	takesLong(t)
	type size struct{ pods, subjects int }
	sizes := []size{{50, 20}, {150, 0}}
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
	takesLong(t)
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
	takesLong(t)
	for _, forgets := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			network := redistest.NewNetwork(t)
			endpoint := &limited{life: time.Hour}
			const pods, own, rate = 10, 60, 2
			var all sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			for n, c := range endpoint.fleet(t, network, pods, rate) {
				for k := range own {
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
			time.Sleep(16 * time.Second)
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

// TestAHostileRedisWithholdsNewTokensAlone has somebody who can write to Redis, or who is
// Redis, say all the time that there is no turn yet.
func TestAHostileRedisWithholdsNewTokensAlone(t *testing.T) {
	takesLong(t)
	const lasts = 7 * time.Minute
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
			endpoint := &limited{life: 5 * time.Minute}
			c := endpoint.fleet(t, network, 1, 100)[0]
			obedient(t, c, "alice")
			began := time.Now()
			go hostile(network)
			time.Sleep(time.Second)
			end := began.Add(endpoint.life - maxSkew - answerTime)
			for time.Since(began) < lasts-10*time.Second {
				_, err := c.Token(t.Context(), subject("alice"))
				if alive := time.Now().Before(end); alive != (err == nil) {
					t.Fatalf("%s: after %s of 5 minutes of a token: %v", what, time.Since(began), err)
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
