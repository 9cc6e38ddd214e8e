package upstream

import (
	"crypto/elliptic"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// idsOf returns the ids of the keys in a JWK Set, and fails if a private part is in it.
func idsOf(t *testing.T, all ...Upstream) []string {
	t.Helper()
	text := JWKSet(all)
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(text, &set); err != nil && text != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, key := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if key[private] != nil {
				t.Errorf("the set has the private part %s", private)
			}
		}
		if key["use"] != "sig" || key["alg"] == nil || key["kty"] == nil {
			t.Errorf("the key is %v", key)
		}
		ids = append(ids, key["kid"].(string))
	}
	return ids
}

// A key that was replaced stays in the set until no assertion made with it is alive, and
// the next one is there before it is used.
func TestJWKSetHasTheNextKeyAndTheReplacedOnes(t *testing.T) {
	jwk := func(id string) string { return jwkOf(t, newEC(t, elliptic.P384()), id, "") }
	a, b, c := jwk("a"), jwk("b"), jwk("c")
	synctest.Test(t, func(t *testing.T) {
		current, next := NewSecret(a), NewSecret(b)
		u := NewOAuth2(OAuth2Config{Auth: AuthPrivateKeyJWT, PrivateKey: current, NextKey: next})
		want := func(ids ...string) {
			t.Helper()
			if got := idsOf(t, u); !slices.Equal(got, ids) {
				t.Errorf("the set has %q, want %q", got, ids)
			}
		}
		want("a", "b")
		current.Replace(b)
		want("b", "a")
		next.Replace(c)
		want("b", "c", "a")
		time.Sleep(assertionLifetime)
		want("b", "c", "a")
		time.Sleep(retiredFor - assertionLifetime + time.Second)
		want("b", "c")
		// However often keys are replaced, no more than so many are remembered.
		for i := range 3 * maxRetired {
			current.Replace([]string{a, b}[i%2])
			_ = JWKSet([]Upstream{u})
		}
		if got := len(idsOf(t, u)); got > maxRetired+2 {
			t.Errorf("%d keys are in the set", got)
		}
	})
}

func TestJWKSetHasEachKeyOnce(t *testing.T) {
	key := jwkOf(t, newRSA(t, 2048), "shared", "")
	of := func(key string) Upstream {
		return NewOAuth2(OAuth2Config{Auth: AuthPrivateKeyJWT, PrivateKey: NewSecret(key)})
	}
	if got := idsOf(t, of(key), of(key), of(jwkOf(t, newEC(t, elliptic.P256()), "own", "")), NewOAuth2(OAuth2Config{})); !slices.Equal(got, []string{"shared", "own"}) {
		t.Errorf("the set has %q", got)
	}
	if JWKSet([]Upstream{NewOAuth2(OAuth2Config{})}) != nil {
		t.Error("there is a set without a key")
	}
	if text := string(JWKSet([]Upstream{of("no key: canary")})); strings.Contains(text, "canary") {
		t.Errorf("the set is %s", text)
	}
}
