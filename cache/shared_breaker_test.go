package cache

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestBreakerTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		for i := range failuresToOpen {
			began, ok := b.allow()
			if !ok {
				t.Fatal("open before enough failures")
			}
			if changed := b.report(began, false, "x"); changed != (i == failuresToOpen-1) {
				t.Errorf("failure %d: changed %t", i+1, changed)
			}
		}
		time.Sleep(time.Second)
		began, ok := b.allow()
		if _, second := b.allow(); !ok || second {
			t.Error("want one operation after a while, and not a second")
		}
		if !b.report(began, true, "") || b.open() {
			t.Error("a success does not close it")
		}
	})
}

// opened returns a breaker that opened while an operation was under way, and
// when that began.
func opened() (b *breaker, late int) {
	b = &breaker{}
	late, _ = b.allow()
	for range failuresToOpen {
		began, _ := b.allow()
		b.report(began, false, "x")
	}
	return b, late
}

// TestLateFailuresDoNotLengthenThePause has many operations under way when the
// breaker opens.
func TestLateFailuresDoNotLengthenThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, late := opened()
		for range 50 {
			b.report(late, false, "x")
		}
		time.Sleep(time.Second)
		probe, ok := b.allow()
		if !ok {
			t.Error("the first pause is longer than a second")
		}
		b.report(probe, false, "x")
		time.Sleep(2 * time.Second)
		if _, ok := b.allow(); !ok {
			t.Error("the second pause is longer than two seconds")
		}
	})
}

// TestLateSuccessesDoNotEndThePause has a Redis that is slow rather than down:
// of the operations under way some fail and some do not. It must not be said to
// fail and to work again with each of them.
func TestLateSuccessesDoNotEndThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, late := opened()
		if b.report(late, true, "") || !b.open() {
			t.Error("an operation from before ended the pause")
		}
		time.Sleep(time.Second)
		probe, _ := b.allow()
		if b.report(late, false, "x") || b.report(late, true, "") || !b.open() {
			t.Error("an operation from before was taken for the probe")
		}
		if _, ok := b.allow(); ok {
			t.Error("there is a second probe")
		}
		if !b.report(probe, true, "") || b.open() {
			t.Error("the probe did not close it")
		}
		for range failuresToOpen {
			if b.report(late, false, "x") {
				t.Error("failures from before opened it again")
			}
		}
	})
}
