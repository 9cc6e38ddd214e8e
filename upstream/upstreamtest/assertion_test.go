package upstreamtest_test

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"token-sidecar/upstream/upstreamtest"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

func claims(s *upstreamtest.Server) jwt.MapClaims {
	return jwt.MapClaims{
		"iss": s.ClientID(), "sub": s.ClientID(), "aud": s.TokenURL(),
		"exp": time.Now().Add(200 * time.Second).Unix(), "jti": rand.Text(),
	}
}

// sign signs c with the server's key, after edit changed the token.
func sign(t *testing.T, s *upstreamtest.Server, c jwt.MapClaims, edit func(*jwt.Token)) string {
	t.Helper()
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(s.PrivateKey()))
	if err != nil {
		t.Fatal(err)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, c)
	if edit != nil {
		edit(token)
	}
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func assertionForm(assertion, scope string) url.Values {
	return url.Values{
		"grant_type": {"client_credentials"}, "scope": {scope},
		"client_assertion_type": {assertionType}, "client_assertion": {assertion},
	}
}

func TestWrongAssertionsAreRefused(t *testing.T) {
	otherKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	servers := map[string]*upstreamtest.Server{
		"api":  upstreamtest.NewMyDataHelps(upstreamtest.Options{}),
		"read": upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Auth: upstreamtest.AuthPrivateKeyJWT}),
	}
	set := func(name string, value any) func(jwt.MapClaims) {
		return func(c jwt.MapClaims) {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		}
	}
	tests := map[string]struct {
		claim func(jwt.MapClaims)
		edit  func(*jwt.Token)
		other bool // signed with another key
		ok    bool
	}{
		"good":                {ok: true},
		"with iat":            {claim: set("iat", time.Now().Unix()), ok: true},
		"without typ":         {edit: func(t *jwt.Token) { delete(t.Header, "typ") }, ok: true},
		"another typ":         {edit: func(t *jwt.Token) { t.Header["typ"] = "at+jwt" }},
		"another algorithm":   {edit: func(t *jwt.Token) { t.Method = jwt.SigningMethodRS512; t.Header["alg"] = "RS512" }},
		"another key":         {other: true},
		"another iss":         {claim: set("iss", "x")},
		"another sub":         {claim: set("sub", "x")},
		"another aud":         {claim: set("aud", "https://mydatahelps.org/identityserver/connect/token")},
		"list of aud":         {claim: func(c jwt.MapClaims) { c["aud"] = []any{c["aud"]} }},
		"no aud":              {claim: set("aud", nil)},
		"no exp":              {claim: set("exp", nil)},
		"exp in milliseconds": {claim: set("exp", time.Now().Add(time.Minute).UnixMilli())},
		"exp far ahead":       {claim: set("exp", time.Now().Add(6*time.Minute).Unix())},
		"expired":             {claim: set("exp", time.Now().Add(-time.Second).Unix())},
		"broken exp":          {claim: set("exp", float64(time.Now().Unix())+60.5)},
		"iat ahead":           {claim: set("iat", time.Now().Add(time.Minute).Unix())},
		"no jti":              {claim: set("jti", nil)},
	}
	for scope, s := range servers {
		defer s.Close()
		for name, tt := range tests {
			t.Run(scope+" "+name, func(t *testing.T) {
				c := claims(s)
				if tt.claim != nil {
					tt.claim(c)
				}
				assertion := sign(t, s, c, tt.edit)
				if tt.other {
					assertion, _ = jwt.NewWithClaims(jwt.SigningMethodRS256, c).SignedString(otherKey)
				}
				res := do(t, http.MethodPost, s.TokenURL(), assertionForm(assertion, scope).Encode(), formHeader(""))
				if tt.ok != (res.status == 200) {
					t.Errorf("got %d %s", res.status, res.body)
				}
				if !tt.ok && res.text(t, "error") != "invalid_client" {
					t.Errorf("error %q", res.text(t, "error"))
				}
			})
		}
		t.Run(scope+" replay", func(t *testing.T) {
			body := assertionForm(sign(t, s, claims(s), nil), scope).Encode()
			if res := do(t, http.MethodPost, s.TokenURL(), body, formHeader("")); res.status != 200 {
				t.Fatalf("first: %d %s", res.status, res.body)
			}
			if res := do(t, http.MethodPost, s.TokenURL(), body, formHeader("")); res.text(t, "error") != "invalid_client" {
				t.Errorf("again: %d %s", res.status, res.body)
			}
		})
	}
}
