package cache

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/cache/shared"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// TestReplaysAreNotAdopted restores old values with a long time to live.
//
// Case D6.
func TestReplaysAreNotAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		i := &issuer{life: 4 * time.Second}
		c, _ := i.joinOn(t, network)
		p := namesOn(t, network, c.config.Shared, "alice")
		first := mustGet(t, c, "alice")
		synctest.Wait()
		old, err := network.Redis.Get(p.value)
		if err != nil {
			t.Fatalf("the first token is not stored: %v", err)
		}
		restore := func() {
			_ = network.Redis.Set(p.value, old)
			network.Redis.SetTTL(p.value, 24*time.Hour)
		}
		time.Sleep(time.Second)
		token, _ := c.Token(t.Context(), subject("alice"))
		restore()
		c.Reject(t.Context(), subject("alice"), token)
		if second := mustGet(t, c, "alice"); second == first {
			t.Error("the rejected token came back from Redis")
		}
		restore()
		fresh, _ := i.joinOn(t, network)
		time.Sleep(time.Until(token.Expiry()))
		restore()
		if got := mustGet(t, fresh, "alice"); got == first {
			t.Error("an expired token came back from Redis")
		}
	})
}

// TestOlderTokensAreNotAdopted has a replica refresh a token, and Redis hold one that
// is still usable and older, or one that is newer.
func TestOlderTokensAreNotAdopted(t *testing.T) {
	for age, adopted := range map[time.Duration]bool{-time.Second: true, 0: false, time.Second: false} {
		synctest.Test(t, func(t *testing.T) {
			network := redistest.NewNetwork(t)
			i := &issuer{life: time.Minute}
			time.Sleep(time.Second)
			c, _ := i.joinOn(t, network)
			store := c.config.Shared
			p := namesOn(t, network, store, "alice")
			mustGet(t, c, "alice")
			synctest.Wait()
			network.Redis.Del(p.value)
			issued := time.Now().Add(-age)
			other, _ := upstream.NewToken("of-another", "", issued, issued.Add(time.Hour))
			time.Sleep(59 * time.Second / 2)
			store.Add(t.Context(), placeOf(store, "alice"), store.Seal(placeOf(store, "alice"), other), shared.Version{})
			mustGet(t, c, "alice") // a key in use is refreshed
			time.Sleep(25 * time.Second)
			got, err := c.Token(t.Context(), subject("alice"))
			if err != nil || (got.AccessToken() == "of-another") != adopted {
				t.Errorf("a shared token that is %s older than ours is adopted: %v (%v)", age, !adopted, err)
			}
		})
	}
}

// TestLifeIsBoundedByRedis has a replica whose clock is behind the writer's:
// the sealed expiry lies further ahead than it is.
func TestLifeIsBoundedByRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		c, _ := (&issuer{life: time.Hour}).joinOn(t, network)
		store := c.config.Shared
		p := namesOn(t, network, store, "alice")
		ahead := time.Now().Add(10 * time.Minute)
		token, _ := upstream.NewToken("of-a-fast-clock", "", ahead, ahead.Add(5*time.Minute))
		store.Add(t.Context(), placeOf(store, "alice"), store.Seal(placeOf(store, "alice"), token), shared.Version{})
		if !network.Redis.Exists(p.value) {
			t.Fatal("the token is not shared")
		}
		network.Redis.SetTTL(p.value, time.Minute)
		got, err := c.Token(t.Context(), subject("alice"))
		if err != nil || got.AccessToken() != "of-a-fast-clock" {
			t.Fatalf("got %v %v", got.AccessToken(), err)
		}
		if left := time.Until(got.Expiry()); left != time.Minute {
			t.Errorf("%s are left of a token that Redis keeps for a minute", left)
		}
	})
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
		store.Add(t.Context(), placeOf(store, name), store.Seal(placeOf(store, name), someToken(t)), shared.Version{})
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
