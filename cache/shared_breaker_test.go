package cache

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestBreakerTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		for range failuresToOpen {
			if !b.allow() {
				t.Fatal("open before enough failures")
			}
		}
		for i := range failuresToOpen {
			if changed := b.report(false, "x"); changed != (i == failuresToOpen-1) {
				t.Errorf("failure %d: changed %t", i+1, changed)
			}
		}
		time.Sleep(time.Second)
		if !b.allow() || b.allow() {
			t.Error("want one operation after a while, and not a second")
		}
		if !b.report(true, "") || b.open() {
			t.Error("a success does not close it")
		}
	})
}

// TestLateFailuresDoNotLengthenThePause has many operations under way when the
// breaker opens.
func TestLateFailuresDoNotLengthenThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		for range 50 {
			b.allow()
		}
		for range 50 {
			b.report(false, "x")
		}
		time.Sleep(time.Second)
		if !b.allow() {
			t.Error("the first pause is longer than a second")
		}
		b.report(false, "x")
		time.Sleep(2 * time.Second)
		if !b.allow() {
			t.Error("the second pause is longer than two seconds")
		}
	})
}
