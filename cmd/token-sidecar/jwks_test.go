package main_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"token-sidecar/cmd/internal/testkit"
)

// signer returns settings of an upstream that signs with a key which is published.
func signer(more ...string) []string {
	return testkit.Environ(append([]string{
		"OAUTH2_0_NAME=fhir", "OAUTH2_0_CLIENT_ID=client", "OAUTH2_0_AUTH=private_key_jwt", "OAUTH2_0_KEY_ID=thumbprint",
		"OAUTH2_0_PRIVATE_KEY=" + testkit.PrivateKey(), "OAUTH2_0_NEXT_KEY=" + testkit.NewPrivateKey(2048),
		"OAUTH2_0_TOKEN_URL=http://127.0.0.1:1/token", "OAUTH2_0_TARGET=http://127.0.0.1:1",
	}, more...)...)
}

// kids returns the key ids in a JWK Set, and fails if a private part is in it.
func kids(t *testing.T, text string) []string {
	t.Helper()
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var ids []string
	for _, key := range set.Keys {
		if key["d"] != nil || key["p"] != nil || key["kty"] != "RSA" || key["use"] != "sig" || key["alg"] != "RS256" {
			t.Errorf("a key is %v", key)
		}
		ids = append(ids, key["kid"].(string))
	}
	return ids
}

// The set that is printed is the one that is served, at one path and by GET alone.
func TestJWKSetIsPrintedAndServed(t *testing.T) {
	t.Parallel()
	environ := signer()
	printed, stderr, code := run(t, environ, "jwks")
	if code != 0 || stderr != "" || len(kids(t, printed)) != 2 {
		t.Fatalf("jwks: code %d, stderr %q, stdout %q", code, stderr, printed)
	}
	p := start(t, nil, append(environ, "SIDECAR_JWKS_LISTEN=0.0.0.0:0")...)
	ask := func(method, path string) (*http.Response, string) {
		t.Helper()
		_, port, _ := strings.Cut(strings.TrimPrefix(p.addrs["jwks"], "[::]"), ":")
		req, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:"+port+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := p.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		body, _ := io.ReadAll(res.Body)
		return res, string(body)
	}
	res, body := ask(http.MethodGet, "/.well-known/jwks.json")
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/jwk-set+json" || !slices.Equal(kids(t, body), kids(t, printed)) {
		t.Errorf("status %d, %v, %s", res.StatusCode, res.Header, body)
	}
	for _, path := range []string{"/", "/metrics", "/livez", "/fhir/x", "/.well-known/", "/.well-known/jwks.json/", "//.well-known/jwks.json", "/x/../.well-known/jwks.json", "/token/fhir"} {
		if res, _ := ask(http.MethodGet, path); res.StatusCode != 404 {
			t.Errorf("%s is answered with %d", path, res.StatusCode)
		}
	}
	if res, _ := ask(http.MethodPost, "/.well-known/jwks.json"); res.StatusCode != 405 {
		t.Errorf("POST is answered with %d", res.StatusCode)
	}
	if _, stderr, code := run(t, testkit.Environ("PDX_CLIENT_ID=x", "PDX_CLIENT_SECRET=y"), "jwks"); code != 1 || !strings.Contains(stderr, "PRIVATE_KEY") {
		t.Errorf("jwks without a key: code %d, %q", code, stderr)
	}
}
