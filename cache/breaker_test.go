package cache

import (
	"testing"
	"time"

	"token-sidecar/upstream"
)

// TestLateFailuresAreNoNews has requests fail that began before the breaker opened,
// while it is open, while it is probed, and when it is closed again.
func TestLateFailuresAreNoNews(t *testing.T) {
	var b endpointBreaker
	now := instant{0, 1}
	credential := upstream.Fingerprint{1}
	fail := &upstream.Error{Class: upstream.ClassUnavailable}
	late, _ := b.allow(now, now, credential)
	for i := range failuresToOpen {
		began, err := b.allow(now, now, credential)
		if err != nil {
			t.Fatal("open before enough failures")
		}
		b.report(began, subject(string(rune('a'+i))), fail, now, credential)
	}
	b.report(late, subject("late"), fail, now, credential)
	_, open := b.state()
	pause := open.until.until(now)
	if pause <= 0 || pause > 1200*time.Millisecond {
		t.Fatalf("open for %s, want one step", pause)
	}
	now = now.add(pause)
	probe, err := b.allow(now, now, credential)
	if err != nil {
		t.Fatal("no probe after the pause")
	}
	b.report(late, subject("late"), fail, now, credential)
	if _, open := b.state(); !open.soonest.reached(now) {
		t.Error("a failure from before made the pause longer")
	}
	if _, err := b.allow(now, now, credential); err == nil {
		t.Error("there is a second probe")
	}
	b.report(probe, subject("probe"), nil, now, credential)
	for i := range 2 * failuresToOpen {
		b.report(late, subject(string(rune('a'+i))), fail, now, credential)
	}
	if _, err := b.allow(now, now, credential); err != nil {
		t.Error("failures from before opened it again")
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

// TestBreakerCountsKeysNotAttempts has two keys fail by turns: the third failure is of a key
// that failed before, and no reason to stop all others.
func TestBreakerCountsKeysNotAttempts(t *testing.T) {
	var b endpointBreaker
	now, credential := instant{0, 1}, upstream.Fingerprint{1}
	fail := &upstream.Error{Class: upstream.ClassUnavailable}
	for _, name := range []string{"a", "b", "a", "b", "a"} {
		began, err := b.allow(now, now, credential)
		if err != nil {
			t.Fatal("two keys opened it")
		}
		_ = b.report(began, subject(name), fail, now, credential)
	}
	began, _ := b.allow(now, now, credential)
	_ = b.report(began, subject("c"), fail, now, credential)
	if _, err := b.allow(now, now, credential); err == nil {
		t.Error("three keys did not open it")
	}
}

// TestLateSuccessesCloseNothing has a request that began before the endpoint asked for
// quiet succeed afterwards.
func TestLateSuccessesCloseNothing(t *testing.T) {
	var b endpointBreaker
	now, credential := instant{0, 1}, upstream.Fingerprint{1}
	late, _ := b.allow(now, now, credential)
	other, _ := b.allow(now, now, credential)
	_ = b.report(other, subject("a"), &upstream.Error{Class: upstream.ClassThrottled, RetryAfter: time.Minute}, now, credential)
	_ = b.report(late, subject("b"), nil, now, credential)
	if _, open := b.state(); open.soonest.until(now) < time.Minute {
		t.Errorf("it is open for %s, want the minute that was asked for", open.soonest.until(now))
	}
}
