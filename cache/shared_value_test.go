package cache

import (
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/cache/shared"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// clientOf returns a client of the test's own.
func clientOf(t *testing.T, server *miniredis.Miniredis) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// TestD6_ReplaysAreNotAdopted restores old values with a long time to live.
func TestD6_ReplaysAreNotAdopted(t *testing.T) {
	server := miniredis.RunT(t)
	i := &issuer{life: 4 * time.Second}
	url := "redis://" + server.Addr()
	c, _ := i.join(t, url)
	p := namesOf(t, clientOf(t, server), c.config.Shared, "alice")
	first := mustGet(t, c, "alice")
	eventually(t, "the first token is stored", func() bool { return server.Exists(p.value) })
	old, _ := server.Get(p.value)
	restore := func() {
		_ = server.Set(p.value, old)
		server.SetTTL(p.value, 24*time.Hour)
	}
	token, _ := c.Token(t.Context(), subject("alice"))
	restore()
	c.Reject(t.Context(), subject("alice"), token)
	if second := mustGet(t, c, "alice"); second == first {
		t.Error("the rejected token came back from Redis")
	}
	restore()
	fresh, _ := i.join(t, url)
	time.Sleep(time.Until(token.Expiry())) // the life of the token is what is waited for
	if got := mustGet(t, fresh, "alice"); got == first {
		t.Error("an expired token came back from Redis")
	}
}

// TestLifeIsBoundedByRedis has a replica whose clock is behind the writer's:
// the sealed expiry lies further ahead than it is.
func TestLifeIsBoundedByRedis(t *testing.T) {
	server := miniredis.RunT(t)
	i := &issuer{life: time.Hour}
	c, _ := i.join(t, "redis://"+server.Addr())
	store := c.config.Shared
	p := namesOf(t, clientOf(t, server), store, "alice")
	ahead := time.Now().Add(10 * time.Minute)
	token, _ := upstream.NewToken("of-a-fast-clock", "", ahead, ahead.Add(5*time.Minute))
	store.Add(t.Context(), placeOf(store, "alice"), token)
	if !server.Exists(p.value) {
		t.Fatal("the token is not shared")
	}
	server.SetTTL(p.value, time.Minute)
	got, err := c.Token(t.Context(), subject("alice"))
	if err != nil || got.AccessToken() != "of-a-fast-clock" {
		t.Fatalf("got %v %v", got.AccessToken(), err)
	}
	if left := time.Until(got.Expiry()); left > time.Minute {
		t.Errorf("%s are left of a token that Redis keeps for a minute", left)
	}
}

func TestValuesNobodyStoredAreMisses(t *testing.T) {
	url, client := redistest.Start(t)
	i := &issuer{life: time.Hour}
	c, _ := i.join(t, url)
	store := c.config.Shared
	otherRing := mustShare(t, shared.Config{URL: upstream.NewSecret(url), Ring: ring("b"), Timeout: patient, Metrics: metrics.New("test")})
	// sealed returns the value that a store puts where it keeps the token of name.
	sealed := func(store *shared.Store, name string) string {
		p := namesOf(t, client, store, name)
		store.Add(t.Context(), placeOf(store, name), someToken(t))
		value := client.GetDel(t.Context(), p.value).Val()
		if value == "" {
			t.Fatalf("no token of %s was shared", name)
		}
		return value
	}
	good := sealed(store, "good")
	plant := map[string]func(p names){
		"empty":     func(p names) { client.Set(t.Context(), p.value, "", time.Hour) },
		"text":      func(p names) { client.Set(t.Context(), p.value, "token", time.Hour) },
		"moved":     func(p names) { client.Set(t.Context(), p.value, good, time.Hour) },
		"n-no-end":  func(p names) { client.Set(t.Context(), p.value, sealed(store, "n-no-end"), 0) },
		"huge":      func(p names) { client.Set(t.Context(), p.value, strings.Repeat("x", 64<<20), time.Hour) },
		"list":      func(p names) { client.LPush(t.Context(), p.value, good) },
		"hash":      func(p names) { client.HSet(t.Context(), p.value, "a", good) },
		"old-ring":  func(p names) { client.Set(t.Context(), p.value, sealed(otherRing, "old-ring"), time.Hour) },
		"lease-set": func(p names) { client.SAdd(t.Context(), p.lease, "x") },
	}
	for name, put := range plant {
		put(namesOf(t, client, store, name))
		if got := mustGet(t, c, name); !strings.HasPrefix(got, name[:1]) {
			// Names of subjects with a space make tokens that the alphabet refuses.
			t.Errorf("%s: got %s", name, got)
		}
	}
}
