package shared

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/upstream"
)

// TestLeaseIsTakenOnce sends the script of one attempt twice, as the client of a
// cluster may.
func TestLeaseIsTakenOnce(t *testing.T) {
	_, client := redistest.Start(t)
	for n, want := range []struct {
		owner string
		taken int64
	}{{"a", 1}, {"a", 1}, {"b", 0}, {"a", 1}} {
		reply, err := redis.NewScript(lookScript.text).Run(t.Context(), client, []string{"{x}value", "{x}lease"}, want.owner, LeaseTime.Milliseconds(), 100, "").Slice()
		if err != nil || len(reply) != 8 || reply[3] != want.taken {
			t.Errorf("attempt %d, by %s: %v, %v", n+1, want.owner, reply, err)
		}
	}
}

func mustAcquire(t *testing.T, s *Store, p Place) *Lease {
	t.Helper()
	a, err := s.Look(t.Context(), p, Version{}, Want{Lease: true})
	if err != nil || a.Lease == nil {
		t.Fatalf("no lease: %v", err)
	}
	return a.Lease
}

// TestLateHolderStoresNothing lets the lease run out during the token request.
func TestLateHolderStoresNothing(t *testing.T) {
	server := miniredis.RunT(t)
	s := mustNew(t, Config{URL: upstream.NewSecret("redis://" + server.Addr()), Timeout: patient})
	p := s.Place(upstream.Fingerprint{}, someKey)
	a := mustAcquire(t, s, p)
	server.FastForward(2 * LeaseTime)
	mustAcquire(t, s, p).Store(t.Context(), s.Seal(p, someToken(t)))
	a.Store(t.Context(), s.Seal(p, someToken(t)))
	a.Release(t.Context())
	got, err := s.Get(t.Context(), p)
	if err != nil || got.Token.IsZero() {
		t.Fatalf("nothing is shared: %v", err)
	}
	late, _ := upstream.NewToken("late", "", time.Now(), time.Now().Add(time.Hour))
	a.Store(t.Context(), s.Seal(p, late))
	if got, _ := s.Get(t.Context(), p); got.Token.AccessToken() != "canary-token" {
		t.Errorf("the late holder's token was stored")
	}
}

// TestTokenOfALostLeaseIsShared lets the lease run out, and nobody has fetched since.
func TestTokenOfALostLeaseIsShared(t *testing.T) {
	server := miniredis.RunT(t)
	s := mustNew(t, Config{URL: upstream.NewSecret("redis://" + server.Addr()), Timeout: patient})
	p := s.Place(upstream.Fingerprint{}, someKey)
	a := mustAcquire(t, s, p)
	server.FastForward(2 * LeaseTime)
	a.Store(t.Context(), s.Seal(p, someToken(t)))
	if got, err := s.Get(t.Context(), p); err != nil || got.Token.AccessToken() != "canary-token" {
		t.Errorf("it is not shared: %v", err)
	}
}

// TestLeaseOfAnotherIsLeftAlone has a holder whose lease ran out renew it and give it
// back, while another one holds it.
func TestLeaseOfAnotherIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := redistest.NewNetwork(t)
		s := mustNew(t, Config{URL: upstream.NewSecret("redis://redis.test"), Dial: n.Dial})
		p := s.Place(upstream.Fingerprint{}, someKey)
		late := mustAcquire(t, s, p)
		time.Sleep(LeaseTime)
		mustAcquire(t, s, p)
		ctx, cancel := context.WithTimeout(t.Context(), LeaseTime*5/8)
		defer cancel()
		late.Renew(ctx)
		if left := n.Redis.TTL(p.lease); left != LeaseTime*3/8 {
			t.Errorf("the lease of another stands for %s more, want %s", left, LeaseTime*3/8)
		}
		late.Release(t.Context())
		if !n.Redis.Exists(p.lease) {
			t.Error("the lease of another was given back")
		}
	})
}
