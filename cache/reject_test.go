package cache_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache"
	"token-sidecar/upstream"
)

func TestRejectReplacesOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Hour, delay: time.Second}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		old := mustToken(t, c, key(s, "a"))
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				c.Reject(t.Context(), key(s, "a"), old)
				if mustToken(t, c, key(s, "a")).Same(old) {
					t.Error("the rejected token came back")
				}
			})
		}
		synctest.Wait()
		before := time.Now()
		if !mustToken(t, c, key(s, "a")).Same(old) || time.Since(before) != 0 {
			t.Error("a request that had no 401 waited for the replacement")
		}
		all.Wait()
		time.Sleep(time.Minute)                 // no cool-down keeps the token from being replaced
		c.Reject(t.Context(), key(s, "a"), old) // late: a newer one is there
		if s.count() != 2 {
			t.Errorf("%d token requests, want the first and one replacement", s.count())
		}
	})
}

// TestReplacementsGrowApart has a target answer 401 to all that is sent to it.
func TestReplacementsGrowApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: 24 * time.Hour}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		refuse := func(span time.Duration) {
			for began := time.Now(); time.Since(began) < span; time.Sleep(5 * time.Millisecond) {
				c.Reject(t.Context(), key(s, "a"), mustToken(t, c, key(s, "a")))
			}
		}
		refuse(4 * time.Minute)
		var apart []time.Duration
		times := s.times()
		for i := 2; i < len(times); i++ {
			apart = append(apart, (times[i] - times[i-1]).Round(10*time.Millisecond))
		}
		want := "[1s 2s 4s 8s 16s 30s 30s 30s 30s 30s 30s]"
		if times[1] != 0 || fmt.Sprint(apart) != want {
			t.Errorf("replaced at once after %s, and then %s apart, want %s", times[1], apart, want)
		}
		time.Sleep(5 * time.Minute)
		before := s.count()
		refuse(500 * time.Millisecond)
		if n := s.count() - before; n != 1 {
			t.Errorf("%d replacements at once after five minutes without a 401, want 1", n)
		}
	})
}

// TestRejectWhenNoOtherTokenCanBeHad tells an outage, in which the old token
// stays, from a refusal, after which it must not be used.
func TestRejectWhenNoOtherTokenCanBeHad(t *testing.T) {
	for class, stays := range map[upstream.Class]bool{
		upstream.ClassUnavailable: true,
		upstream.ClassThrottled:   true,
		upstream.ClassSubject:     false,
		upstream.ClassScope:       false,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &stub{name: "up", life: time.Hour, answer: func(n int, _ upstream.Key) error {
				if n > 1 {
					return failing(class)
				}
				return nil
			}}
			c := newCache(t, s, cache.Config{})
			defer c.Close()
			old := mustToken(t, c, key(s, "a"))
			c.Reject(t.Context(), key(s, "a"), old)
			token, err := c.Token(t.Context(), key(s, "a"))
			if stays != (err == nil && token.Same(old)) {
				t.Errorf("%s: the old token stays: %v, want %v", class, err == nil, stays)
			}
			if !stays {
				return
			}
			time.Sleep(2 * time.Hour) // it must still be refreshed, or go, in its time
			if s.count() < 3 {
				t.Errorf("%s: no attempt to refresh after the failed replacement", class)
			}
		})
	}
}
