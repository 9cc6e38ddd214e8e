package upstream

import (
	"encoding/base64"
	"maps"
	"net/http"
	"reflect"
	"strconv"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// wantRequest compares the latest token request with the bytes it must have
// had. Every header field counts, so none can be there that is not wanted.
func wantRequest(t *testing.T, s *upstreamtest.Server, path string, header http.Header, body string) {
	t.Helper()
	log := s.TokenRequestLog()
	if len(log) == 0 {
		t.Fatal("no token request came")
	}
	got := log[len(log)-1]
	if got.Method != http.MethodPost || got.Path != path || got.RawQuery != "" {
		t.Errorf("request is %s %s ? %s, want POST %s without a query", got.Method, got.Path, got.RawQuery, path)
	}
	if got.Body != body {
		t.Errorf("body is\n%s, want\n%s", got.Body, body)
	}
	want := http.Header{
		"Accept":         {"application/json"},
		"Content-Length": {strconv.Itoa(len(body))},
		"Content-Type":   {"application/x-www-form-urlencoded"},
		"User-Agent":     {"token-sidecar"},
	}
	maps.Copy(want, header)
	seen := got.Header.Clone()
	seen.Set("Content-Length", strconv.FormatInt(got.ContentLength, 10))
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("header is\n%q, want\n%q", seen, want)
	}
}

func basicOf(pair string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(pair))}}
}

// The credential as a form writes it, by hand.
const (
	encodedID     = "app+one"
	encodedSecret = "p%2B%2F%25%3A%26%3D+w~%2A%C3%A9"
)

// Case F12.
func TestPDXRequestIsWhatTheContractAsks(t *testing.T) {
	const both = "get:/api/pds/mam post:/api/pds/add-measurements"
	tests := []struct {
		name    string
		change  func(*PDXConfig)
		scope   string // that the request names
		header  http.Header
		body    string
		outcome string // of the strict simulation, which takes Basic with encoded halves only
	}{
		{"as published", nil, "", basicOf(encodedID + ":" + encodedSecret),
			"grant_type=client_credentials&scope=mydex%3Apdx", upstreamtest.OutcomeIssued},
		{"configured scopes", func(c *PDXConfig) { c.Scope = both }, "", basicOf(encodedID + ":" + encodedSecret),
			"grant_type=client_credentials&scope=get%3A%2Fapi%2Fpds%2Fmam+mydex%3Apdx+post%3A%2Fapi%2Fpds%2Fadd-measurements",
			upstreamtest.OutcomeIssued},
		{"a scope of the request", func(c *PDXConfig) { c.AllowedScopes = both }, "get:/api/pds/mam", basicOf(encodedID + ":" + encodedSecret),
			"grant_type=client_credentials&scope=get%3A%2Fapi%2Fpds%2Fmam+mydex%3Apdx", upstreamtest.OutcomeIssued},
		{"plain", func(c *PDXConfig) { c.PlainBasic = true }, "", basicOf(testID + ":" + testSecret),
			"grant_type=client_credentials&scope=mydex%3Apdx", "invalid_client"},
		{"post", func(c *PDXConfig) { c.Post = true }, "", nil,
			"client_id=" + encodedID + "&client_secret=" + encodedSecret + "&grant_type=client_credentials&scope=mydex%3Apdx",
			"invalid_client"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := upstreamtest.NewPDX(upstreamtest.Options{ClientID: testID, ClientSecret: testSecret, Lifetime: time.Hour})
			t.Cleanup(s.Close)
			u := newTestPDX(t, s.TokenURL(), tt.change)
			before := time.Now()
			token, err := fetch(t, u, tt.scope)
			after := time.Now()
			wantRequest(t, s, "/oauth2/token", tt.header, tt.body)
			if got := s.TokenRequestLog()[0]; got.Outcome != tt.outcome {
				t.Fatalf("outcome is %s (%s), want %s", got.Outcome, got.Reason, tt.outcome)
			}
			if tt.outcome != upstreamtest.OutcomeIssued {
				if e := failure(t, token, err); e.Class != ClassCredential || e.Code != tt.outcome || e.Status != 401 {
					t.Fatalf("error is %+v", e)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			grant, known := s.Issued(token.AccessToken())
			if !known || token.Authorization() != "Bearer "+token.AccessToken() {
				t.Fatal("the token is not the one issued")
			}
			key, _ := u.Key(KindClient, "", tt.scope)
			if token.Scope() != key.Scope || grant.Scope != key.Scope {
				t.Errorf("scope is %q, granted %q, want %q", token.Scope(), grant.Scope, key.Scope)
			}
			if token.Issued().Before(before.Round(0)) || token.Issued().After(after) || token.Expiry().Sub(token.Issued()) != time.Hour {
				t.Errorf("life is %v to %v, want an hour from %v", token.Issued(), token.Expiry(), before)
			}
		})
	}
}

// Without reserved characters both kinds of Basic are the same bytes, which
// the simulation takes.
func TestPDXPlainBasicOfAPlainCredential(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{ClientID: "plain-id", ClientSecret: "plain_secret"})
	t.Cleanup(s.Close)
	for _, plain := range []bool{false, true} {
		u := newTestPDX(t, s.TokenURL(), func(c *PDXConfig) {
			c.ClientID, c.ClientSecret, c.PlainBasic = "plain-id", NewSecret("plain_secret"), plain
		})
		if _, err := fetch(t, u, ""); err != nil {
			t.Errorf("plain %t: %v", plain, err)
		}
		wantRequest(t, s, "/oauth2/token", basicOf("plain-id:plain_secret"), "grant_type=client_credentials&scope=mydex%3Apdx")
	}
}

func TestPDXScopeThatTheClientLacks(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{ClientID: testID, ClientSecret: testSecret})
	t.Cleanup(s.Close)
	u := newTestPDX(t, s.TokenURL(), func(c *PDXConfig) { c.AllowedScopes = "delete:/all" })
	token, err := fetch(t, u, "delete:/all")
	if e := failure(t, token, err); e.Class != ClassScope || e.Code != "invalid_scope" || e.Status != 400 || e.Upstream != "pdx" {
		t.Errorf("error is %+v", e)
	}
	if _, err := fetch(t, u, ""); err != nil {
		t.Errorf("the default scope: %v", err)
	}
}

func TestPDXRoutesAndName(t *testing.T) {
	u := newTestPDX(t, "http://token.example/", func(c *PDXConfig) {
		c.Target = parseURL(t, "https://api.example")
		c.Targets = []Target{{"idaas", parseURL(t, "https://idaas.example")}}
	})
	want := []Route{
		{"pdx", u.config.Target, KindClient, SubjectRefused, nil},
		{"pdx.idaas", u.config.Targets[0].URL, KindClient, SubjectRefused, nil},
	}
	if got := u.Routes(); u.Name() != "pdx" || !reflect.DeepEqual(got, want) {
		t.Errorf("%s has routes %v, want %v", u.Name(), got, want)
	}
}
