package shared

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"token-sidecar/upstream"
)

func ring(ids ...string) []SealKey {
	var keys []SealKey
	for _, id := range ids {
		keys = append(keys, SealKey{id, upstream.NewSecret(strings.Repeat(id[:1], 32))})
	}
	return keys
}

func mustSealer(t testing.TB, keys []SealKey) *sealer {
	t.Helper()
	s, err := newSealer(keys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func someToken(t testing.TB) upstream.Token {
	t.Helper()
	now := time.Now()
	token, err := upstream.NewToken("canary-token", "read write", now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// plain is someToken as it is sealed.
func plain(t testing.TB) plainValue {
	token := someToken(t)
	return plainValue{token.AccessToken(), token.Scope(), token.Issued(), token.Expiry()}
}

var someKey = upstream.Key{Upstream: "up", Kind: upstream.KindAccess, Subject: "canary-subject", Scope: "canary-scope"}

func TestSealRoundTrip(t *testing.T) {
	s := mustSealer(t, ring("a"))
	p := s.place(upstream.Fingerprint{1}, someKey)
	token := plain(t)
	sealed := s.seal(p, token)
	got, err := s.open(p, sealed)
	if err != nil || got.access != token.access || got.scope != token.scope ||
		!got.issued.Equal(token.issued) || !got.expiry.Equal(token.expiry) {
		t.Errorf("opened to another token: %v, %s to %s, want %s to %s", err, got.issued, got.expiry, token.issued, token.expiry)
	}
	for _, clear := range []string{"canary", "read", "canary-subject"} {
		if bytes.Contains(sealed, []byte(clear)) || strings.Contains(p.value+p.lease, clear) {
			t.Errorf("%s is readable", clear)
		}
	}
	if bytes.Equal(sealed, s.seal(p, token)) {
		t.Error("the same nonce twice")
	}
}

// TestEveryChangeIsAMiss flips every bit, and cuts and extends the value.
//
// Case D4.
func TestEveryChangeIsAMiss(t *testing.T) {
	s := mustSealer(t, ring("a"))
	p := s.place(upstream.Fingerprint{1}, someKey)
	sealed := s.seal(p, plain(t))
	for i := range sealed {
		for bit := range 8 {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1 << bit
			if _, err := s.open(p, changed); err == nil {
				t.Errorf("opens with bit %d of byte %d flipped", bit, i)
			}
		}
		if _, err := s.open(p, sealed[:i]); err == nil {
			t.Errorf("opens when cut to %d bytes", i)
		}
	}
	if _, err := s.open(p, append(bytes.Clone(sealed), 0)); err == nil {
		t.Error("opens with a byte more")
	}
}

// TestHugeValuesDoNotOpen seals a token with a scope that no upstream grants.
func TestHugeValuesDoNotOpen(t *testing.T) {
	s := mustSealer(t, ring("a"))
	p := s.place(upstream.Fingerprint{1}, someKey)
	now := time.Now()
	for n, want := range map[int]bool{maxSealed - 1000: true, maxSealed: false} {
		token := plainValue{"t", strings.Repeat("a", n), now, now.Add(time.Hour)}
		if _, err := s.open(p, s.seal(p, token)); (err == nil) != want {
			t.Errorf("with a scope of %d bytes: %v", n, err)
		}
	}
}

// TestValuesStayInTheirPlace moves a value to where another key, credential
// or ring would look.
//
// Case D12.
func TestValuesStayInTheirPlace(t *testing.T) {
	s := mustSealer(t, ring("a"))
	home := s.place(upstream.Fingerprint{1}, someKey)
	sealed := s.seal(home, plain(t))
	other := someKey
	other.Subject = "bob"
	for name, p := range map[string]Place{
		"another subject":    s.place(upstream.Fingerprint{1}, other),
		"another credential": s.place(upstream.Fingerprint{2}, someKey),
	} {
		if p.value == home.value || p.lease == home.lease {
			t.Errorf("%s has the same name", name)
		}
		if _, err := s.open(p, sealed); err == nil {
			t.Errorf("opens for %s", name)
		}
	}
	if _, err := mustSealer(t, ring("b")).open(home, sealed); err == nil {
		t.Error("opens with another ring")
	}
}

// TestRotationStepByStep has replicas at every pair of neighbouring steps of a
// rotation: each finds, under one of the names it looks under, what the other one
// stored.
//
// Case D7.
func TestRotationStepByStep(t *testing.T) {
	for _, ids := range [][2]string{{"a", "b"}, {"b", "a"}} {
		before, after := ids[0], ids[1]
		steps := [][]SealKey{ring(before), ring(before, after), ring(after, before), ring(after)}
		for i := range len(steps) - 1 {
			x, y := mustSealer(t, steps[i]), mustSealer(t, steps[i+1])
			px, py := x.place(upstream.Fingerprint{1}, someKey), y.place(upstream.Fingerprint{1}, someKey)
			finds := func(by *sealer, at Place, stored string, value []byte) bool {
				_, err := by.open(at, value)
				return err == nil && slices.Contains(append(at.others, at.value), stored)
			}
			if !finds(y, py, px.value, x.seal(px, plain(t))) {
				t.Errorf("from %s: step %d does not find what step %d stored", before, i+1, i)
			}
			if !finds(x, px, py.value, y.seal(py, plain(t))) {
				t.Errorf("from %s: step %d does not find what step %d stored", before, i, i+1)
			}
		}
	}
}

// Case D8.
func TestNoNonceRepeats(t *testing.T) {
	s := mustSealer(t, ring("a"))
	p := s.place(upstream.Fingerprint{1}, someKey)
	token := plain(t)
	seen := map[[12]byte]bool{}
	const n = 100_000
	for range n {
		seen[[12]byte(s.seal(p, token)[3:15])] = true
	}
	if len(seen) != n {
		t.Errorf("%d nonces in %d values", len(seen), n)
	}
}

// Case D1.
func TestPlacesAreDistinct(t *testing.T) {
	s := mustSealer(t, ring("a"))
	part := rapid.SampledFrom([]string{"", "a", "a:b", "b", ":", "\x00", "a\x00b", "a|b", "/", "\n", "{a}", "é", "é"})
	key := rapid.Custom(func(t *rapid.T) upstream.Key {
		return upstream.Key{Upstream: part.Draw(t, "upstream"), Kind: upstream.Kind(part.Draw(t, "kind")),
			Subject: part.Draw(t, "subject"), Scope: part.Draw(t, "scope")}
	})
	rapid.Check(t, func(t *rapid.T) {
		x, y := key.Draw(t, "x"), key.Draw(t, "y")
		if (s.place(upstream.Fingerprint{}, x).value == s.place(upstream.Fingerprint{}, y).value) != (x == y) {
			t.Errorf("%+q and %+q", x, y)
		}
	})
}

func FuzzOpen(f *testing.F) {
	s := mustSealer(f, ring("a"))
	p := s.place(upstream.Fingerprint{1}, someKey)
	sealed := s.seal(p, plain(f))
	f.Add(sealed)
	f.Add([]byte{})
	f.Add([]byte{1, 1})
	f.Add([]byte{1, 255, 'a'})
	f.Fuzz(func(t *testing.T, value []byte) {
		if _, err := s.open(p, value); err == nil && !bytes.Equal(value, sealed) {
			// Any other value that opens would have to be one that seal made.
			t.Error("a made-up value opens")
		}
	})
}

// TestKeysHave32Bytes has keys of all lengths that AES takes, and others.
func TestKeysHave32Bytes(t *testing.T) {
	for _, bytes := range []int{0, 16, 24, 31, 32, 33} {
		_, err := newSealer([]SealKey{{ID: "a", Key: upstream.NewSecret(strings.Repeat("k", bytes))}})
		if (err == nil) != (bytes == 32) {
			t.Errorf("a key of %d bytes: %v", bytes, err)
		}
	}
}
