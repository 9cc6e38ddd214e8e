package cache_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cache"
	"token-sidecar/upstream"
)

// TestAboveTheLimitTheLimitIsServed has 200 new subjects a second, which is twice
// what the limit allows, and each asks once: as many are served as the limit allows,
// and all others are told within 3 s when to come again. Twenty tokens in use are
// replaced in time all the while.
//
// Case R1.
func TestAboveTheLimitTheLimitIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", delay: 150 * time.Millisecond, lifeOf: func(k upstream.Key) time.Duration {
			if strings.HasPrefix(k.Subject, "in-use") {
				return 30 * time.Second
			}
			return time.Hour
		}}
		c := newCache(t, s, cache.Config{TokenRate: 100})
		defer c.Close()
		var crowd sync.WaitGroup
		var served, refused atomic.Int32
		stop := useTokens(t, c, s, 20)
		for i := range 12_000 {
			crowd.Go(func() {
				began := time.Now()
				_, err := c.Token(t.Context(), key(s, fmt.Sprint("crowd-", i)))
				var known *cache.Error
				switch {
				case err == nil:
					served.Add(1)
				case errors.As(err, &known) && known.RetryAfter > 0 && known.RetryAfter <= time.Minute:
					refused.Add(1)
				default:
					t.Errorf("unexpected: %v", err)
				}
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("an answer took %s", took)
				}
			})
			time.Sleep(5 * time.Millisecond)
		}
		crowd.Wait()
		stop()
		if served.Load() < 5700 {
			t.Errorf("%d of 6,000 possible answers, and %d refusals", served.Load(), refused.Load())
		}
	})
}

// useTokens has n keys used ten times a second until stop is called. No request of
// them may wait for its token.
func useTokens(t *testing.T, c *cache.Cache, s *stub, n int) (stop func()) {
	var done atomic.Bool
	var all sync.WaitGroup
	for i := range n {
		k := key(s, fmt.Sprint("in-use-", i))
		mustToken(t, c, k)
		all.Go(func() {
			for !done.Load() {
				time.Sleep(100 * time.Millisecond)
				began := time.Now()
				if _, err := c.Token(t.Context(), k); err != nil || time.Since(began) != 0 {
					t.Errorf("a token in use took %s: %v", time.Since(began), err)
					return
				}
			}
		})
	}
	return func() { done.Store(true); all.Wait() }
}

// TestRefusedRequestsAreServedWhenTheyWereTold has each subject that is refused
// come again when it was told to, in whole seconds as a header says it.
//
// Case R1.
func TestRefusedRequestsAreServedWhenTheyWereTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Hour, delay: 150 * time.Millisecond}
		c := newCache(t, s, cache.Config{TokenRate: 100})
		defer c.Close()
		var crowd sync.WaitGroup
		var again, failed atomic.Int32
		for i := range 6_000 {
			crowd.Go(func() {
				k := key(s, fmt.Sprint("crowd-", i))
				_, err := c.Token(t.Context(), k)
				var known *cache.Error
				if !errors.As(err, &known) {
					return
				}
				again.Add(1)
				time.Sleep((known.RetryAfter + time.Second - 1).Truncate(time.Second))
				began := time.Now()
				if _, err = c.Token(t.Context(), k); err != nil {
					failed.Add(1)
				}
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("the second time it took %s", took)
				}
			})
			time.Sleep(5 * time.Millisecond)
		}
		crowd.Wait()
		if again.Load() == 0 || failed.Load() > 0 {
			t.Errorf("of %d that were refused and came again, %d were refused again", again.Load(), failed.Load())
		}
	})
}

// TestOurLimitIsNoFailure has 10,000 tokens due together.
//
// Case R1.
func TestOurLimitIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var mu sync.Mutex
		s := &stub{name: "up", life: 20 * time.Minute, delay: 150 * time.Millisecond}
		c := newCache(t, s, cache.Config{TokenRate: 100, Log: zerolog.New(zerolog.SyncWriter(writer(func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			log.Write(b)
		})))})
		defer c.Close()
		const n = 10_000
		for i := range n {
			for {
				_, err := c.Token(t.Context(), key(s, fmt.Sprint(i)))
				if err == nil {
					break
				}
			}
			if i%100 == 99 {
				time.Sleep(time.Millisecond)
			}
		}
		for range 40 { // a little more than two lives
			time.Sleep(time.Minute)
			for i := range n {
				began := time.Now()
				if _, err := c.Token(t.Context(), key(s, fmt.Sprint(i))); err != nil || time.Since(began) != 0 {
					t.Fatalf("a token in use took %s: %v", time.Since(began), err)
				}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if lines := bytes.Count(log.Bytes(), []byte("\n")); lines >= 100 {
			t.Errorf("%d log lines", lines)
		}
	})
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

// TestAMendedCredentialHealsAllKeys has keys fail in all the ways that a wrong
// credential can make them fail, and then the credential be replaced: keys that are
// asked for have a token at once, and those that are kept fresh soon.
//
// Case R7.
func TestAMendedCredentialHealsAllKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Hour}
		s.answer = func(n int, k upstream.Key) error {
			switch {
			case s.credential.Load() != 0:
				return nil
			case k.Subject == "scope":
				return failing(upstream.ClassScope)
			case k.Subject == "subject":
				return failing(upstream.ClassSubject)
			}
			return failing(upstream.ClassCredential)
		}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		subjects := []string{"scope", "subject", "a", "b", "c"}
		c.Pin(key(s, "pinned"))
		for range 200 { // long enough for every pause to have grown
			for _, name := range subjects {
				if _, err := c.Token(t.Context(), key(s, name)); err == nil {
					t.Fatal("a token came for a wrong credential")
				}
			}
			time.Sleep(time.Second)
		}
		s.credential.Store(1)
		for _, name := range subjects {
			if _, err := c.Token(t.Context(), key(s, name)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		time.Sleep(3 * time.Second)
		if s.of(key(s, "pinned")) == 0 {
			t.Fatal("the pinned key was never tried")
		}
		before := s.count()
		mustToken(t, c, key(s, "pinned"))
		if s.count() != before {
			t.Error("the pinned key had no token three seconds after the mend")
		}
	})
}

// TestLongTokenHandsOnWhatIsLeft has an outage begin when less than half of a token's
// life is left.
func TestLongTokenHandsOnWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, down := breakable(time.Hour)
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		first := mustToken(t, c, key(s, "a"))
		time.Sleep(31 * time.Minute)
		down.Store(true)
		for range 3 {
			token, err := c.LongToken(t.Context(), key(s, "a"))
			if err != nil || !token.Same(first) {
				t.Fatalf("with 29 of 60 minutes left: %v", err)
			}
			time.Sleep(time.Second)
		}
		down.Store(false)
		time.Sleep(time.Minute)
		if token, err := c.LongToken(t.Context(), key(s, "a")); err != nil || token.Same(first) {
			t.Errorf("after the outage it is handed on still: %v", err)
		}
	})
}

// TestUnsureRefusalsOfTwoKeysAreTheCredentials has one subject refused in a way that
// may be meant for the credential, and then another one.
func TestUnsureRefusalsOfTwoKeysAreTheCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Hour, answer: func(_ int, k upstream.Key) error {
			if k.Subject == "good" {
				return nil
			}
			return &upstream.Error{Upstream: "up", Class: upstream.ClassSubject, Status: 401, Unsure: true}
		}}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		class := func(name string) upstream.Class {
			_, err := c.Token(t.Context(), key(s, name))
			var known *cache.Error
			if !errors.As(err, &known) {
				return ""
			}
			return known.Cause.Class
		}
		if got := class("a"); got != upstream.ClassSubject {
			t.Errorf("the first one is of class %s", got)
		}
		if got := class("good"); got != "" {
			t.Errorf("another subject's is of class %s", got)
		}
		if a, b := class("b"), class("c"); a != upstream.ClassSubject || b != upstream.ClassCredential {
			t.Errorf("two in a row are of classes %s and %s", a, b)
		}
		if a, d := class("a"), class("d"); a != upstream.ClassCredential || d != upstream.ClassCredential {
			t.Errorf("afterwards others are of classes %s and %s", a, d)
		}
	})
}

// TestRetryInIsWhenTheNextAttemptIsMade has a failure open the breaker: the log tells
// how long no token request will be made, and not only this key's own pause.
//
// Case U4.
func TestRetryInIsWhenTheNextAttemptIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &stub{name: "up", life: time.Hour, answer: func(int, upstream.Key) error {
			return failing(upstream.ClassCredential)
		}}
		c := newCache(t, s, cache.Config{Log: zerolog.New(&log)})
		defer c.Close()
		began := time.Now()
		_, _ = c.Token(t.Context(), key(s, "a"))
		var line struct {
			RetryIn string `json:"retry_in"`
		}
		if err := json.Unmarshal(log.Bytes(), &line); err != nil {
			t.Fatalf("%v: %s", err, log.String())
		}
		said, err := time.ParseDuration(line.RetryIn)
		for s.count() < 2 && time.Since(began) < 5*time.Minute {
			time.Sleep(100 * time.Millisecond)
			_, _ = c.Token(t.Context(), key(s, "a"))
		}
		if took := time.Since(began); err != nil || took < said || took > said+time.Second {
			t.Errorf("the log says %q, and the next attempt was made after %s", line.RetryIn, took)
		}
	})
}

// TestARecoveryVoidsTheFailuresOfAllKeys has the endpoint ask for a minute of quiet,
// and one key be told so five seconds after the others, since its token request took so
// long. When the others are served again, it is, too.
//
// Case R16.
func TestARecoveryVoidsTheFailuresOfAllKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Hour}
		began := time.Now()
		s.answer = func(_ int, k upstream.Key) error {
			if time.Since(began) > 59*time.Second {
				return nil
			}
			if k.Subject == "late" {
				time.Sleep(5 * time.Second)
			}
			return &upstream.Error{Upstream: "up", Class: upstream.ClassUnavailable, RetryAfter: time.Minute}
		}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		var all sync.WaitGroup
		for _, name := range []string{"late", "a", "b", "c"} {
			all.Go(func() { _, _ = c.Token(t.Context(), key(s, name)) })
		}
		all.Wait()
		time.Sleep(time.Minute - time.Since(began))
		synctest.Wait() // a load that nobody waits for may be the one that tries
		mustToken(t, c, key(s, "a"))
		mustToken(t, c, key(s, "late"))
	})
}

// TestRequestsGoBeforeLoadsThatNobodyWaitsFor has many keys fail in an outage. When it is
// over they are loaded without a request, and whoever asks meanwhile goes first.
func TestRequestsGoBeforeLoadsThatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, down := breakable(time.Hour)
		c := newCache(t, s, cache.Config{TokenRate: 2})
		defer c.Close()
		down.Store(true)
		for i := range 30 {
			_, _ = c.Token(t.Context(), key(s, fmt.Sprint(i)))
		}
		down.Store(false)
		for s.of(key(s, "0"))+s.of(key(s, "1"))+s.of(key(s, "2")) < 5 { // some are loaded again
			time.Sleep(10 * time.Millisecond)
		}
		for i := range 4 {
			began := time.Now()
			mustToken(t, c, key(s, fmt.Sprint("new-", i)))
			if took := time.Since(began); took > time.Second {
				t.Errorf("request %d waited %s for its turn", i, took)
			}
		}
	})
}
