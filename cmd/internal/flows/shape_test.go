package flows

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"token-sidecar/cmd/internal/testkit"
)

// shaping are settings of a generic upstream that decide which token it gets, each with a
// value that goes with every other one here.
var shaping = []string{
	"CLIENT_ID=other", "KEY_ID=k7", "ALG=PS384", "AUDIENCE=https://aud.example", `CLAIMS={"tenant":7}`, "PARAMS=audience=api",
	"HEADERS=X-Tenant=7", "BODY=json", "SCOPE_SEPARATOR=,", "SCOPE_IN=assertion", "LIFETIME=200s", "SUBJECT=optional param:user",
	"GRANT=account_credentials", "SCOPE=write", "DEFAULT_LIFETIME=100s", "NARROW_SCOPE=refuse",
}

// harmless are settings that do not.
var harmless = []string{"ALLOWED_SCOPES=write", "TARGETS=x=https://x.example", "TOKEN_BUDGET=100/s"}

// Replicas whose settings differ in one thing that shapes a token, as during a rollout,
// never use each other's token; those that differ in nothing of that kind do.
func TestReplicasThatDifferInOneSettingNeverShareAToken(t *testing.T) {
	var issued atomic.Int64
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"t-%d","token_type":"bearer","expires_in":300}`, issued.Add(1))
	}))
	defer endpoint.Close()
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
	}))
	defer target.Close()
	redis := testkit.NewRedis(t)
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("a key of tests"))
	common := []string{"REDIS_URL=" + redis.URL(), "REDIS_KEYS=a:" + base64.StdEncoding.EncodeToString(sum[:]),
		"OAUTH2_0_NAME=shop", "OAUTH2_0_AUTH=private_key_jwt", "OAUTH2_0_PRIVATE_KEY=" + testkit.PrivateKey(), "OAUTH2_0_SCOPE=read",
		"OAUTH2_0_CLIENT_ID=client", "OAUTH2_0_TOKEN_URL=" + endpoint.URL, "OAUTH2_0_TARGET=" + target.URL}
	all := append(shaping, harmless...)
	for i, more := range all {
		if err := redis.Client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		settings := common
		var both []string
		for _, n := range rand.Perm(len(all))[:4] {
			if n != i {
				both = append(both, "OAUTH2_0_"+all[n])
			}
		}
		settings = append(settings, both...)
		first := tokenOf(t, settings)
		if again := tokenOf(t, settings); again != first {
			t.Errorf("with %q: a replica with the same settings did not find the token", both)
		}
		want := i >= len(shaping)
		if got := tokenOf(t, append(settings, "OAUTH2_0_"+more)) == first; got != want {
			t.Errorf("with %q: a replica with %s in addition shares the token: %t, want %t", both, more, got, want)
		}
	}
}

// tokenOf returns what a replica with these settings, which runs for one request, sends to
// the target.
func tokenOf(t *testing.T, settings []string) string {
	t.Helper()
	r := start(t, settings...)
	defer r.stop()
	res, err := r.client.Get("http://" + r.sidecar.Addr("data").String() + "/shop/v1/x")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s: %v", res.StatusCode, body, err)
	}
	return string(body)
}
