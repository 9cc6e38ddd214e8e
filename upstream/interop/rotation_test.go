package interop

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestKeyRotationFailsNoRequest replaces a private key by the one that was published as the
// next, as an operator does, while requests go on. The server reads the JWK Set once, before:
// oidc-provider takes it for fresh for a minute and refuses keys that are not in it.
func TestKeyRotationFailsNoRequest(t *testing.T) {
	t.Parallel()
	const name = "rotating"
	keys := []string{rsaPEM(t), rsaPEM(t), rsaPEM(t)}
	dir := t.TempDir()
	inUse, next := filepath.Join(dir, "key"), filepath.Join(dir, "next")
	replaceFile(t, inUse, keys[0])
	replaceFile(t, next, keys[1])
	published := freeAddress(t)
	server := startOIDCProvider(t, 5, client{"client_id": name, "token_endpoint_auth_method": "private_key_jwt",
		"token_endpoint_auth_signing_alg": "RS256", "jwks_uri": "http://" + published + "/.well-known/jwks.json"})
	sidecar := startSidecar(t, startTarget(t, server.whose), []api{{name, settings{
		"CLIENT_ID": name, "TOKEN_URL": server.issuer + "/token", "AUTH": "private_key_jwt",
		"PRIVATE_KEY_FILE": inUse, "NEXT_KEY_FILE": next, "KEY_ID": "thumbprint",
	}}}, "SIDECAR_JWKS_LISTEN="+published)

	// Requests go on from before the rotation until after it.
	var stop atomic.Bool
	var requests sync.WaitGroup
	var good atomic.Int64
	for range 3 {
		requests.Go(func() {
			for !stop.Load() {
				if got := sidecar.get(t, "/"+name+"/"); got != (answer{200, name, ""}) {
					t.Errorf("after %d good answers: %+v", good.Load(), got)
					return
				}
				good.Add(1)
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	tokensOf := func(key string) (n int) {
		for _, r := range server.noted() {
			if r.Client == name && r.Error == "" && r.Kid == thumbprint(t, key) {
				n++
			}
		}
		return n
	}
	eventually(t, func() error {
		if tokensOf(keys[0]) == 0 || good.Load() == 0 {
			return errors.New("no token was issued for the first key")
		}
		return nil
	})
	replaceFile(t, inUse, keys[1])
	replaceFile(t, next, keys[2])
	eventually(t, func() error {
		if tokensOf(keys[1]) < 2 && !t.Failed() {
			return errors.New("no two tokens were issued for the second key")
		}
		return nil
	})
	stop.Store(true)
	requests.Wait()

	fetched := 0
	for _, r := range server.noted() {
		if r.Fetched != "" {
			fetched++
		}
		if r.Error != "" {
			t.Errorf("the server refused %+v", r)
		}
	}
	if fetched != 1 {
		t.Errorf("the server fetched the JWK Set %d times", fetched)
	}
	for n, key := range keys {
		if !publishes(t, "http://"+published+"/.well-known/jwks.json", thumbprint(t, key)) {
			t.Errorf("after the rotation the JWK Set lacks key %d", n)
		}
	}
}

// replaceFile replaces a file as a whole, so that nobody reads half of it.
func replaceFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}
