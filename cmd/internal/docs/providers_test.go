package docs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/check"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/cmd/internal/sidecar"
	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/metrics"
	"token-sidecar/upstream/upstreamtest"
)

// recipe is a section of docs/providers.md.
type recipe struct {
	settings []string // NAME=value without SIDECAR_
	curl     string
}

// recipes reads docs/providers.md.
func recipes(t *testing.T) map[string]recipe {
	t.Helper()
	text, err := os.ReadFile("../../../docs/providers.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]recipe{}
	for _, part := range strings.Split(string(text), "<!-- recipe: ")[1:] {
		name, rest, _ := strings.Cut(part, " -->")
		blocks := strings.Split(rest, "```sh\n")
		if len(blocks) != 3 {
			t.Fatalf("recipe %s has %d blocks, want settings and a request", name, len(blocks)-1)
		}
		var r recipe
		lines, _, _ := strings.Cut(blocks[1], "```")
		for line := range strings.Lines(lines) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			r.settings = append(r.settings, strings.TrimPrefix(key, "SIDECAR_")+"="+strings.Trim(value, `"`))
		}
		r.curl, _, _ = strings.Cut(blocks[2], "\n```")
		all[name] = r
	}
	return all
}

// material is keys and what is made of them, for the placeholders of the recipes.
type material struct {
	rsa, ec256, ec384 any
	other             *rsa.PrivateKey
	certificate       *x509.Certificate
	cluster           []byte // signs assertions of files
	files             map[string]string
}

const (
	clientID = "client-of-recipes"
	secret   = "a-secret-of-more-than-thirty-two-bytes"
	account  = "account-7"
	keyID    = "key-7"
)

// newMaterial makes all of it, with its files in a directory.
var newMaterial = sync.OnceValue(func() *material {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	ec256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ec384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(err)
	certificate, err := x509.ParseCertificate(der)
	must(err)
	derEC, err := x509.CreateCertificate(rand.Reader, template, template, &ec256.PublicKey, ec256)
	must(err)
	private := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		must(err)
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	m := &material{rsa: key, ec256: ec256, ec384: ec384, other: other, certificate: certificate, cluster: []byte("the key of a cluster, 32 bytes or more")}
	assertion, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": "https://cluster.example",
		"sub": "system:serviceaccount:shop:app", "aud": "api://exchange", "exp": time.Now().Add(time.Hour).Unix()}).SignedString(m.cluster)
	must(err)
	google, err := json.Marshal(map[string]string{"type": "service_account", "private_key_id": keyID, "private_key": private(key)})
	must(err)
	m.files = map[string]string{
		"KEY_RSA": private(key), "KEY_OTHER": private(other), "KEY_EC256": private(ec256), "KEY_EC384": private(ec384),
		"CERTIFICATE_RSA": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"CERTIFICATE_EC":  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: derEC})),
		"KEY_GOOGLE":      string(google), "ASSERTION": assertion,
	}
	return m
})

// set returns a JWK Set of the public half of one key, or of a secret.
func set(key any, id string) *jose.JSONWebKeySet {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		key = &k.PublicKey
	case *ecdsa.PrivateKey:
		key = &k.PublicKey
	}
	return &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: id}}}
}

const (
	metadata  = `{"issuer":"{issuer}PATH","token_endpoint":"{issuer}/oauth/token"}`
	jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	fiveMin   = 5 * time.Minute
)

// endpoints has the rules of each provider. keysAt is where the sidecar serves its JWK Set.
func endpoints(m *material, keysAt string) map[string]upstreamtest.EndpointRules {
	signed := func(a upstreamtest.AssertionRules) *upstreamtest.AssertionRules { return &a }
	return map[string]upstreamtest.EndpointRules{
		"smart": {Auth: upstreamtest.AuthPrivateKeyJWT, Scopes: []string{"system/Patient.rs", "system/Observation.rs"},
			Metadata: map[string]string{"/r4/.well-known/smart-configuration": `{"token_endpoint":"{issuer}/oauth/token"}`},
			Assertion: signed(upstreamtest.AssertionRules{Algorithms: []string{"RS384", "ES384"}, NeedKeyID: true, MaxLife: fiveMin,
				KeysURL: func() string { return "http://" + keysAt + "/.well-known/jwks.json" }})},
		"udap": {Auth: upstreamtest.AuthPrivateKeyJWT, Scopes: []string{"system/Patient.rs"}, Params: map[string]string{"udap": "1"},
			Assertion: signed(upstreamtest.AssertionRules{Algorithms: []string{"RS256"}, Keys: set(m.rsa, ""), MaxLife: fiveMin, IssuedAt: true,
				CertHeader: "x5c", Certificate: m.certificate, Claims: map[string]any{"extensions": map[string]any{
					"hl7-b2b": map[string]any{"version": "1", "organization_id": "https://clinic.example"}}}})},
		"redox": {Auth: upstreamtest.AuthPrivateKeyJWT,
			Assertion: signed(upstreamtest.AssertionRules{Algorithms: []string{"RS384"}, NeedKeyID: true, Keys: set(m.rsa, keyID), MaxLife: fiveMin})},
		"healthgorilla": {Grant: jwtBearer, Auth: upstreamtest.AuthNone, Params: map[string]string{"client_id": clientID},
			Assertion: signed(upstreamtest.AssertionRules{Algorithms: []string{"HS256"}, Keys: set([]byte(secret), ""), Subject: account,
				Audience: "https://api.gorilla.example/oauth/token"})},
		"particle": {Method: "GET", Body: upstreamtest.BodyNone, Auth: upstreamtest.AuthNone, Text: true,
			Headers: map[string]string{"Client-Id": clientID, "Client-Secret": secret, "Scope": "read"}},
		"entra": {Auth: upstreamtest.AuthPost, Scopes: []string{"https://graph.example/.default"}},
		"mutual-tls": {Auth: upstreamtest.AuthTLS, ClientCertificate: func(thumbprint string) bool {
			sum := sha256.Sum256(m.certificate.Raw)
			return thumbprint == base64.RawURLEncoding.EncodeToString(sum[:])
		}},
		"entra-certificate": {Auth: upstreamtest.AuthPrivateKeyJWT, Scopes: []string{"https://graph.example/.default"},
			Assertion: signed(upstreamtest.AssertionRules{Algorithms: []string{"PS256"}, Keys: set(m.rsa, ""), IssuedAt: true, NotBefore: true,
				CertHeader: "x5t#S256", Certificate: m.certificate})},
		"workload": {Auth: upstreamtest.AuthAssertion, Scopes: []string{"https://graph.example/.default"},
			Assertion: signed(upstreamtest.AssertionRules{Algorithms: []string{"HS256"}, Keys: set(m.cluster, ""), Repeats: true,
				Issuer: "https://cluster.example", Subject: "system:serviceaccount:shop:app", Audience: "api://exchange"})},
		"auth0": {Auth: upstreamtest.AuthPost, Body: upstreamtest.BodyJSON, RefusalCode: "access_denied",
			Params: map[string]string{"audience": "https://api.example/"}},
		"okta": {Auth: upstreamtest.AuthPrivateKeyJWT,
			Metadata:  map[string]string{"/.well-known/oauth-authorization-server/oauth2/default": strings.Replace(metadata, "PATH", "/oauth2/default", 1)},
			Assertion: signed(upstreamtest.AssertionRules{Algorithms: []string{"ES256", "RS256"}, NeedKeyID: true, Keys: set(m.ec256, keyID), MaxLife: time.Hour})},
		"keycloak": {RefusalCode: "unauthorized_client",
			Metadata: map[string]string{"/realms/shop/.well-known/openid-configuration": strings.Replace(metadata, "PATH", "/realms/shop", 1)}},
		"cognito": {Scopes: []string{"shop/read", "shop/write"}},
		"google": {Grant: jwtBearer, Auth: upstreamtest.AuthNone, Scopes: []string{"https://www.googleapis.example/auth/calendar"},
			Assertion: signed(upstreamtest.AssertionRules{Algorithms: []string{"RS256"}, Keys: set(m.rsa, keyID), MaxLife: time.Hour, IssuedAt: true,
				ScopeInside: true, SubjectClaim: "sub"})},
		"salesforce": {Grant: jwtBearer, Auth: upstreamtest.AuthNone, NoLifetime: true,
			Assertion: signed(upstreamtest.AssertionRules{Algorithms: []string{"RS256"}, Keys: set(m.rsa, ""), MaxLife: fiveMin, Subject: account,
				Audience: "https://login.salesforce.example"})},
		"zoom": {Grant: "account_credentials", Params: map[string]string{"account_id": account}},
		"exchange": {Params: map[string]string{"audience": "https://records.example"},
			SubjectToken: func(token string) (string, bool) { return "anna", token == "USER_TOKEN" }},
		"apigee": {Body: upstreamtest.BodyQuery, Separator: ",", TokenType: "BearerToken",
			TargetHeaders: map[string]string{"X-Api-Key": account}},
	}
}

// kitchen is one recipe with a simulation of its provider.
type kitchen struct {
	recipe
	server   *upstreamtest.Server
	settings []string // with the addresses and files of the simulation
}

// inText are the placeholders that may stand anywhere in a setting.
var inText = map[string]string{"CLIENT_ID": clientID, "CLIENT_SECRET": secret, "ACCOUNT": account, "KEY_ID": keyID}

// prepare starts the provider of a recipe and puts what is true here in place of what a
// person has to replace.
func prepare(t *testing.T, name string, r recipe) kitchen {
	t.Helper()
	m, dir := newMaterial(), t.TempDir()
	keysAt := net.JoinHostPort("127.0.0.1", testkit.FreePort(t))
	rules := endpoints(m, keysAt)[name]
	rules.ClientID, rules.ClientSecret = clientID, secret
	k := kitchen{recipe: r, server: testkit.Closing(t, upstreamtest.NewEndpoint(rules))}
	if ca := k.server.CA(); ca != "" {
		path := filepath.Join(dir, "CA")
		if err := os.WriteFile(path, []byte(ca), 0o600); err != nil {
			t.Fatal(err)
		}
		k.settings = append(k.settings, "CA_FILE="+path)
	}
	for _, s := range r.settings {
		key, value, _ := strings.Cut(s, "=")
		_, after, _ := strings.Cut(strings.TrimPrefix(value, "https://"), "/")
		switch {
		case strings.HasSuffix(key, "_TOKEN_URL"):
			value = k.server.TokenURL()
		case strings.HasSuffix(key, "_ISSUER"):
			value = k.server.Issuer() + "/" + after
		case strings.HasSuffix(key, "_TARGET"):
			value = k.server.APIURL()
		case key == "JWKS_LISTEN":
			value = keysAt
		case strings.HasSuffix(key, "_FILE"):
			path := filepath.Join(dir, value)
			if err := os.WriteFile(path, []byte(m.files[value]), 0o600); err != nil {
				t.Fatal(err)
			}
			value = path
		default:
			for word, text := range inText {
				value = strings.ReplaceAll(value, word, text)
			}
		}
		k.settings = append(k.settings, key+"="+value)
	}
	return k
}

// serve starts a sidecar with the settings.
func (k kitchen) serve(t *testing.T) *sidecar.Sidecar {
	t.Helper()
	parsed, err := config.Parse(testkit.Environ(append(k.settings, "LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0")...), goredis.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := sidecar.Start(parsed, zerolog.Nop(), metrics.New("test"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Each recipe works as it stands on the page, against a provider that refuses everything else.
func TestRecipesWork(t *testing.T) {
	all, rules := recipes(t), endpoints(newMaterial(), "")
	if a, b := slices.Sorted(maps.Keys(all)), slices.Sorted(maps.Keys(rules)); !slices.Equal(a, b) {
		t.Fatalf("the page has %q, the test %q", a, b)
	}
	for name, r := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := prepare(t, name, r)
			s := k.serve(t)
			line := strings.Replace(r.curl, "127.0.0.1:8080", s.Addr("data").String(), 1)
			out, err := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(line, "curl ", "curl --silent --show-error --noproxy '*' ", 1)).Output()
			var echo upstreamtest.Echo
			if err != nil || json.Unmarshal(out, &echo) != nil || echo.Kind != upstreamtest.KindClient {
				log := k.server.TokenRequestLog()
				for _, r := range log {
					t.Logf("token request: %s: %s", r.Outcome, r.Reason)
				}
				t.Fatalf("%s\nsays %s: %v", line, out, err)
			}
			if _, subject, ok := strings.Cut(line, "X-Token-Subject: "); ok && !strings.HasPrefix(subject, echo.Subject) {
				t.Errorf("the token is for %q", echo.Subject)
			}
		})
	}
}

// wrongs are mistakes of people who follow a recipe: what they set otherwise ("-" leaves a
// setting out), and what check tells them to look at.
var wrongs = map[string]map[string]string{
	"smart": {
		"-OAUTH2_0_KEY_ID -JWKS_LISTEN":             "KEY_ID",
		"OAUTH2_0_AUDIENCE=https://fhir.example/r4": "AUDIENCE",
		"OAUTH2_0_SCOPE=system/*.cruds":             "SCOPE",
		"OAUTH2_0_CLIENT_ID=another":                "CLIENT_ID",
	},
	"udap": {
		"OAUTH2_0_PARAMS=udap=2":            "PARAMS",
		`OAUTH2_0_CLAIMS={"extensions":{}}`: "KEY_ID",
		"OAUTH2_0_ALG=PS256":                "ALG",
	},
	"redox":             {"OAUTH2_0_ALG=RS256": "ALG", "OAUTH2_0_KEY_ID=key-8": "KEY_ID", "-OAUTH2_0_KEY_ID": "KEY_ID", "OAUTH2_0_PRIVATE_KEY_FILE=KEY_OTHER": "PRIVATE_KEY"},
	"healthgorilla":     {"OAUTH2_0_CLIENT_SECRET=another-secret-of-more-than-32-bytes": "CLIENT_SECRET", "OAUTH2_0_AUDIENCE=https://api.gorilla.example": "AUDIENCE", "OAUTH2_0_PARAMS=x=1": "PARAMS"},
	"particle":          {"OAUTH2_0_HEADERS=client-id=x&client-secret=y": "HEADERS", "OAUTH2_0_METHOD=post": "METHOD", "OAUTH2_0_BODY=query": "BODY"},
	"entra":             {"OAUTH2_0_CLIENT_SECRET=x": "CLIENT_SECRET", "OAUTH2_0_SCOPE=https://graph.example/": "SCOPE", "OAUTH2_0_BODY=json": "BODY"},
	"entra-certificate": {"OAUTH2_0_ALG=RS256": "ALG", "OAUTH2_0_CERT_HEADER=x5c": "KEY_ID"},
	"mutual-tls":        {"OAUTH2_0_CLIENT_ID=another": "CLIENT_ID", "OAUTH2_0_CERT_FILE=CERTIFICATE_EC OAUTH2_0_CERT_KEY_FILE=KEY_EC256": "CERT", "OAUTH2_0_SCOPE=admin": "SCOPE"},
	"workload":          {"OAUTH2_0_ASSERTION_TYPE=urn:x": "ASSERTION_TYPE", "OAUTH2_0_CLIENT_ID=another": "CLIENT_ID"},
	"auth0":             {"OAUTH2_0_CLIENT_SECRET=x": "CLIENT_SECRET", "-OAUTH2_0_PARAMS": "PARAMS", "OAUTH2_0_PARAMS=audience=x": "PARAMS", "OAUTH2_0_BODY=form": "BODY"},
	"okta":              {"OAUTH2_0_KEY_ID=key-8": "KEY_ID", "OAUTH2_0_SCOPE=admin": "SCOPE"},
	"keycloak":          {"OAUTH2_0_CLIENT_SECRET=x": "CLIENT_SECRET"},
	"cognito":           {"OAUTH2_0_CLIENT_SECRET=x": "CLIENT_SECRET", "OAUTH2_0_SCOPE=shop/admin": "SCOPE"},
	"google":            {"OAUTH2_0_PRIVATE_KEY_FILE=KEY_OTHER": "PRIVATE_KEY", "OAUTH2_0_SCOPE_IN=form": "SCOPE", "OAUTH2_0_AUDIENCE=https://www.googleapis.example": "AUDIENCE"},
	"salesforce":        {`OAUTH2_0_CLAIMS={"sub":"x"}`: "CLAIMS", "-OAUTH2_0_AUDIENCE": "AUDIENCE", "OAUTH2_0_PRIVATE_KEY_FILE=KEY_OTHER": "PRIVATE_KEY"},
	"zoom":              {"OAUTH2_0_PARAMS=account_id=x": "PARAMS", "-OAUTH2_0_GRANT": "GRANT"},
	"apigee":            {"-OAUTH2_0_SCOPE_SEPARATOR": "SCOPE", "-OAUTH2_0_BODY": "BODY"},
}

// Whoever follows a recipe with a mistake is refused by the provider, and told by check
// which setting to look at.
func TestMistakesInRecipesAreExplained(t *testing.T) {
	all := recipes(t)
	for name, rows := range wrongs {
		for mistake, look := range rows {
			t.Run(name+" "+mistake, func(t *testing.T) {
				t.Parallel()
				k := prepare(t, name, all[name])
				if name == "smart" {
					k.serve(t) // whose JWK Set the provider fetches
				}
				for change := range strings.FieldsSeq(mistake) {
					key, value, _ := strings.Cut(change, "=")
					if text, ok := newMaterial().files[value]; ok {
						value = filepath.Join(t.TempDir(), value)
						if err := os.WriteFile(value, []byte(text), 0o600); err != nil {
							t.Fatal(err)
						}
						change = key + "=" + value
					}
					k.settings = append(k.settings, change)
				}
				parsed, err := config.Parse(testkit.Environ(k.settings...), goredis.Driver{})
				if err != nil {
					t.Fatal(err)
				}
				roots, err := parsed.Roots()
				if err != nil {
					t.Fatal(err)
				}
				var out bytes.Buffer
				options := check.Options{}
				if name == "google" {
					if options, err = check.ParseArgs([]string{"--subject", "calendar=anna@clinic.example"}); err != nil {
						t.Fatal(err)
					}
				}
				err = check.Run(t.Context(), check.Config{Upstreams: parsed.Upstreams(roots), Endpoints: parsed.TokenEndpoints(),
					TokenTimeout: parsed.TokenTimeout, Preamble: func(io.Writer) error { return nil }}, options, &out)
				if err == nil {
					t.Fatalf("check finds nothing wrong:\n%s", out.String())
				}
				if _, mend, _ := strings.Cut(out.String(), "mend: "); !strings.Contains(mend, "SIDECAR_OAUTH2_0_"+look) {
					t.Errorf("check does not tell to look at %s:\n%s", look, out.String())
				}
			})
		}
	}
}
