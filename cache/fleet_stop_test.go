package cache

import (
	"fmt"
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

// TestAFleetProbesOnceASecond has the token endpoint fail for a minute, and come back.
func TestAFleetProbesOnceASecond(t *testing.T) {
	takesLong(t)
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
	for n, c := range endpoint.fleet(t, network, 10, 100) {
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
	if took := last.Load().Sub(healed); took > 8*time.Second { // 30 tokens at 9 a second
		t.Errorf("the last request failed %s after the recovery", took)
	}
}

// TestAFleetWithARefusedCredentialAsksSeldom has the credential of all replicas refused for
// a minute. Each replica that is stopped tells so once. One that
// was refused itself asks again after a minute, as it does without a budget.
func TestAFleetWithARefusedCredentialAsksSeldom(t *testing.T) {
	takesLong(t)
	synctest.Test(t, func(t *testing.T) {
		const pods = 10
		network := redistest.NewNetwork(t)
		endpoint := &limited{life: time.Hour}
		endpoint.wrong.Store(true)
		began := time.Now()
		var log lines
		var all sync.WaitGroup
		for n, c := range endpoint.loggingFleet(t, network, pods, 100, zerolog.New(&log)) {
			all.Go(func() {
				for {
					_, err := c.Token(t.Context(), subject(fmt.Sprint("own-", n)))
					if err == nil {
						return
					}
					if cause := causeOf(err); cause == nil || time.Since(began) > 5*time.Second && cause.Class != upstream.ClassCredential && cause.Class != upstream.ClassThrottled {
						t.Errorf("the app is told %v", err)
					}
					time.Sleep(500 * time.Millisecond)
				}
			})
		}
		time.Sleep(time.Minute)
		healed := time.Now()
		endpoint.wrong.Store(false)
		all.Wait()
		// Three failures stop the fleet, and then there is one in credentialStop.
		if n := endpoint.between(began, healed); n < 5 || n > pods {
			t.Errorf("%d token requests in a minute with a refused credential", n)
		}
		if took := time.Since(healed); took > credentialPause*6/5 {
			t.Errorf("all replicas had a token %s after the recovery", took)
		}
		if stopped, again := log.count("replicas met trouble"), log.count("token requests again"); stopped < pods-3 || stopped > pods || again > stopped {
			t.Errorf("of %d replicas %d tell of the stop, and %d of its end", pods, stopped, again)
		}
	})
}

// TestAStopIsToldOnce has Redis go away while the fleet is stopped.
func TestAStopIsToldOnce(t *testing.T) {
	var log lines
	b := &budget{metrics: metrics.New("test").Upstream("up").Budget(1), log: zerolog.New(&log)}
	stop := shared.Turn{Refused: true, Wait: time.Second, Stopped: upstream.ClassThrottled}
	for _, turn := range []shared.Turn{{}, stop, stop, {Without: true}, stop, {}, {Wait: time.Second}} {
		b.record(turn, true)
	}
	if stopped, again := log.count("replicas met trouble"), log.count("token requests again"); stopped != 1 || again != 1 {
		t.Errorf("the stop is told %d times, and its end %d times", stopped, again)
	}
}

// lines is a log. Its methods are safe for concurrent use.
type lines struct {
	mu   sync.Mutex // guards text
	text []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	return len(b), nil
}

func (l *lines) count(words string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(string(l.text), words)
}

// TestOneReplicaDoesNotStopTheFleet has one of six replicas meet trouble that the others do
// not, while these need all the turns that they can get.
func TestOneReplicaDoesNotStopTheFleet(t *testing.T) {
	takesLong(t)
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
