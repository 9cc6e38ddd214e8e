package interop

import (
	"crypto/elliptic"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v3"
	"github.com/go-jose/go-jose/v3/jwt"
)

// TestOIDCProviderTakesEachProofOfAClient sends one request for each way in which a client
// proves itself, with keys in all forms. The public keys are the ones that the sidecar
// serves.
func TestOIDCProviderTakesEachProofOfAClient(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, method, secret string
		set                  settings
		want                 record
	}{
		{"basic", "client_secret_basic", oddSecret, settings{"AUTH": "basic"}, record{Proof: "basic"}},
		{"basic-found", "client_secret_basic", oddSecret, settings{"ISSUER": "it"}, record{Proof: "basic"}},
		{"audience", "client_secret_basic", oddSecret, settings{"PARAMS": "resource=https%3A%2F%2Fapi.example%2Fa%26b"}, record{Proof: "basic"}},
		{"post", "client_secret_post", oddSecret, settings{"AUTH": "post"}, record{Proof: "post"}},
		{"secret-jwt", "client_secret_jwt", longSecret, settings{"AUTH": "client_secret_jwt"}, record{Proof: "assertion", Alg: "HS256"}},
		{"rs256", "private_key_jwt", "", settings{"PRIVATE_KEY": rsaPEM(t), "KEY_ID": "thumbprint"}, record{Alg: "RS256"}},
		{"rs256-found", "private_key_jwt", "", settings{"PRIVATE_KEY": rsaPEM(t), "KEY_ID": "first-key", "ISSUER": "it"},
			record{Alg: "RS256", Kid: "first-key"}},
		{"ps256", "private_key_jwt", "", settings{"PRIVATE_KEY": rsaPEM(t), "KEY_ID": "thumbprint", "ALG": "PS256"}, record{Alg: "PS256"}},
		{"es256", "private_key_jwt", "", settings{"PRIVATE_KEY": sec1(t, ecKey(t, elliptic.P256())), "KEY_ID": "thumbprint"},
			record{Alg: "ES256"}},
		{"es384", "private_key_jwt", "", settings{"PRIVATE_KEY": jwk(t, ecKey(t, elliptic.P384()), "of-a-jwk")},
			record{Alg: "ES384", Kid: "of-a-jwk"}},
		{"es512", "private_key_jwt", "", settings{"PRIVATE_KEY": pkcs8(t, ecKey(t, elliptic.P521())), "KEY_ID": "thumbprint"},
			record{Alg: "ES512"}},
	}
	published := freeAddress(t)
	var clients []client
	for i, row := range rows {
		c := client{"client_id": row.name, "token_endpoint_auth_method": row.method}
		if row.method == "private_key_jwt" {
			c["jwks_uri"] = "http://" + published + "/.well-known/jwks.json"
			row.set["AUTH"], rows[i].want.Proof = row.method, "assertion"
		} else {
			c["client_secret"], row.set["CLIENT_SECRET"] = row.secret, row.secret
		}
		if row.want.Alg != "" {
			c["token_endpoint_auth_signing_alg"] = row.want.Alg
		}
		clients = append(clients, c)
	}
	server := startOIDCProvider(t, 600, clients...)
	var apis []api
	for _, row := range rows {
		row.set["CLIENT_ID"] = row.name
		if row.set["ISSUER"] != "" {
			row.set["ISSUER"] = server.issuer
		} else {
			row.set["TOKEN_URL"] = server.issuer + "/token"
		}
		apis = append(apis, api{row.name, row.set})
	}
	sidecar := startSidecar(t, startTarget(t, server.whose), apis, "SIDECAR_JWKS_LISTEN="+published)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			wantBody := row.name
			if row.name == "audience" {
				wantBody += " https://api.example/a&b"
			}
			if got := sidecar.get(t, "/"+row.name+"/"); got != (answer{200, wantBody, ""}) {
				t.Errorf("the answer is %+v, want %q", got, wantBody)
			}
			want, got := row.want, server.last(t, row.name)
			want.Client = row.name
			if row.set["KEY_ID"] == "thumbprint" {
				want.Kid = thumbprint(t, row.set["PRIVATE_KEY"])
			}
			if got != want {
				t.Errorf("the server saw %+v, want %+v", got, want)
			}
		})
	}
}

// TestOIDCProviderTakesAnAssertionThatAnotherHasSigned holds that the assertion of a file
// goes to the server as it is.
func TestOIDCProviderTakesAnAssertionThatAnotherHasSigned(t *testing.T) {
	t.Parallel()
	const name = "workload"
	key := ecKey(t, elliptic.P256())
	server := startOIDCProvider(t, 600, client{"client_id": name, "token_endpoint_auth_method": "private_key_jwt",
		"token_endpoint_auth_signing_alg": "ES256",
		"jwks":                            jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "of-another"}}}})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "of-another"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	assertion, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: name, Subject: name, Audience: jwt.Audience{server.issuer},
		ID: "1", Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour))}).CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "assertion")
	replaceFile(t, file, assertion)
	sidecar := startSidecar(t, startTarget(t, server.whose), []api{{name, settings{
		"TOKEN_URL": server.issuer + "/token", "AUTH": "assertion_file", "ASSERTION_FILE": file,
	}}})
	if got := sidecar.get(t, "/"+name+"/"); got != (answer{200, name, ""}) {
		t.Errorf("the answer is %+v", got)
	}
	if got, want := server.last(t, name), (record{Client: name, Proof: "assertion", Alg: "ES256", Kid: "of-another"}); got != want {
		t.Errorf("the server saw %+v, want %+v", got, want)
	}
}

// TestRefusalsOfOIDCProviderBecomeProblems holds which problem document there is when the server refuses,
// and that it refuses for the reason meant.
func TestRefusalsOfOIDCProviderBecomeProblems(t *testing.T) {
	t.Parallel()
	key := rsaPEM(t)
	registered := settings{"AUTH": "private_key_jwt", "PRIVATE_KEY": key, "KEY_ID": "registered"}
	var set map[string]any
	if err := json.Unmarshal([]byte(jwks(t, api{"any", with(registered, settings{"CLIENT_ID": "any", "TOKEN_URL": "http://127.0.0.1:9/"})})), &set); err != nil {
		t.Fatal(err)
	}
	basic := settings{"CLIENT_SECRET": oddSecret}
	rows := []struct {
		name, method string
		set          settings
		code, detail string
	}{
		{"secret", "client_secret_basic", settings{"CLIENT_SECRET": "another"}, "credential_refused", "invalid secret"},
		{"secret-post", "client_secret_post", settings{"CLIENT_SECRET": "another", "AUTH": "post"}, "credential_refused", "invalid secret"},
		{"secret-jwt", "client_secret_jwt", settings{"CLIENT_SECRET": "another" + longSecret, "AUTH": "client_secret_jwt"},
			"credential_refused", "signature"},
		{"plain", "client_secret_basic", with(basic, settings{"BASIC_ENCODING": "plain"}), "credential_refused", "invalid secret"},
		{"proof", "client_secret_jwt", with(basic, settings{"AUTH": "post"}), "credential_refused", "does not match the registered"},
		{"key", "private_key_jwt", with(registered, settings{"PRIVATE_KEY": rsaPEM(t)}), "credential_refused", "signature"},
		{"kid", "private_key_jwt", with(registered, settings{"KEY_ID": "another"}), "credential_refused", "key"},
		{"alg", "private_key_jwt", with(registered, settings{"ALG": "PS256"}), "credential_refused", "alg mismatch"},
		{"aud", "private_key_jwt", with(registered, settings{"AUDIENCE": "https://another.example/token"}), "credential_refused", "audience"},
		{"scope", "client_secret_basic", with(basic, settings{"SCOPE": "read write"}), "scope_not_allowed", "scope"},
	}
	var clients []client
	for _, row := range rows {
		c := client{"client_id": row.name, "token_endpoint_auth_method": row.method, "scope": "read"}
		switch row.method {
		case "private_key_jwt":
			c["jwks"], c["token_endpoint_auth_signing_alg"] = set, "RS256"
		case "client_secret_jwt":
			c["client_secret"] = longSecret
		default:
			c["client_secret"] = oddSecret
		}
		clients = append(clients, c)
	}
	server := startOIDCProvider(t, 600, clients...)
	var apis []api
	for _, row := range rows {
		apis = append(apis, api{row.name, with(row.set, settings{"CLIENT_ID": row.name, "TOKEN_URL": server.issuer + "/token"})})
	}
	sidecar := startSidecar(t, startTarget(t, server.whose), apis)
	status := map[string]int{"credential_refused": 502, "scope_not_allowed": 403}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got := sidecar.get(t, "/"+row.name+"/")
			if got.status != status[row.code] || got.code != row.code {
				t.Errorf("the answer is %+v", got)
			}
			if r := server.last(t, row.name); r.Error == "" || !strings.Contains(r.Detail, row.detail) {
				t.Errorf("the server saw %+v, want a refusal for %q", r, row.detail)
			}
		})
	}
	if fetched := slices.ContainsFunc(server.noted(), func(r record) bool { return r.Fetched != "" }); fetched {
		t.Error("the server has fetched a JWK Set")
	}
}

// TestLockFileNamesNoRegistry keeps out of package-lock.json from where somebody's npm got
// the packages; their digests are in it.
func TestLockFileNamesNoRegistry(t *testing.T) {
	text, err := os.ReadFile("testdata/oidc-provider/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), `"resolved"`) || !strings.Contains(string(text), `"integrity"`) {
		t.Error("package-lock.json says from where packages came, or has no digests")
	}
}
