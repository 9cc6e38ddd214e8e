package cache_test

import (
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

func TestRejectCoolsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{name: "up", life: time.Hour}
		c := newCache(t, s, cache.Config{})
		defer c.Close()
		for range 10 * 200 { // ten seconds of a target that answers 401 to all
			c.Reject(t.Context(), key(s, "a"), mustToken(t, c, key(s, "a")))
			time.Sleep(5 * time.Millisecond)
		}
		if s.count() != 2 {
			t.Errorf("%d token requests, want the first and one replacement", s.count())
		}
		time.Sleep(30 * time.Second)
		c.Reject(t.Context(), key(s, "a"), mustToken(t, c, key(s, "a")))
		if s.count() != 3 {
			t.Errorf("%d token requests after the cool-down, want 3", s.count())
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
