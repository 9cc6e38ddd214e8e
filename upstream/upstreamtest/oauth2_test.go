package upstreamtest_test

import (
	"net/http"
	"net/url"
	"testing"

	"token-sidecar/upstream/upstreamtest"
)

func TestOAuth2TakesOneWayOfAuthentication(t *testing.T) {
	byBasic := upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Name: "acme"})
	defer byBasic.Close()
	byPost := upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Auth: upstreamtest.AuthPost})
	defer byPost.Close()
	byKey := upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Auth: upstreamtest.AuthPrivateKeyJWT})
	defer byKey.Close()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}}
	post := func(s *upstreamtest.Server) string {
		return with(form, "client_id", s.ClientID(), "client_secret", s.ClientSecret())
	}
	key := func() url.Values { return assertionForm(sign(t, byKey, claims(byKey), nil), "read") }
	tests := map[string]struct {
		s          *upstreamtest.Server
		body, auth string
		status     int
		code       string
	}{
		"basic":               {s: byBasic, body: with(form), auth: encodedBasic(byBasic), status: 200},
		"basic without scope": {s: byBasic, body: with(form, "scope", ""), auth: encodedBasic(byBasic), status: 200},
		"basic not encoded": {s: byBasic, body: with(form), auth: basic(byBasic.ClientID(), byBasic.ClientSecret()),
			status: 401, code: "invalid_client"},
		"basic in body":      {s: byBasic, body: post(byBasic), status: 401, code: "invalid_client"},
		"basic and body":     {s: byBasic, body: post(byBasic), auth: encodedBasic(byBasic), status: 400, code: "invalid_request"},
		"unknown scope":      {s: byBasic, body: with(form, "scope", "admin"), auth: encodedBasic(byBasic), status: 400, code: "invalid_scope"},
		"other grant":        {s: byBasic, body: with(form, "grant_type", "x"), auth: encodedBasic(byBasic), status: 400, code: "unsupported_grant_type"},
		"post":               {s: byPost, body: post(byPost), status: 200},
		"post in header":     {s: byPost, body: with(form), auth: encodedBasic(byPost), status: 401, code: "invalid_client"},
		"post and header":    {s: byPost, body: post(byPost), auth: encodedBasic(byPost), status: 401, code: "invalid_client"},
		"key":                {s: byKey, body: key().Encode(), status: 200},
		"key with client_id": {s: byKey, body: with(key(), "client_id", byKey.ClientID()), status: 200},
		"key, wrong id":      {s: byKey, body: with(key(), "client_id", "x"), status: 401, code: "invalid_client"},
		"key, wrong type":    {s: byKey, body: with(key(), "client_assertion_type", "x"), status: 401, code: "invalid_client"},
		"key and header":     {s: byKey, body: key().Encode(), auth: basic("a", "b"), status: 401, code: "invalid_client"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := do(t, http.MethodPost, tt.s.TokenURL(), tt.body, formHeader(tt.auth))
			if res.status != tt.status || res.text(t, "error") != tt.code {
				t.Fatalf("got %d %s", res.status, res.body)
			}
			if tt.status == 200 {
				echo(t, tt.s.APIURL(), res.text(t, "access_token"))
			}
		})
	}
	if res := call(t, byBasic.APIURL(), "x"); res.status != 401 || res.header.Get("WWW-Authenticate") != `Bearer realm="acme", error="invalid_token"` {
		t.Errorf("API answered %d %q", res.status, res.header.Get("WWW-Authenticate"))
	}
}
