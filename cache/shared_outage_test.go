package cache

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/cache/shared"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// lookTime is the most that Redis costs a request, however it fails.
const lookTime = 240 * time.Millisecond

// faults are the ways in which a network or a Redis can fail, and how much time each
// of the first loads spends on it: over connections that are yet to be made, and over
// one that worked before.
var faults = map[string]struct {
	fault     redistest.Fault
	new, kept time.Duration
}{
	"refuses":                  {redistest.Refused(), 0, 0},
	"takes no connections":     {redistest.Blackhole(), lookTime, 0},
	"hangs":                    {redistest.Hung(), lookTime, lookTime},
	"takes 250 ms for a reply": {redistest.Slow(250 * time.Millisecond), lookTime, lookTime},
	"takes 2 s for a reply":    {redistest.Slow(2 * time.Second), lookTime, lookTime},
	"takes 30 ms for a byte":   {redistest.Dripping(30 * time.Millisecond), lookTime, lookTime},
	"takes 100 ms for a byte":  {redistest.Dripping(100 * time.Millisecond), lookTime, lookTime},
	"resets":                   {redistest.Reset(), 0, 0},
	"cuts replies short":       {redistest.Cut(), 0, 0},
	"speaks something else":    {redistest.Says("HTTP/1.1 400 Bad Request\r\n\r\n"), 0, 0},
	"is full":                  {redistest.Fault{Error: "OOM command not allowed when used memory > 'maxmemory'."}, 0, 0},
	"forbids it":               {redistest.Fault{Error: "NOPERM this user has no permissions"}, 0, 0},
	"wants a password":         {redistest.Fault{Error: "NOAUTH Authentication required."}, 0, 0},
	"is busy":                  {redistest.Fault{Error: "BUSY Redis is busy running a script."}, 0, 0},
	"cannot be written":        {redistest.Fault{Error: "READONLY You can't write against a read only replica."}, 0, 0},
	"is loading":               {redistest.Fault{Error: "LOADING Redis is loading the dataset in memory"}, 0, 0},
}

// TestFailingRedisCostsNoMoreThanItsBudget has Redis fail in every way for which
// there is a name. The first three loads find that out and then make the token request
// alone, the next do not ask Redis at all, and those that try it again later spend no
// more. A token that is held costs nothing all the while.
//
// Case E2.
func TestFailingRedisCostsNoMoreThanItsBudget(t *testing.T) {
	for name, c := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { failsFor(t, c.fault, c.new, false) })
			synctest.Test(t, func(t *testing.T) { failsFor(t, c.fault, c.kept, true) })
		})
	}
}

// failsFor has Redis fail, before the first connection to it or after, and checks how
// much of their time the loads spend on it: first, for each of the first three.
func failsFor(t *testing.T, fault redistest.Fault, first time.Duration, connected bool) {
	network := redistest.NewNetwork(t)
	i := &issuer{life: time.Hour, delay: 100 * time.Millisecond}
	r, _ := i.joinOn(t, network)
	if connected {
		mustGet(t, r, "warm")
		synctest.Wait()
		if n := len(network.Redis.Keys()); n != 1 {
			t.Fatalf("%d tokens are shared before the fault", n)
		}
	}
	network.Play(fault)
	for n := range 50 {
		name := fmt.Sprint("cold-", n)
		spent := spentBy(t, r, name) - i.delay
		synctest.Wait() // what is done afterwards needs a connection too
		switch {
		case n < 3 && spent != first:
			t.Errorf("connected %v: load %d spent %s on Redis, want %s", connected, n, spent, first)
		case 3 <= n && n < 6 && spent != 0:
			t.Errorf("connected %v: load %d spent %s on Redis, which has failed three times", connected, n, spent)
		case spent < 0 || spent > lookTime:
			t.Errorf("connected %v: load %d spent %s on Redis, more than %s", connected, n, spent, lookTime)
		}
		if spent := spentBy(t, r, name); spent != 0 {
			t.Errorf("connected %v: a token that is held took %s", connected, spent)
		}
	}
	if i.calls.Load() < 50 {
		t.Errorf("%d token requests for 50 subjects", i.calls.Load())
	}
}

// spentBy returns how long r takes to give a token of name, which must be a good one.
func spentBy(t *testing.T, r *Cache, name string) time.Duration {
	t.Helper()
	began := time.Now()
	if got := mustGet(t, r, name); !strings.HasPrefix(got, name+"-") {
		t.Errorf("%s got %s", name, got)
	}
	return time.Since(began)
}

// TestLookAndLeaseAreOneOperation has Redis work and be slow, and fail for the lease
// alone: the look for a token and the attempt to take the lease are one operation.
//
// Case E2.
func TestLookAndLeaseAreOneOperation(t *testing.T) {
	for name, c := range map[string]struct {
		fault redistest.Fault
		want  time.Duration
	}{
		"50 ms for a reply":        {redistest.Slow(50 * time.Millisecond), 50 * time.Millisecond},
		"239 ms for a reply":       {redistest.Slow(239 * time.Millisecond), 239 * time.Millisecond},
		"241 ms for a reply":       {redistest.Slow(241 * time.Millisecond), lookTime},
		"no lease, no answer":      {redistest.Hung().On(acquires), lookTime},
		"no lease, full":           {redistest.Says("-OOM command not allowed\r\n").On(acquires), 0},
		"no lease, reset":          {redistest.Reset().On(acquires), 0},
		"no lease, cut short":      {redistest.Cut().On(acquires), 0},
		"no lease, another answer": {redistest.Says("*1\r\n:1\r\n").On(acquires), 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := redistest.NewNetwork(t)
				i := &issuer{life: time.Hour, delay: time.Second}
				r, _ := i.joinOn(t, network)
				mustGet(t, r, "warm") // Redis knows the scripts from now on
				synctest.Wait()
				network.Play(c.fault)
				for n := range 5 {
					if spent := spentBy(t, r, fmt.Sprint("cold-", n)) - i.delay; spent != c.want {
						t.Errorf("load %d spent %s on Redis, want %s", n, spent, c.want)
					}
					time.Sleep(10 * time.Second) // whatever is done afterwards is over, and Redis is tried again
				}
			})
		})
	}
}

// TestFailureOfRedisEndsTheWaitForALease has Redis work until a load waits for the lease
// of another replica, and hang then. The wait ends within the lookTime of the operation
// that is under way.
//
// Case E2.
func TestFailureOfRedisEndsTheWaitForALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		slow := &issuer{life: time.Hour, delay: 5 * time.Second}
		holder, _ := slow.joinOn(t, network)
		go func() { _, _ = holder.Token(t.Context(), subject("alice")) }()
		synctest.Wait()
		quick := &issuer{life: time.Hour}
		waiter, _ := quick.joinOn(t, network)
		time.AfterFunc(time.Second, func() { network.Play(redistest.Hung()) })
		// It asks for the lease at least every 150 ms.
		if took := spentBy(t, waiter, "alice"); took < time.Second+lookTime-150*time.Millisecond || took > time.Second+lookTime+150*time.Millisecond {
			t.Errorf("it waited for %s, want until %s after Redis hung", took, lookTime)
		}
	})
}

// TestHealedRedisIsUsedAgain has Redis fail for a minute while tokens are asked for.
// A token is shared again after the longest pause, of three seconds varied by a fifth,
// and the operation that was under way when Redis was healed. Where connections could
// not be made, go-redis adds to that: after 16 failures it tries by itself, a second
// after the attempt before, and until one succeeds it fails each operation at once.
//
// Case E2.
func TestHealedRedisIsUsedAgain(t *testing.T) {
	redial := map[string]time.Duration{"refuses": time.Second, "takes no connections": 2 * time.Second}
	for name, c := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := redistest.NewNetwork(t)
				i := &issuer{life: time.Hour}
				r, _ := i.joinOn(t, network)
				store := r.config.Shared
				network.Play(c.fault)
				n := 0
				const pause = 10 * time.Millisecond
				ask := func() {
					mustGet(t, r, fmt.Sprint(n))
					n++
					time.Sleep(pause)
				}
				for began := time.Now(); time.Since(began) < time.Minute; {
					ask()
					time.Sleep(9 * pause)
				}
				if store.Status().Since.IsZero() {
					t.Fatal("Redis is not left alone")
				}
				network.Play(redistest.Fault{})
				network.Redis.FlushAll()
				healed := time.Now()
				for len(network.Redis.Keys()) == 0 && time.Since(healed) < time.Minute {
					ask()
				}
				most := 3*time.Second*6/5 + lookTime + redial[name] + 2*pause
				if took := time.Since(healed); took > most {
					t.Errorf("no token was shared for %s after Redis was healed, want at most %s", took, most)
				}
				if !store.Status().Since.IsZero() {
					t.Errorf("Redis is still left alone: %+v", store.Status())
				}
			})
		})
	}
}

// TestALoadAsksRedisAgainAfterItsTurn has Redis come back while a load waits until the rate
// allows its token request. Another replica has shared the token meanwhile.
func TestALoadAsksRedisAgainAfterItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		i := &issuer{life: time.Hour}
		other, _ := i.joinOn(t, network)
		m := metrics.New("test")
		store := mustShare(t, shared.Config{URL: upstream.NewSecret("redis://redis.test"), Dial: network.Dial, Ring: ring("a"), Metrics: m})
		slow := New(Config{Upstreams: []upstream.Upstream{&replica{issuer: i}}, Metrics: m, Shared: store, TokenRate: 1})
		defer slow.Close()
		network.Play(redistest.Refused())
		mustGet(t, slow, "alice") // its only turn
		go func() {
			time.Sleep(500 * time.Millisecond)
			network.Play(redistest.Fault{})
			mustGet(t, other, "bob")
		}()
		mustGet(t, slow, "bob")
		if n := i.calls.Load(); n != 2 {
			t.Errorf("%d token requests for two tokens", n)
		}
	})
}
