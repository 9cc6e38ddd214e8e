package cache

import (
	"testing"
	"time"

	"token-sidecar/upstream"
)

// TestLateFailuresAreNoNews has requests fail that began before the gate closed,
// while it is closed, while it is probed, and when it is open again.
func TestLateFailuresAreNoNews(t *testing.T) {
	var g gate
	now := instant{0, 1}
	credential := upstream.Fingerprint{1}
	fail := &upstream.Error{Class: upstream.ClassUnavailable}
	late, _ := g.enter(now, now, credential)
	for i := range failuresToClose {
		began, err := g.enter(now, now, credential)
		if err != nil {
			t.Fatal("closed before enough failures")
		}
		g.leave(began, subject(string(rune('a'+i))), fail, now, credential)
	}
	g.leave(late, subject("late"), fail, now, credential)
	pause := g.shut(now, now.add(time.Hour))
	if pause <= 0 || pause > 1200*time.Millisecond {
		t.Fatalf("closed for %s, want one step", pause)
	}
	now = now.add(pause)
	probe, err := g.enter(now, now, credential)
	if err != nil {
		t.Fatal("no probe after the pause")
	}
	g.leave(late, subject("late"), fail, now, credential)
	if g.shut(now, now) > 0 {
		t.Error("a failure from before made the pause longer")
	}
	if _, err := g.enter(now, now, credential); err == nil {
		t.Error("there is a second probe")
	}
	g.leave(probe, subject("probe"), nil, now, credential)
	for i := range 2 * failuresToClose {
		g.leave(late, subject(string(rune('a'+i))), fail, now, credential)
	}
	if _, err := g.enter(now, now, credential); err != nil {
		t.Error("failures from before closed it again")
	}
}

// TestBackoff doubles the wait with each failure, up to the limit and varied by a fifth,
// also after so many that doubling overflows.
func TestBackoff(t *testing.T) {
	for steps, want := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 3: 8 * time.Second,
		4: 15 * time.Second, 5: 15 * time.Second, 40: 15 * time.Second, 1000: 15 * time.Second} {
		for range 100 { // it varies
			if got := backoff(time.Second, 15*time.Second, steps); got < want*4/5 || got > want*6/5 {
				t.Errorf("after %d failures the wait is %s, want %s", steps, got, want)
			}
		}
	}
}

// TestGateCountsKeysNotTurns has two keys fail by turns: the third failure is of a key
// that failed before, and no reason to stop all others.
func TestGateCountsKeysNotTurns(t *testing.T) {
	var g gate
	now, credential := instant{0, 1}, upstream.Fingerprint{1}
	fail := &upstream.Error{Class: upstream.ClassUnavailable}
	for _, name := range []string{"a", "b", "a", "b", "a"} {
		began, err := g.enter(now, now, credential)
		if err != nil {
			t.Fatal("two keys closed it")
		}
		_ = g.leave(began, subject(name), fail, now, credential)
	}
	began, _ := g.enter(now, now, credential)
	_ = g.leave(began, subject("c"), fail, now, credential)
	if _, err := g.enter(now, now, credential); err == nil {
		t.Error("three keys did not close it")
	}
}

// TestLateSuccessesOpenNothing has a request that began before the endpoint asked for
// quiet succeed afterwards.
func TestLateSuccessesOpenNothing(t *testing.T) {
	var g gate
	now, credential := instant{0, 1}, upstream.Fingerprint{1}
	late, _ := g.enter(now, now, credential)
	other, _ := g.enter(now, now, credential)
	_ = g.leave(other, subject("a"), &upstream.Error{Class: upstream.ClassThrottled, RetryAfter: time.Minute}, now, credential)
	_ = g.leave(late, subject("b"), nil, now, credential)
	if wait := g.shut(now, now); wait < time.Minute {
		t.Errorf("it is closed for %s, want the minute that was asked for", wait)
	}
}
