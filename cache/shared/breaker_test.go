package shared

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/upstream"
)

// isOpen reports whether Redis is being left alone, or probed.
func isOpen(b *breaker) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.until.IsZero()
}

func TestBreakerTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &breaker{}
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
		if !b.report(began, true, "") || isOpen(b) {
			t.Error("a success does not close it")
		}
	})
}

// TestAStallIsOneFailure has many operations fail at once, as when Redis or this
// process stands still for a moment: that is no reason to share no longer.
func TestAStallIsOneFailure(t *testing.T) {
	b := &breaker{}
	stall := func() {
		var under [50]int
		for i := range under {
			under[i], _ = b.allow()
		}
		for i, began := range under {
			// One gets its answer as the others are given up.
			b.report(began, i == len(under)/2, "x")
		}
	}
	success := func() {
		began, _ := b.allow()
		b.report(began, true, "")
	}
	for range 5 {
		for range failuresToOpen - 1 {
			stall()
		}
		success()
	}
	for i := range failuresToOpen {
		if isOpen(b) {
			t.Errorf("open after %d stalls", i)
		}
		stall()
	}
	if !isOpen(b) {
		t.Errorf("not open after %d stalls in a row", failuresToOpen)
	}
}

// TestPauses has the trials of a Redis fail one after the other. Each pause lasts as
// long as it must, varied by a fifth, and none is longer than three seconds so varied.
func TestPauses(t *testing.T) {
	for range 20 { // they vary
		synctest.Test(t, func(t *testing.T) {
			b, _ := opened()
			for n, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second,
				3 * time.Second, 3 * time.Second, 3 * time.Second} {
				failed := time.Now()
				for !b.mayAllow() {
					time.Sleep(time.Millisecond)
				}
				if took := time.Since(failed); took < want*4/5 || took > want*6/5+time.Millisecond {
					t.Errorf("pause %d lasts %s, want %s varied by a fifth", n, took, want)
				}
				began, _ := b.allow()
				b.report(began, false, "x")
			}
			time.Sleep(4 * time.Second)
			began, _ := b.allow()
			b.report(began, true, "")
			if !b.mayAllow() || isOpen(b) {
				t.Error("Redis is not used again after a trial that succeeded")
			}
		})
	}
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
		if b.report(late, true, "") || !isOpen(b) {
			t.Error("an operation from before ended the pause")
		}
		time.Sleep(time.Second)
		probe, _ := b.allow()
		if b.report(late, false, "x") || b.report(late, true, "") || !isOpen(b) {
			t.Error("an operation from before was taken for the probe")
		}
		if _, ok := b.allow(); ok {
			t.Error("there is a second probe")
		}
		if !b.report(probe, true, "") || isOpen(b) {
			t.Error("the probe did not close it")
		}
		for range failuresToOpen {
			if b.report(late, false, "x") {
				t.Error("failures from before opened it again")
			}
		}
	})
}

// TestGivingUpIsNoFailure breaks operations off, as a lease does with its renewal
// when the token has come, before and while Redis is left alone.
func TestGivingUpIsNoFailure(t *testing.T) {
	url, _ := redistest.Start(t)
	s := mustNew(t, Config{URL: upstream.NewSecret(url), Timeout: patient})
	breakOff := func() {
		ctx, cancel := context.WithCancel(t.Context())
		if err := s.do(ctx, "renew", func(ctx context.Context) error {
			cancel()
			return s.client.Do(ctx, Command{"ping"})[0].Err
		}); !errors.Is(err, context.Canceled) {
			t.Errorf("broken off: %v", err)
		}
	}
	for range failuresToOpen {
		breakOff()
	}
	if isOpen(&s.breaker) {
		t.Error("it opened the breaker")
	}
	for range failuresToOpen {
		_ = s.do(t.Context(), "get", func(context.Context) error { return io.ErrUnexpectedEOF })
	}
	if !isOpen(&s.breaker) {
		t.Error("failures did not open the breaker")
	}
	s.breaker.until = time.Now()
	breakOff()
	func() {
		defer func() { _ = recover() }()
		_ = s.do(t.Context(), "get", func(context.Context) error { panic("in the client of Redis") })
	}()
	if !isOpen(&s.breaker) {
		t.Error("it closed the breaker")
	}
	if err := s.do(t.Context(), "get", func(ctx context.Context) error { return s.client.Do(ctx, Command{"ping"})[0].Err }); err != nil || isOpen(&s.breaker) {
		t.Errorf("the next probe: %v", err)
	}
}

func TestRedisCause(t *testing.T) {
	for want, err := range map[string]error{
		"none":                     nil,
		"connection_read_timeout":  &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded},
		"connection_refused":       &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
		"connection_limit_reached": ErrPoolTimeout,
	} {
		if got := redisCause(err); got != want {
			t.Errorf("cause of %v: %s, want %s", err, got, want)
		}
	}
}
