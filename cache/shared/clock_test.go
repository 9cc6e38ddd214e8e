package shared

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/upstream"
)

// TestClocksOfReplicasNeedNotAgree has a replica whose clock is hours ahead of that
// of Redis, or behind it, share a token, and another one whose clock agrees with Redis
// adopt it: it has the life that it has.
//
// Case R11.
func TestClocksOfReplicasNeedNotAgree(t *testing.T) {
	for _, ahead := range []time.Duration{0, time.Hour, -time.Hour, 30 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			n := redistest.NewNetwork(t)
			writer := mustNew(t, Config{URL: upstream.NewSecret("redis://redis.test"), Dial: n.Dial})
			reader := mustNew(t, Config{URL: upstream.NewSecret("redis://redis.test"), Dial: n.Dial})
			p := writer.Place(upstream.Fingerprint{}, someKey)
			if _, err := writer.Look(t.Context(), p, Version{}, Want{}); err != nil {
				t.Fatal(err)
			}
			// What the writer would have found if its own clock were ahead.
			writer.clock.offset.Store(int64(-ahead))
			wrong := time.Now().Add(ahead)
			token, _ := upstream.NewToken("t", "", wrong, wrong.Add(20*time.Minute))
			sealed := writer.Seal(p, token)
			sealed.expiry = time.Now().Add(20 * time.Minute)
			writer.Add(t.Context(), p, sealed, Version{})
			time.Sleep(5 * time.Minute)
			looked, err := reader.Look(t.Context(), p, Version{}, Want{Lease: true})
			if err != nil || looked.Found.Token.IsZero() {
				t.Fatalf("ahead by %s: nothing is adopted: %v", ahead, err)
			}
			// Redis counts what is left in whole milliseconds.
			near := func(got, want time.Duration) bool { return got.Round(10*time.Millisecond) == want }
			if f := looked.Found; !near(f.Left, 15*time.Minute) || f.Life != 20*time.Minute ||
				!near(time.Until(f.Token.Expiry()), 15*time.Minute) || !near(time.Since(f.Token.Issued()), 5*time.Minute) {
				t.Errorf("ahead by %s: a life of %s with %s left", ahead, f.Life, f.Left)
			}
		})
	}
}

// TestOnlyKnownValuesAreOverwritten has a replica whose lease ran out store its token
// after another one did.
func TestOnlyKnownValuesAreOverwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := redistest.NewNetwork(t)
		s := mustNew(t, Config{URL: upstream.NewSecret("redis://redis.test"), Dial: n.Dial})
		p := s.Place(upstream.Fingerprint{}, someKey)
		seal := func(access string) Sealed {
			token, err := upstream.NewToken(access, "", time.Now(), time.Now().Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			return s.Seal(p, token)
		}
		old := seal("old")
		s.Add(t.Context(), p, old, Version{})
		for _, c := range []struct {
			store func(Sealed, Version)
			known Version
			want  string
		}{
			{func(t2 Sealed, v Version) { s.Add(t.Context(), p, t2, v) }, Version{}, "old"},
			{func(t2 Sealed, v Version) { s.Add(t.Context(), p, t2, v) }, seal("another").Version, "old"},
			{func(t2 Sealed, v Version) {
				(&Lease{store: s, place: p, owner: "lost", known: v}).Store(t.Context(), t2)
			}, Version{}, "old"},
			{func(t2 Sealed, v Version) { s.Add(t.Context(), p, t2, v) }, old.Version, "new"},
		} {
			c.store(seal("new"), c.known)
			if got, err := s.Get(t.Context(), p); err != nil || got.Token.AccessToken() != c.want {
				t.Errorf("%v: there is %q, want %q", err, got.Token.AccessToken(), c.want)
			}
		}
	})
}

// TestWithoutTheRightToTIMETokensAreShared has a user of a real Redis that may run all
// commands that are needed but TIME.
func TestWithoutTheRightToTIMETokensAreShared(t *testing.T) {
	url, client := redistest.Start(t)
	s := timeless(t, url, client)
	var log strings.Builder
	s.log = zerolog.New(&log)
	if s.Begin(t.Context()); !strings.Contains(log.String(), "may not ask for TIME") {
		t.Errorf("the log does not say that the clocks must agree: %q", log.String())
	}
	if err := s.Try(t.Context()); err != nil {
		t.Errorf("the right to TIME is not needed, and is missed: %v", err)
	}
	p := s.Place(upstream.Fingerprint{}, someKey)
	mustAcquire(t, s, p).Store(t.Context(), s.Seal(p, someToken(t)))
	looked, err := s.Look(t.Context(), p, Version{}, Want{Lease: true})
	if err != nil || looked.Found.Token.AccessToken() != "canary-token" {
		t.Errorf("nothing is shared: %v", err)
	}
}

// timeless returns a store whose user may not ask for the time.
func timeless(t *testing.T, url string, client *redis.Client) *Store {
	t.Helper()
	return restricted(t, url, client, "time")
}

// restricted returns a store whose user lacks one right.
func restricted(t *testing.T, url string, client *redis.Client, right string) *Store {
	t.Helper()
	rules := "acl setuser restricted reset on >canary resetchannels resetkeys ~token-sidecar:* -@all +get +getrange +set +del +pttl +pexpire +eval +evalsha +time -" + right
	if err := client.Do(t.Context(), anys(strings.Fields(rules))...).Err(); err != nil {
		t.Fatal(err)
	}
	return mustNew(t, Config{URL: upstream.NewSecret(strings.Replace(url, "redis://", "redis://restricted:canary@", 1)), Timeout: patient})
}

func anys(words []string) (all []any) {
	for _, w := range words {
		all = append(all, w)
	}
	return all
}

// TestTheFirstAttemptEndsWithItsContext has the sidecar stop while it tries, at its
// start, a Redis that hangs.
func TestTheFirstAttemptEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := redistest.NewNetwork(t)
		n.Play(redistest.Hung())
		s := mustNew(t, Config{URL: upstream.NewSecret("redis://redis.test"), Dial: n.Dial})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		began := time.Now()
		s.Begin(ctx)
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("it took %s", took)
		}
	})
}
