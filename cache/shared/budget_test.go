package shared

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/upstream"
)

// bubble runs a test in a bubble of package testing/synctest, with a Redis and a store.
func bubble(t *testing.T, f func(t *testing.T, n *redistest.Network, s *Store)) {
	synctest.Test(t, func(t *testing.T) {
		n := redistest.NewNetwork(t)
		f(t, n, storeOn(t, n))
	})
}

func storeOn(t *testing.T, n *redistest.Network) *Store {
	return mustNew(t, Config{URL: upstream.NewSecret("redis://redis.test"), Dial: n.Dial, Budgets: true})
}

// place returns where the token of a subject is shared.
func place(s *Store, subject string) Place {
	key := someKey
	key.Subject = subject
	return s.Place(upstream.Fingerprint{}, key)
}

// mustTake asks for a turn for the token of a subject.
func mustTake(t *testing.T, s *Store, subject string, w Want) Turn {
	t.Helper()
	turn, err := s.Take(t.Context(), place(s, subject), w)
	if err != nil {
		t.Fatal(err)
	}
	return turn
}

// stopped returns the refusal that a load is told which has waited for its turn, and the
// zero Turn if the fleet is not stopped.
func stopped(t *testing.T, s *Store, b *Budget) Turn {
	t.Helper()
	now, _ := s.Stands(t.Context(), b, Turn{})
	return now
}

func near(got, want time.Duration) bool { return (got - want).Abs() < 2*time.Millisecond }

// TestTurnsKeepTheirDistance takes turns as fast as they come, and after a rest.
func TestTurnsKeepTheirDistance(t *testing.T) {
	bubble(t, func(t *testing.T, _ *redistest.Network, s *Store) {
		w := Want{Budget: s.Budget(upstream.Fingerprint{}, 10), Wait: 500 * time.Millisecond}
		for range 2 {
			for k := range 6 {
				if turn := mustTake(t, s, fmt.Sprint(k), w); turn.Refused || !near(turn.Wait, time.Duration(k)*100*time.Millisecond) {
					t.Errorf("turn %d: %+v", k, turn)
				}
			}
			if turn := mustTake(t, s, "late", w); !turn.Refused || !near(turn.Wait, 100*time.Millisecond) {
				t.Errorf("the seventh turn: %+v", turn)
			}
			other := Want{Budget: s.Budget(upstream.Fingerprint{1}, 10)}
			if turn := mustTake(t, s, "0", other); turn.Refused || turn.Wait != 0 {
				t.Errorf("of another credential: %+v", turn)
			}
			time.Sleep(time.Minute) // a rest saves nothing up
		}
	})
}

// TestReplicasMayHaveDifferentBudgets has two of them take turns by turns, as while a budget
// is being changed: after each turn the distance is that of who took it.
func TestReplicasMayHaveDifferentBudgets(t *testing.T) {
	bubble(t, func(t *testing.T, _ *redistest.Network, s *Store) {
		due := time.Duration(0)
		for k := range 6 {
			perSecond := []float64{10, 2}[k%2]
			turn := mustTake(t, s, fmt.Sprint(k), Want{Budget: s.Budget(upstream.Fingerprint{}, perSecond), Wait: 10 * time.Second})
			if !near(turn.Wait, due) {
				t.Errorf("turn %d comes after %s, want %s", k, turn.Wait, due)
			}
			due += time.Duration(float64(time.Second) / perSecond)
		}
	})
}

// TestPromisesAreKept has requests come again when they were told, while others that
// come for the first time take every turn that they can get.
func TestPromisesAreKept(t *testing.T) {
	bubble(t, func(t *testing.T, n *redistest.Network, s *Store) {
		w := Want{Budget: s.Budget(upstream.Fingerprint{}, 10), Wait: time.Second, Longest: 2 * time.Second, Promise: true}
		for k := range 11 {
			mustTake(t, s, fmt.Sprint(k), w)
		}
		const put = 20
		var told [put]time.Duration
		for k := range told {
			turn := mustTake(t, s, fmt.Sprint("put-off-", k), w)
			if told[k] = turn.Wait; !turn.Refused || k > 0 && !near(turn.Wait, told[k-1]+105*time.Millisecond) {
				t.Errorf("promise %d: %+v", k, turn)
			}
			if again := mustTake(t, storeOn(t, n), fmt.Sprint("put-off-", k), w); !again.Refused || !near(again.Wait, told[k]) {
				t.Errorf("promise %d to another replica: %+v, want %s", k, again, told[k])
			}
		}
		began, newcomer := time.Now(), 0
		for k := range told {
			for time.Since(began) < told[k] {
				for ; !mustTake(t, s, fmt.Sprint("new-", newcomer), Want{Budget: w.Budget, Wait: w.Wait}).Refused; newcomer++ {
				}
				time.Sleep(10 * time.Millisecond)
			}
			turn := mustTake(t, s, fmt.Sprint("put-off-", k), w)
			if turn.Refused || n.Redis.Exists(w.Budget.names(place(s, fmt.Sprint("put-off-", k)))[0]) {
				t.Errorf("promise %d was not kept, or stays: %+v", k, turn)
			}
		}
		if newcomer == 0 {
			t.Error("nobody came in between")
		}
	})
}

// TestPromisesEnd has more requests than turns come within a minute: those for which
// none can be promised are told to come again, and promises are forgotten in the end.
func TestPromisesEnd(t *testing.T) {
	bubble(t, func(t *testing.T, n *redistest.Network, s *Store) {
		w := Want{Budget: s.Budget(upstream.Fingerprint{}, 2), Promise: true}
		for k := range 200 {
			if turn := mustTake(t, s, fmt.Sprint(k), w); turn.Wait > MaxTurnWait {
				t.Fatalf("told to wait for %s", turn.Wait)
			}
		}
		if names := len(n.Redis.Keys()); names > 130 {
			t.Errorf("%d names in Redis", names)
		}
		time.Sleep(MaxTurnWait + keptPromise + maxBooked)
		n.Redis.FastForward(0)
		if names := n.Redis.Keys(); len(names) > 0 {
			t.Errorf("%d names are left in Redis", len(names))
		}
	})
}

// TestTheFleetStops has a replica tell of a token endpoint that fails, or asks for quiet.
func TestTheFleetStops(t *testing.T) {
	for _, cause := range []upstream.Class{upstream.ClassUnavailable, upstream.ClassThrottled, upstream.ClassCredential} {
		bubble(t, func(t *testing.T, n *redistest.Network, s *Store) {
			b := s.Budget(upstream.Fingerprint{}, 10)
			w := Want{Budget: b, Wait: 5 * time.Second, Longest: 5 * time.Second, Promise: true}
			booked, others := mustTake(t, s, "booked", w), storeOn(t, n)
			for failure := range failuresToStop {
				if turn := stopped(t, s, b); turn.Refused != (failure > 0 && cause == upstream.ClassThrottled) {
					t.Errorf("%s: after %d failures %+v", cause, failure, turn)
				}
				s.Failed(t.Context(), b, cause, 30*time.Second)
			}
			s.Failed(t.Context(), b, upstream.ClassUnavailable, time.Second) // does not shorten it
			if turn := mustTake(t, others, "a", w); !turn.Refused || turn.Stopped != cause || !near(turn.Wait, 30*time.Second) {
				t.Errorf("%s: %+v", cause, turn)
			}
			if turn := stopped(t, s, b); !turn.Refused || turn.Stopped != cause {
				t.Errorf("%s: a waiting load is told %+v", cause, turn)
			}
			time.Sleep(30 * time.Second)
			// Who met the failure gives way to others, for a while.
			if turn := mustTake(t, s, "failed", w); !turn.Refused || !near(turn.Wait, probeInterval/2) {
				t.Errorf("%s: the replica that failed may go on: %+v", cause, turn)
			}
			probes := 0
			for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
				if turn := mustTake(t, others, fmt.Sprint(probes), w); !turn.Refused {
					probes++
				}
			}
			if probes != 10 {
				t.Errorf("%s: %d token requests in ten seconds", cause, probes)
			}
			s.Recovered(t.Context(), b)
			if turn, stands := s.Stands(t.Context(), b, booked); turn.Refused || stands {
				t.Errorf("%s: after the recovery a turn from before stands: %v, or is refused: %+v", cause, stands, turn)
			}
			time.Sleep(time.Second)
			turn := mustTake(t, s, "b", w)
			if turn.Refused || turn.Wait != 0 || turn.Stopped != "" {
				t.Errorf("%s: after the recovery %+v", cause, turn)
			}
			if _, stands := s.Stands(t.Context(), b, turn); !stands {
				t.Errorf("%s: a turn after the recovery does not stand", cause)
			}
			// A replica whose own address is limited does not stop the others for as long as
			// that is to wait, unless another one is limited as well.
			for _, wait := range []time.Duration{probeInterval, 30 * time.Second} {
				s.Failed(t.Context(), b, upstream.ClassThrottled, 30*time.Second)
				if turn := stopped(t, s, b); !turn.Refused || !near(turn.Wait, wait) {
					t.Errorf("%s: after the recovery 429 says %+v, want %s", cause, turn, wait)
				}
			}
		})
	}
}

// TestAReplicaAloneFindsOutItself has the fleet stopped by a replica beside which no other
// needs a token: it gives way for a moment, and then probes once a second itself.
func TestAReplicaAloneFindsOutItself(t *testing.T) {
	bubble(t, func(t *testing.T, _ *redistest.Network, s *Store) {
		w := Want{Budget: s.Budget(upstream.Fingerprint{}, 10), Wait: 5 * time.Second, Longest: 5 * time.Second, Promise: true}
		s.Failed(t.Context(), w.Budget, upstream.ClassThrottled, 10*time.Second)
		time.Sleep(10*time.Second + probeInterval/2)
		for probe := range 3 {
			if turn := mustTake(t, s, "a", w); turn.Refused || turn.Wait != 0 {
				t.Fatalf("probe %d: %+v", probe, turn)
			}
			s.Failed(t.Context(), w.Budget, upstream.ClassThrottled, time.Second)
			if turn := mustTake(t, s, "a", w); !turn.Refused || !near(turn.Wait, probeInterval*3/2) {
				t.Fatalf("after probe %d: %+v", probe, turn)
			}
			time.Sleep(probeInterval * 3 / 2)
		}
	})
}

// TestARecoveryEndsAStopInARotatedRing has replicas whose first keys differ, as in the midst
// of a rotation, tell of failures and then of a success.
func TestARecoveryEndsAStopInARotatedRing(t *testing.T) {
	bubble(t, func(t *testing.T, n *redistest.Network, _ *Store) {
		a, b := rotated(t, n, "a", "b"), rotated(t, n, "b", "a")
		for _, s := range []*Store{a, b} {
			s.Failed(t.Context(), s.Budget(upstream.Fingerprint{}, 10), upstream.ClassThrottled, time.Second)
		}
		time.Sleep(2 * time.Second)
		a.Recovered(t.Context(), a.Budget(upstream.Fingerprint{}, 10))
		for _, s := range []*Store{a, b} {
			if turn := mustTake(t, s, "a", Want{Budget: s.Budget(upstream.Fingerprint{}, 10), Wait: time.Second}); turn.Refused || turn.Stopped != "" || turn.Doubted {
				t.Errorf("after the recovery: %+v", turn)
			}
		}
	})
}

// rotated returns a store on n whose ring has these keys, of which the first seals.
func rotated(t *testing.T, n *redistest.Network, ids ...string) *Store {
	s := mustNew(t, Config{URL: upstream.NewSecret("redis://redis.test"), Dial: n.Dial})
	var all []SealKey
	for _, id := range ids {
		all = append(all, ring(id)...)
	}
	sealer, err := newSealer(all)
	if err != nil {
		t.Fatal(err)
	}
	s.sealer = sealer
	return s
}

// TestFailuresInARowStopTheFleet has replicas tell of failures without being sure, with a
// success in between and without.
func TestFailuresInARowStopTheFleet(t *testing.T) {
	bubble(t, func(t *testing.T, n *redistest.Network, s *Store) {
		b, others := s.Budget(upstream.Fingerprint{}, 10), storeOn(t, n)
		for failure, stops := range []bool{false, false, false, false, false, true} {
			s.Failed(t.Context(), b, upstream.ClassUnavailable, time.Second)
			if turn := stopped(t, s, b); turn.Refused != stops {
				t.Errorf("failure %d: %+v", failure, turn)
			}
			time.Sleep(2 * time.Second)
			if turn := mustTake(t, others, "a", Want{Budget: b}); turn.Refused || !turn.Doubted || (turn.Stopped != "") != stops {
				t.Errorf("failure %d: a turn is %+v", failure, turn)
			}
			if failure == 0 || failure == 2 {
				s.Recovered(t.Context(), b)
				time.Sleep(time.Second)
				if turn := mustTake(t, others, "a", Want{Budget: b}); turn.Doubted {
					t.Errorf("failure %d: doubted after a success", failure)
				}
			}
		}
	})
}

// TestTurnsBeforeAStopAreFreeAgain has a fleet whose turns are booked far ahead stop for a
// moment: the next turn comes when the stop ends.
func TestTurnsBeforeAStopAreFreeAgain(t *testing.T) {
	bubble(t, func(t *testing.T, n *redistest.Network, s *Store) {
		w := Want{Budget: s.Budget(upstream.Fingerprint{}, 10), Wait: 5 * time.Second, Longest: 5 * time.Second}
		for k := range 50 {
			mustTake(t, s, fmt.Sprint(k), w)
		}
		s.Failed(t.Context(), w.Budget, upstream.ClassThrottled, time.Second)
		time.Sleep(time.Second)
		if turn := mustTake(t, storeOn(t, n), "probe", w); turn.Refused || turn.Wait != 0 {
			t.Errorf("the probe is %+v", turn)
		}
	})
}

// TestAStopIsForgotten has nobody find out that the token endpoint works again.
func TestAStopIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, n *redistest.Network, s *Store) {
		b := s.Budget(upstream.Fingerprint{}, 10)
		s.Failed(t.Context(), b, upstream.ClassThrottled, time.Hour)
		if turn := stopped(t, s, b); !near(turn.Wait, MaxTurnWait) {
			t.Errorf("stopped for an hour: %+v", turn)
		}
		time.Sleep(maxBooked)
		n.Redis.FastForward(0)
		if turn := mustTake(t, s, "a", Want{Budget: b}); turn.Refused || turn.Stopped != "" {
			t.Errorf("two minutes later: %+v", turn)
		}
	})
}

// TestABucketThatNoReplicaWroteIsNone puts there what whoever can write to Redis may.
func TestABucketThatNoReplicaWroteIsNone(t *testing.T) {
	bubble(t, func(t *testing.T, n *redistest.Network, s *Store) {
		b := s.Budget(upstream.Fingerprint{}, 10)
		in := func(d time.Duration) string { return fmt.Sprint(time.Now().Add(d).UnixMicro()) }
		for _, text := range []string{"", "x", "1 2 3", "1 2 3 3 0 0", "1 2 3 4 0 0 0", "-1 0 0 0 0 0 0", in(time.Hour) + " 0 0 0 0 0 0", "0 " + in(time.Hour) + " 0 3",
			"0 0 " + in(time.Hour) + " 3 0 0 0", "99999999999999999999999999999999999999999999999999 0 0 0 0 0 0", "1e3 0 0 0 0 0 0", "nan nan nan 0 0 0 0"} {
			n.Redis.FlushAll()
			_ = n.Redis.Set(b.buckets[0], text)
			if turn := mustTake(t, s, "a", Want{Budget: b}); turn.Refused || turn.Wait != 0 || turn.Stopped != "" {
				t.Errorf("%q: %+v", text, turn)
			}
		}
		n.Redis.FlushAll()
		_, _ = n.Redis.Lpush(b.buckets[0], "a list")
		_ = n.Redis.Set(b.names(place(s, "a"))[0], in(time.Hour))
		if turn := mustTake(t, s, "a", Want{Budget: b}); turn.Refused {
			t.Errorf("a list, and a promise for tomorrow: %+v", turn)
		}
	})
}

// TestATurnIsNotBelievedToBeFarAway reads what no bucket can have said.
func TestATurnIsNotBelievedToBeFarAway(t *testing.T) {
	w := Want{Wait: time.Second, Longest: 2 * time.Second}
	for _, reply := range [][]int64{{1, 9e15, 0}, {1, -9e15, 0}, {0, 9e15, 2}, {0, -9e15, 2}} {
		turn, err := w.parseTurn(reply)
		if most := map[bool]time.Duration{false: w.Longest, true: MaxTurnWait}[turn.Refused]; err != nil || turn.Wait < 0 || turn.Wait > most {
			t.Errorf("%v: %+v, %v", reply, turn, err)
		}
	}
	for _, reply := range [][]int64{nil, {1, 0}, {2, 0, 0}, {-2, 0, 0}, {1, 0, 80}, {1, 0, -1}, {1, 0, 0, 0}} {
		if turn, err := w.parseTurn(reply); err == nil {
			t.Errorf("%v: %+v", reply, turn)
		}
	}
}

// TestARingIsRotatedWithinOneBudget has replicas with the rings of each step of a
// rotation take turns by turns.
func TestARingIsRotatedWithinOneBudget(t *testing.T) {
	bubble(t, func(t *testing.T, n *redistest.Network, _ *Store) {
		steps := []*Store{rotated(t, n, "a"), rotated(t, n, "a", "b"), rotated(t, n, "b", "a"), rotated(t, n, "b")}
		for i := range 3 {
			for k := range 6 {
				s := steps[i+k%2]
				turn := mustTake(t, s, fmt.Sprint(k), Want{Budget: s.Budget(upstream.Fingerprint{}, 10), Wait: time.Minute})
				if !near(turn.Wait, time.Duration(k)*100*time.Millisecond) {
					t.Errorf("step %d, turn %d: %+v", i, k, turn)
				}
			}
			time.Sleep(time.Minute)
		}
	})
}

// TestTurnAndLeaseGoTogether looks in one step and, as in a cluster, in several.
func TestTurnAndLeaseGoTogether(t *testing.T) {
	for _, cluster := range []bool{false, true} {
		bubble(t, func(t *testing.T, n *redistest.Network, s *Store) {
			s.cluster = cluster
			w := Want{Lease: true, Budget: s.Budget(upstream.Fingerprint{}, 1), Wait: 1500 * time.Millisecond}
			look := func(subject string) Looked {
				t.Helper()
				looked, err := s.Look(t.Context(), place(s, subject), Version{}, w)
				if err != nil {
					t.Fatal(err)
				}
				return looked
			}
			if a := look("a"); a.Lease == nil || a.Turn.Refused || a.Turn.Wait != 0 {
				t.Errorf("cluster %v: the first: %+v", cluster, a)
			}
			if again := look("a"); again.Lease != nil || !again.Busy || again.Begins != 0 {
				t.Errorf("cluster %v: the lease is taken: %+v", cluster, again)
			}
			// The look that found it taken has taken no turn.
			b := look("b")
			if b.Lease == nil || !near(b.Turn.Wait, time.Second) {
				t.Errorf("cluster %v: the second: %+v", cluster, b)
			}
			if again := look("b"); !again.Busy || !near(again.Begins, time.Second) {
				t.Errorf("cluster %v: its lease: %+v", cluster, again)
			}
			c := look("c")
			if c.Lease != nil || c.Busy || !c.Turn.Refused || !near(c.Turn.Wait, 500*time.Millisecond) {
				t.Errorf("cluster %v: the third: %+v", cluster, c)
			}
			if n.Redis.Exists(place(s, "c").lease) {
				t.Errorf("cluster %v: whoever has no turn holds the lease", cluster)
			}
			time.Sleep(2999 * time.Millisecond) // until the lease of b has a millisecond left
			if again := look("b"); !again.Busy {
				t.Errorf("cluster %v: the lease ended before its time: %+v", cluster, again)
			}
			time.Sleep(2 * time.Millisecond)
			if again := look("b"); again.Lease == nil {
				t.Errorf("cluster %v: the lease of a dead replica stays: %+v", cluster, again)
			}
		})
	}
}

// TestWithoutAClockThereIsNoBudget has a Redis whose user may not ask for the time.
func TestWithoutAClockThereIsNoBudget(t *testing.T) {
	url, client := redistest.Start(t)
	s := timeless(t, url, client)
	b := s.Budget(upstream.Fingerprint{}, 0.001)
	for k := range 3 {
		if turn := mustTake(t, s, "a", Want{Budget: b}); !turn.Without || turn.Refused {
			t.Errorf("turn %d: %+v", k, turn)
		}
	}
	looked, err := s.Look(t.Context(), place(s, "a"), Version{}, Want{Lease: true, Budget: b})
	if err != nil || looked.Lease == nil || !looked.Turn.Without {
		t.Errorf("%+v, %v", looked, err)
	}
	s.health.started()
	s.health.record("store", "")
	if status := s.Status(); status.Working || status.Cause != "NOPERM" || status.Missing != "time" {
		t.Errorf("the status says %+v", status)
	}
	s.budgets = true
	if err := s.Try(t.Context()); err == nil || err.Error() != "redis cannot be used: NOPERM, missing right: time" {
		t.Errorf("the try says %v", err)
	}
}

// TestTheBudgetHoldsInARealRedis is TestTurnsKeepTheirDistance and TestPromisesAreKept in
// short, with the Lua of a real server.
func TestTheBudgetHoldsInARealRedis(t *testing.T) {
	url, client := redistest.Start(t)
	s := mustNew(t, Config{URL: upstream.NewSecret(url), Timeout: patient})
	w := Want{Lease: true, Budget: s.Budget(upstream.Fingerprint{}, 1.0/30), Wait: 40 * time.Second, Longest: 70 * time.Second, Promise: true}
	look := func(subject string) Looked {
		t.Helper()
		looked, err := s.Look(t.Context(), place(s, subject), Version{}, w)
		if err != nil {
			t.Fatal(err)
		}
		return looked
	}
	between := func(d, least, most time.Duration) bool { return least < d && d <= most }
	if a := look("a"); a.Lease == nil || a.Turn.Wait != 0 {
		t.Errorf("the first: %+v", a)
	}
	if b := look("b"); b.Lease == nil || !between(b.Turn.Wait, 20*time.Second, 30*time.Second) {
		t.Errorf("the second: %+v", b)
	}
	if life := client.PTTL(t.Context(), place(s, "b").lease).Val(); !between(life, 20*time.Second, 32*time.Second) {
		t.Errorf("its lease stands for %s", life)
	}
	if c := look("c"); c.Lease != nil || !c.Turn.Refused || c.Turn.Wait != MaxTurnWait {
		t.Errorf("the third: %+v", c)
	}
	s.Failed(t.Context(), w.Budget, upstream.ClassThrottled, 20*time.Second)
	if turn := stopped(t, s, w.Budget); turn.Stopped != upstream.ClassThrottled || !between(turn.Wait, 10*time.Second, 20*time.Second) {
		t.Errorf("stopped: %+v", turn)
	}
	s.Recovered(t.Context(), w.Budget)
	if turn := stopped(t, s, w.Budget); turn.Refused {
		t.Errorf("resumed: %+v", turn)
	}
	for _, name := range client.Keys(t.Context(), "*").Val() {
		if client.PTTL(t.Context(), name).Val() <= 0 {
			t.Errorf("%s has no end", name)
		}
	}
}

// TestALeaseThatCannotStandIsGivenUp has a replica of a cluster not reach the lease with
// which it would wait for its turn.
func TestALeaseThatCannotStandIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, n *redistest.Network, s *Store) {
		s.cluster = true
		w := Want{Lease: true, Budget: s.Budget(upstream.Fingerprint{}, 1), Wait: 2 * time.Second}
		n.Play(redistest.Says("-ERR lost\r\n").On(func(command string) bool { return strings.Contains(command, renewScript.hash) }))
		for _, subject := range []string{"at once", "later"} {
			looked, err := s.Look(t.Context(), place(s, subject), Version{}, w)
			if err != nil {
				t.Fatal(err)
			}
			if given := subject == "at once"; (looked.Lease != nil) != given || looked.Turn.Refused == given {
				t.Errorf("%s: %+v", subject, looked)
			}
		}
	})
}
