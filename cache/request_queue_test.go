package cache

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// waitInQueue has n loads wait in q, with deadlines a second apart, the first in a second.
func waitInQueue(t *testing.T, q *requestQueue, n int) (waiters []*waiter, ends []chan error) {
	t.Helper()
	now := time.Now()
	for i := range n {
		waiters = append(waiters, newWaiter(now.Add(time.Duration(i+1)*time.Second), now.Add(time.Hour)))
		ends = append(ends, make(chan error, 1))
		go func() {
			ends[i] <- q.pass(t.Context(), waiters[i], func(f func()) bool { go f(); return true })
		}()
		synctest.Wait()
	}
	return waiters, ends
}

// TestHopelessRequestsAreRefusedAtOnce has a request come when so many are before it that
// it would be let through too late: it is not kept waiting to be told so.
func TestHopelessRequestsAreRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newRequestQueue("up", 1, 2*time.Second)
		q.tryPass() // the one that can be had at once
		_, ends := waitInQueue(t, q, 5)
		began := time.Now()
		err := q.pass(t.Context(), newWaiter(began.Add(time.Minute), began.Add(2*time.Second)), nil)
		var own *deferred
		if !errors.As(err, &own) || time.Since(began) != 0 {
			t.Fatalf("after %s: %v", time.Since(began), err)
		}
		if in := own.promise.at.Sub(began); in < 5*time.Second || in > 8*time.Second {
			t.Errorf("it may come again in %s, and five are before it", in)
		}
		for _, end := range ends {
			if err := <-end; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestAPlaceThatIsGivenBackIsTakenAtOnce has a load make no token request in the end.
func TestAPlaceThatIsGivenBackIsTakenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newRequestQueue("up", 0.01, time.Hour)
		q.tryPass()
		began := time.Now()
		_, ends := waitInQueue(t, q, 2)
		q.giveBack()
		if err := <-ends[0]; err != nil || time.Since(began) != 0 {
			t.Errorf("the first is let through after %v: %v", time.Since(began), err)
		}
		if err := <-ends[1]; err != nil || time.Since(began) < 90*time.Second {
			t.Errorf("the second after %v: %v", time.Since(began), err)
		}
	})
}

// TestALaterDeadlineMakesRoom has more loads than may be: the one whose deadline is the
// last goes for one with an earlier deadline, and for no other.
func TestALaterDeadlineMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newRequestQueue("up", 1, 2*time.Second)
		q.tryPass()
		waiters, ends := waitInQueue(t, q, 3)
		if q.makeRoom(waiters[2].deadline) {
			t.Error("a turn went for one that is no earlier")
		}
		if !q.makeRoom(waiters[0].deadline) {
			t.Error("no turn went for one that is earlier")
		}
		var own *deferred
		if err := <-ends[2]; !errors.As(err, &own) {
			t.Errorf("the last one ended with %v", err)
		}
		for _, end := range ends[:2] {
			if err := <-end; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestTooManyLoadsGiveWayToRequests has refreshes take all places for loads of an
// upstream: a request gets one all the same.
func TestTooManyLoadsGiveWayToRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newRequestQueue("up", 1, 2*time.Second)
		q.tryPass()
		_, ends := waitInQueue(t, q, 2)
		s := &source{Upstream: &replica{}, queue: q}
		s.loads.Store(maxLoads)
		if err := s.addLoad(newWaiter(time.Now().Add(time.Hour), time.Now()), needUsable); err == nil {
			t.Error("there is no bound")
		}
		if err := s.addLoad(newWaiter(time.Now(), time.Now()), needUsable); err != nil {
			t.Errorf("a request found no place: %v", err)
		}
		for i, end := range ends {
			if err := <-end; (err != nil) != (i == 1) {
				t.Errorf("turn %d: %v", i, err)
			}
		}
	})
}

// TestHowFarAheadALoadMayBook asks for the times that loads can wait for a turn of a budget.
func TestHowFarAheadALoadMayBook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const patience = 2 * time.Second
		q := newRequestQueue("up", 1, patience)
		request := func(deadline time.Duration) *waiter {
			turn := newWaiter(time.Now().Add(deadline), time.Now().Add(patience))
			turn.asked = true
			return turn
		}
		refresh := func(left time.Duration) *waiter { return waiterOfRefresh(q, left) }
		last := newWaiter(time.Now().Add(time.Minute), time.Now().Add(time.Minute))
		hurried := refresh(time.Hour)
		q.hurry(hurried, request(0))
		for what, c := range map[string]struct {
			turn           *waiter
			wait, promised time.Duration
			asked          bool
		}{
			"a request":                              {request(0), patience, 2 * patience, true},
			"a request that waited for long":         {request(-patience / 2), patience * 3 / 2, 2 * patience, true},
			"a request that was put off":             {request(-patience), 2 * patience, 2 * patience, true},
			"a request for a token that buys others": {request(-time.Hour), 2 * patience, 2 * patience, true},
			"a refresh in good time":                 {refresh(time.Hour), patience / 10, patience / 10, false},
			"a refresh that is due":                  {refresh(3 * patience), patience, patience, false},
			"a refresh that is late":                 {refresh(2 * patience), 2 * patience, 2 * patience, false},
			"a refresh in the last moment":           {refresh(time.Second), time.Second, time.Second, false},
			"a refresh that a request waits for":     {hurried, patience, 2 * patience, true},
			"a load that nobody waits for":           {last, patience / 10, patience / 10, false},
		} {
			wait, promised, asked := q.horizon(c.turn)
			if wait != c.wait || promised != c.promised || asked != c.asked {
				t.Errorf("%s: %s, promised %s, asked %v", what, wait, promised, asked)
			}
		}
	})
}

// TestALateLoadBelongsToTheRequestThatJoinsIt has a request wait for a refresh whose deadline
// has passed, and which is before every request already.
func TestALateLoadBelongsToTheRequestThatJoinsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newRequestQueue("up", 1, 2*time.Second)
		late := waiterOfRefresh(q, time.Second)
		deadline := late.deadline
		request := newWaiter(time.Now(), time.Now().Add(q.patience))
		request.asked = true
		q.hurry(late, request)
		if _, asked := q.timeLeft(late); !asked || late.deadline != deadline {
			t.Errorf("a request waits for it: %v, and its deadline is %s later", asked, late.deadline.Sub(deadline))
		}
	})
}
