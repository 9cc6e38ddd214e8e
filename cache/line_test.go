package cache

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// waitInLine has n turns wait in l, of deadlines that are a second apart, the first in a second.
func waitInLine(t *testing.T, l *line, n int) (turns []*turn, ends []chan error) {
	t.Helper()
	now := time.Now()
	for i := range n {
		turns = append(turns, newTurn(now.Add(time.Duration(i+1)*time.Second), now.Add(time.Hour)))
		ends = append(ends, make(chan error, 1))
		go func() {
			ends[i] <- l.wait(t.Context(), turns[i], func(f func()) bool { go f(); return true })
		}()
		synctest.Wait()
	}
	return turns, ends
}

// TestHopelessTurnsAreRefusedAtOnce has a request come when so many are before it that
// its turn would come too late: it is not kept waiting to be told so.
func TestHopelessTurnsAreRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine("up", 1, 2*time.Second)
		l.now() // the one that can be had at once
		_, ends := waitInLine(t, l, 5)
		began := time.Now()
		err := l.wait(t.Context(), newTurn(began.Add(time.Minute), began.Add(2*time.Second)), nil)
		var own *unasked
		if !errors.As(err, &own) || time.Since(began) != 0 {
			t.Fatalf("after %s: %v", time.Since(began), err)
		}
		if in := own.promise.Sub(began); in < 5*time.Second || in > 8*time.Second {
			t.Errorf("it may come again in %s, and five are before it", in)
		}
		for _, end := range ends {
			if err := <-end; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestALaterDeadlineMakesRoom has more loads than may be: the one whose deadline is the
// last goes for one with an earlier deadline, and for no other.
func TestALaterDeadlineMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine("up", 1, 2*time.Second)
		l.now()
		turns, ends := waitInLine(t, l, 3)
		if l.makeRoom(turns[2].deadline) {
			t.Error("a turn went for one that is no earlier")
		}
		if !l.makeRoom(turns[0].deadline) {
			t.Error("no turn went for one that is earlier")
		}
		var own *unasked
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
		l := newLine("up", 1, 2*time.Second)
		l.now()
		_, ends := waitInLine(t, l, 2)
		s := &source{Upstream: &replica{}, line: l}
		s.flights.Store(maxFlights)
		if err := s.takeOff(&flight{turn: newTurn(time.Now().Add(time.Hour), time.Now())}); err == nil {
			t.Error("there is no bound")
		}
		if err := s.takeOff(&flight{turn: newTurn(time.Now(), time.Now())}); err != nil {
			t.Errorf("a request found no place: %v", err)
		}
		for i, end := range ends {
			if err := <-end; (err != nil) != (i == 1) {
				t.Errorf("turn %d: %v", i, err)
			}
		}
	})
}
