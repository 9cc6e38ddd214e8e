package upstream

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

func newSimulation(t *testing.T, auth string) *upstreamtest.Server {
	t.Helper()
	s := upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Auth: auth, ClientID: testID, ClientSecret: testSecret})
	t.Cleanup(s.Close)
	return s
}

func TestOAuth2RequestHasTheConfiguredProof(t *testing.T) {
	const posted = "client_id=" + encodedID + "&client_secret=" + encodedSecret + "&grant_type=client_credentials"
	tests := []struct {
		name    string
		auth    string
		change  func(*OAuth2Config)
		scope   string
		header  http.Header
		body    string
		outcome string
	}{
		{"basic is the default", AuthBasic, nil, "", basicOf(encodedID + ":" + encodedSecret),
			"grant_type=client_credentials&scope=read", upstreamtest.OutcomeIssued},
		{"basic", AuthBasic, func(c *OAuth2Config) { c.Auth = AuthBasic }, "", basicOf(encodedID + ":" + encodedSecret),
			"grant_type=client_credentials&scope=read", upstreamtest.OutcomeIssued},
		{"no scope", AuthBasic, func(c *OAuth2Config) { c.Scope = "" }, "", basicOf(encodedID + ":" + encodedSecret),
			"grant_type=client_credentials", upstreamtest.OutcomeIssued},
		{"scope in order", AuthBasic, func(c *OAuth2Config) { c.AllowedScopes = "write" }, "write read write", basicOf(encodedID + ":" + encodedSecret),
			"grant_type=client_credentials&scope=read+write", upstreamtest.OutcomeIssued},
		{"basic plain", AuthBasic, func(c *OAuth2Config) { c.PlainBasic = true }, "", basicOf(testID + ":" + testSecret),
			"grant_type=client_credentials&scope=read", "invalid_client"},
		{"post", AuthPost, func(c *OAuth2Config) { c.Auth = AuthPost }, "", nil,
			posted + "&scope=read", upstreamtest.OutcomeIssued},
		{"post without scope", AuthPost, func(c *OAuth2Config) { c.Auth, c.Scope = AuthPost, "" }, "", nil,
			posted, upstreamtest.OutcomeIssued},
		{"post where basic is taken", AuthBasic, func(c *OAuth2Config) { c.Auth = AuthPost }, "", nil,
			posted + "&scope=read", "invalid_client"},
		{"basic where post is taken", AuthPost, nil, "", basicOf(encodedID + ":" + encodedSecret),
			"grant_type=client_credentials&scope=read", "invalid_client"},
		{"wrong secret", AuthBasic, func(c *OAuth2Config) { c.ClientSecret = NewSecret("other") }, "", basicOf(encodedID + ":other"),
			"grant_type=client_credentials&scope=read", "invalid_client"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSimulation(t, tt.auth)
			token, err := fetch(t, newTestOAuth2(t, s.TokenURL(), tt.change), tt.scope)
			wantRequest(t, s, "/oauth/token", tt.header, tt.body)
			if got := s.TokenRequestLog()[0]; got.Outcome != tt.outcome {
				t.Fatalf("outcome is %s (%s), want %s", got.Outcome, got.Reason, tt.outcome)
			}
			if tt.outcome != upstreamtest.OutcomeIssued {
				if e := failure(t, token, err); e.Class != ClassCredential || e.Code != tt.outcome || e.Upstream != "shop" {
					t.Fatalf("error is %+v", e)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, known := s.Issued(token.AccessToken()); !known {
				t.Error("the token is not the one issued")
			}
		})
	}
}

func keyConfig(s *upstreamtest.Server) func(*OAuth2Config) {
	return func(c *OAuth2Config) {
		c.Auth, c.ClientSecret, c.PrivateKey = AuthPrivateKeyJWT, Secret{}, NewSecret(s.PrivateKey())
	}
}

// assertionOf returns the header and claims of the assertion in a token request.
func assertionOf(t *testing.T, body string) (header, claims map[string]any) {
	t.Helper()
	fields, err := url.ParseQuery(body)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(fields.Get("client_assertion"), ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT in %q", body)
	}
	for i, into := range []*map[string]any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

var uuid4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// Case F12.
func TestOAuth2AssertionIsWhatTheContractAsks(t *testing.T) {
	s := newSimulation(t, AuthPrivateKeyJWT)
	u := newTestOAuth2(t, s.TokenURL(), keyConfig(s))
	before := time.Now()
	if _, err := fetch(t, u, ""); err != nil {
		t.Fatal(err)
	}
	after := time.Now()
	body := s.TokenRequestLog()[0].Body
	fields, _ := url.ParseQuery(body)
	wantRequest(t, s, "/oauth/token", nil, "client_assertion="+fields.Get("client_assertion")+
		"&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_id="+encodedID+
		"&grant_type=client_credentials&scope=read")

	header, claims := assertionOf(t, body)
	if want := map[string]any{"alg": "RS256", "typ": "JWT"}; !reflect.DeepEqual(header, want) {
		t.Errorf("header is %v, want %v", header, want)
	}
	exp, jti := claims["exp"].(float64), claims["jti"].(string)
	if int64(exp) < before.Add(200*time.Second).Unix() || int64(exp) > after.Add(200*time.Second).Unix() {
		t.Errorf("exp is %v, want 200 s after %d", exp, before.Unix())
	}
	if !uuid4.MatchString(jti) {
		t.Errorf("jti is %q, want a random UUID", jti)
	}
	if life := exp - claims["iat"].(float64); life != 230 {
		t.Errorf("exp is %v s after iat, want 230", life)
	}
	delete(claims, "exp")
	delete(claims, "jti")
	delete(claims, "iat")
	if want := map[string]any{"iss": testID, "sub": testID, "aud": s.TokenURL()}; !reflect.DeepEqual(claims, want) {
		t.Errorf("further claims are %v, want %v", claims, want)
	}
}

func TestOAuth2AssertionIsNeverReplayed(t *testing.T) {
	s := newSimulation(t, AuthPrivateKeyJWT)
	u := newTestOAuth2(t, s.TokenURL(), keyConfig(s))
	seen := map[any]bool{}
	for i := range 5 {
		if _, err := fetch(t, u, ""); err != nil {
			t.Fatal(err)
		}
		_, claims := assertionOf(t, s.TokenRequestLog()[i].Body)
		seen[claims["jti"]] = true
	}
	if len(seen) != 5 {
		t.Errorf("5 attempts had %d different jti", len(seen))
	}
	res, err := u.endpoint.client.Post(s.TokenURL(), formType, strings.NewReader(s.TokenRequestLog()[0].Body))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if got := s.TokenRequestLog()[5]; res.StatusCode != 401 || got.Reason != "assertion: jti came before" {
		t.Errorf("replay got %d, %s: the simulation would not notice one", res.StatusCode, got.Reason)
	}
}

// A Transport repeats a request by itself when a kept connection breaks. The
// server may have read the first copy.
func TestOAuth2AssertionOfARepeatedRequest(t *testing.T) {
	target, received := serveBreaking(t)
	s := newSimulation(t, AuthPrivateKeyJWT)
	u := newTestOAuth2(t, target, keyConfig(s))
	for range 2 {
		if _, err := fetch(t, u, ""); err != nil {
			t.Fatal(err)
		}
	}
	u.endpoint.client.CloseIdleConnections()
	bodies := received()
	if len(bodies) != 3 {
		t.Fatalf("%d requests came, want 3", len(bodies))
	}
	_, first := assertionOf(t, bodies[1])
	_, second := assertionOf(t, bodies[2])
	if first["jti"] == second["jti"] {
		t.Error("the repeated request had the same jti")
	}
}

func TestOAuth2AudienceIsExact(t *testing.T) {
	s := newSimulation(t, AuthPrivateKeyJWT)
	for _, tt := range []struct {
		audience string
		good     bool
	}{{"", true}, {s.TokenURL(), true}, {s.TokenURL() + "/", false}, {"https://issuer.example", false}} {
		u := newTestOAuth2(t, s.TokenURL(), func(c *OAuth2Config) {
			keyConfig(s)(c)
			c.Audience = tt.audience
		})
		token, err := fetch(t, u, "")
		log := s.TokenRequestLog()
		last := log[len(log)-1]
		want := tt.audience
		if want == "" {
			want = s.TokenURL()
		}
		if _, claims := assertionOf(t, last.Body); claims["aud"] != want {
			t.Errorf("aud is %v, want %s", claims["aud"], want)
		}
		if tt.good {
			if err != nil {
				t.Errorf("audience %q: %v (%s)", tt.audience, err, last.Reason)
			}
			continue
		}
		if e := failure(t, token, err); e.Class != ClassCredential || last.Reason != "assertion: aud is not the token URL" {
			t.Errorf("audience %q: %+v (%s)", tt.audience, e, last.Reason)
		}
	}
}

func TestBrokenPrivateKeyIsARefusedCredential(t *testing.T) {
	s := newSimulation(t, AuthPrivateKeyJWT)
	u := newTestOAuth2(t, s.TokenURL(), func(c *OAuth2Config) {
		c.Auth, c.PrivateKey = AuthPrivateKeyJWT, NewSecret("canary-key")
	})
	token, err := fetch(t, u, "")
	if e := failure(t, token, err); e.Class != ClassCredential || strings.Contains(err.Error(), "canary") {
		t.Errorf("error is %v", err)
	}
	if s.TokenRequests() != 0 {
		t.Error("a request went out without a proof")
	}
	u.config.PrivateKey.Replace(s.PrivateKey())
	if _, err := fetch(t, u, ""); err != nil {
		t.Errorf("after the key was replaced: %v", err)
	}
}

func TestOAuth2SecretRotates(t *testing.T) {
	s := newSimulation(t, AuthBasic)
	secret := NewSecret("old")
	u := newTestOAuth2(t, s.TokenURL(), func(c *OAuth2Config) { c.ClientSecret = secret })
	before := u.Fingerprint()
	token, err := fetch(t, u, "")
	failure(t, token, err)
	secret.Replace(testSecret)
	if _, err := fetch(t, u, ""); err != nil {
		t.Errorf("after the secret was replaced: %v", err)
	}
	if u.Fingerprint() == before {
		t.Error("the fingerprint is still that of the old secret")
	}
}
