package cache

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

// TestE9_CutOffFromTheIssuer has one replica live on what others share.
func TestE9_CutOffFromTheIssuer(t *testing.T) {
	url, _ := redistest.Start(t)
	i := &issuer{life: time.Hour}
	lucky, _ := i.join(t, url)
	cut, r := i.join(t, url)
	r.cutOff.Store(true)
	for n := range 20 {
		_, _ = cut.Token(t.Context(), subject(fmt.Sprint("nobody-has-", n)))
	}
	want := mustGet(t, lucky, "alice")
	eventually(t, "the one that is cut off has the shared token", func() bool {
		token, err := cut.Token(t.Context(), subject("alice"))
		return err == nil && token.AccessToken() == want
	})
}

// TestQuietReplicaAsksRedisAgain has a replica whose token endpoint asks for
// quiet, so that only shared tokens help it, while Redis fails for a moment.
func TestQuietReplicaAsksRedisAgain(t *testing.T) {
	url, client := redistest.Start(t)
	lucky, _ := (&issuer{life: time.Hour}).join(t, url)
	i := &issuer{life: time.Hour}
	i.fail.Store(&upstream.Error{Upstream: "up", Class: upstream.ClassThrottled, RetryAfter: 5 * time.Minute})
	quiet, _ := i.join(t, url)
	_, _ = quiet.Token(t.Context(), subject("alice")) // it is told to be quiet
	forbid := client.Do(t.Context(), "ACL", "SETUSER", "default", "-getrange")
	store := quiet.config.Shared
	for n := 0; store.Status().Since.IsZero() && n < 10; n++ {
		_, _ = store.Get(t.Context(), placeOf(store, "alice"))
	}
	allow := client.Do(t.Context(), "ACL", "SETUSER", "default", "+getrange")
	if forbid.Err() != nil || allow.Err() != nil || store.Status().Since.IsZero() {
		t.Fatalf("Redis did not fail for a moment: %v %v", forbid.Err(), allow.Err())
	}
	want := mustGet(t, lucky, "alice")
	eventually(t, "the quiet one has the shared token", func() bool {
		token, err := quiet.Token(t.Context(), subject("alice"))
		return err == nil && token.AccessToken() == want
	})
	if n := i.calls.Load(); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}

// TestE2_HungRedisIsLeftAlone has a server that takes connections and commands
// and never answers.
func TestE2_HungRedisIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			return ours, nil
		}
		c, _ := (&issuer{life: time.Hour}).joinBy(t, shared.Config{URL: upstream.NewSecret("redis://localhost"), Dial: dial})
		var slow int
		for n := range 50 {
			began := time.Now()
			mustGet(t, c, fmt.Sprint("s", n))
			switch took := time.Since(began); {
			case took > 250*time.Millisecond:
				t.Errorf("request %d took %s", n, took)
			case took > 0:
				slow++
			}
		}
		if slow != 3 {
			t.Errorf("%d requests waited for it, want the 3 after which it is left alone", slow)
		}
	})
}
