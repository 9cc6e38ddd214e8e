package upstream

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func pemOf(t testing.TB, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkcs8Of(t testing.TB, k any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	return pemOf(t, "PRIVATE KEY", der, err)
}

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEC(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// jwkOf returns a key as a JWK.
func jwkOf(t testing.TB, key any, id, alg string) string {
	t.Helper()
	text, err := (&jose.JSONWebKey{Key: key, KeyID: id, Algorithm: alg}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// googleOf returns a key in the form of Google's JSON key file.
func googleOf(t testing.TB, key any, id string) string {
	t.Helper()
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "robot@project.example", "private_key_id": id, "private_key": pkcs8Of(t, key),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPrivateKeysOfEveryFormAreRead(t *testing.T) {
	key, curve := newRSA(t, 2048), newEC(t, elliptic.P384())
	pkcs1 := pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), nil)
	der, err := x509.MarshalECPrivateKey(curve)
	sec1 := pemOf(t, "EC PRIVATE KEY", der, err)
	parameters := pemOf(t, "EC PARAMETERS", []byte{6, 5, 43, 129, 4, 0, 34}, nil)
	tests := []struct {
		name, text string
		key        crypto.Signer
		alg, id    string
	}{
		{"PKCS #1", pkcs1, key, "RS256", ""},
		{"PKCS #8", pkcs8Of(t, key), key, "RS256", ""},
		{"white space", "\n " + pkcs1 + " \n", key, "RS256", ""},
		{"CR LF", strings.ReplaceAll(pkcs1, "\n", "\r\n"), key, "RS256", ""},
		{"escaped", strings.ReplaceAll(pkcs1, "\n", `\n`), key, "RS256", ""},
		{"EC, SEC 1", sec1, curve, "ES384", ""},
		{"EC, SEC 1 behind parameters", parameters + sec1, curve, "ES384", ""},
		{"EC, PKCS #8", pkcs8Of(t, curve), curve, "ES384", ""},
		{"P-256", pkcs8Of(t, newEC(t, elliptic.P256())), nil, "ES256", ""},
		{"P-521", pkcs8Of(t, newEC(t, elliptic.P521())), nil, "ES512", ""},
		{"JWK", jwkOf(t, key, "k1", ""), key, "RS256", "k1"},
		{"JWK that names its algorithm", jwkOf(t, key, "k2", "PS384"), key, "PS384", "k2"},
		{"EC JWK", jwkOf(t, curve, "k3", ""), curve, "ES384", "k3"},
		{"Google", googleOf(t, key, "g1"), key, "RS256", "g1"},
	}
	for _, tt := range tests {
		got, err := NewSigningKey(tt.text, "", "")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got.method.Alg() != tt.alg || got.ID() != tt.id {
			t.Errorf("%s: signs by %s as %q, want %s, %q", tt.name, got.method.Alg(), got.ID(), tt.alg, tt.id)
		}
		if tt.key != nil && !got.key.(interface{ Equal(crypto.PrivateKey) bool }).Equal(tt.key) {
			t.Errorf("%s: another key is read", tt.name)
		}
	}
}

func TestPrivateKeysThatAreNoneAreRefused(t *testing.T) {
	key := newRSA(t, 2048)
	pkcs1 := pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), nil)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	for name, text := range map[string]string{
		"empty": "", "text": "canary", "cut": pkcs1[:len(pkcs1)/2], "weak": pkcs8Of(t, newRSA(t, 2047)),
		"public": pemOf(t, "PUBLIC KEY", public, err), "nonsense": pemOf(t, "RSA PRIVATE KEY", []byte("canary"), nil),
		"Ed25519": pkcs8Of(t, edwards), "P-224": pkcs8Of(t, newEC(t, elliptic.P224())),
		"public JWK": jwkOf(t, &key.PublicKey, "canary", ""), "symmetric JWK": jwkOf(t, []byte("canary-canary-canary-canary-canary"), "", ""),
		"other JSON": `{"canary": 1}`, "Google without a key": `{"private_key": "canary"}`, "broken JSON": `{"kty": "RSA", canary`,
	} {
		_, err := NewSigningKey(text, "", "")
		if err == nil {
			t.Errorf("%s is taken", name)
			continue
		}
		wantSecrecy(t, err, "canary", "MII", pkcs1[40:60])
	}
}

func TestAlgorithmsFitTheKey(t *testing.T) {
	keys := map[string]string{
		"RSA": pkcs8Of(t, newRSA(t, 2048)), "P-256": pkcs8Of(t, newEC(t, elliptic.P256())),
		"P-384": pkcs8Of(t, newEC(t, elliptic.P384())), "P-521": pkcs8Of(t, newEC(t, elliptic.P521())),
	}
	fits := map[string]string{"RS": "RSA", "PS": "RSA", "ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
	for _, alg := range Algorithms {
		for kind, text := range keys {
			want := fits[alg] == kind || fits[alg[:2]] == kind
			key, err := NewSigningKey(text, alg, "k")
			if (err == nil) != want {
				t.Errorf("%s with %s: %v", kind, alg, err)
			}
			if err != nil {
				continue
			}
			if _, err := (assertion{issuer: "me"}).sign(key); err != nil {
				t.Errorf("%s with %s does not sign: %v", kind, alg, err)
			}
		}
		_, err := NewSecretKey(strings.Repeat("s", 64), alg)
		if (err == nil) != strings.HasPrefix(alg, "HS") {
			t.Errorf("a secret with %s: %v", alg, err)
		}
	}
	for alg, size := range map[string]int{"HS256": 32, "HS384": 48, "HS512": 64} {
		if _, err := NewSecretKey(strings.Repeat("s", size-1), alg); err == nil {
			t.Errorf("%s takes a secret of %d bytes", alg, size-1)
		}
	}
}

// The example of RFC 7638 section 3.1.
func TestThumbprintIsThatOfTheRFC(t *testing.T) {
	var public jose.JSONWebKey
	if err := public.UnmarshalJSON([]byte(`{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB"}`)); err != nil {
		t.Fatal(err)
	}
	key := SigningKey{key: &rsa.PrivateKey{PublicKey: *public.Key.(*rsa.PublicKey)}, method: nil}
	if got := key.thumbprint(); got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("the thumbprint is %s", got)
	}
	named, err := NewSigningKey(pkcs8Of(t, newRSA(t, 2048)), "", KeyIDThumbprint)
	if err != nil || named.ID() != named.thumbprint() {
		t.Errorf("the key id is %q: %v", named.ID(), err)
	}
}
