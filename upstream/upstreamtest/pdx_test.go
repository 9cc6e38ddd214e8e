package upstreamtest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"token-sidecar/upstream/upstreamtest"
)

func pdxForm() url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "scope": {"mydex:pdx get:/api/pds/mam"}}
}

func TestPDXIssuesTokensOfItsScope(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{})
	defer s.Close()
	res := do(t, http.MethodPost, s.TokenURL(), pdxForm().Encode(), formHeader(encodedBasic(s)))
	m := res.object(t)
	if res.status != 200 || m["expires_in"] != 30.0 || m["token_type"] != "bearer" || m["scope"] != "mydex:pdx get:/api/pds/mam" {
		t.Fatalf("got %d %s", res.status, res.body)
	}
	wantLast(t, s, 200, upstreamtest.OutcomeIssued)
	token := res.text(t, "access_token")
	for _, host := range []string{s.APIURL(), s.HostURL("idaas")} {
		e := echo(t, host+"/api/pds/mam?key=v", token)
		if e.Provider != "pdx" || e.Kind != upstreamtest.KindClient || e.Token != "1" || e.Path != "/api/pds/mam" || e.Query != "key=v" {
			t.Errorf("echo %+v", e)
		}
	}
}

func TestPDXRefuses(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{})
	defer s.Close()
	good := encodedBasic(s)
	tests := map[string]struct {
		target, body, auth string
		status             int
		code               string
	}{
		"no authentication": {body: with(pdxForm()), auth: "", status: 401, code: "invalid_client"},
		"halves not encoded": {body: with(pdxForm()), auth: basic(s.ClientID(), s.ClientSecret()),
			status: 401, code: "invalid_client"},
		"wrong secret":        {body: with(pdxForm()), auth: basic(s.ClientID(), "x"), status: 401, code: "invalid_client"},
		"lower case scheme":   {body: with(pdxForm()), auth: "b" + good[1:], status: 401, code: "invalid_client"},
		"other grant":         {body: with(pdxForm(), "grant_type", "password"), auth: good, status: 400, code: "unsupported_grant_type"},
		"no grant":            {body: with(pdxForm(), "grant_type", ""), auth: good, status: 400, code: "invalid_request"},
		"no scope":            {body: with(pdxForm(), "scope", ""), auth: good, status: 400, code: "invalid_scope"},
		"unknown scope":       {body: with(pdxForm(), "scope", "mydex:pdx x"), auth: good, status: 400, code: "invalid_scope"},
		"without mydex:pdx":   {body: with(pdxForm(), "scope", "get:/api/pds/mam"), auth: good, status: 400, code: "invalid_scope"},
		"two spaces":          {body: with(pdxForm(), "scope", "mydex:pdx  get:/api/pds/mam"), auth: good, status: 400, code: "invalid_scope"},
		"unknown field":       {body: with(pdxForm(), "audience", "x"), auth: good, status: 400, code: "invalid_request"},
		"field twice":         {body: with(pdxForm()) + "&scope=mydex%3Apdx", auth: good, status: 400, code: "invalid_request"},
		"parameters in query": {target: "?x=1", body: with(pdxForm()), auth: good, status: 400, code: "invalid_request"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := do(t, http.MethodPost, s.TokenURL()+tt.target, tt.body, formHeader(tt.auth))
			if res.status != tt.status || res.text(t, "error") != tt.code {
				t.Errorf("got %d %s", res.status, res.body)
			}
			wantLast(t, s, tt.status, tt.code)
		})
	}
	if got := s.TokenRequests(); got != len(tests) {
		t.Errorf("%d token requests, want %d", got, len(tests))
	}
}

func TestPDXTakesNoOtherMethodOrPath(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{})
	defer s.Close()
	h := formHeader(encodedBasic(s))
	if res := do(t, http.MethodGet, s.TokenURL(), "", h); res.status != http.StatusMethodNotAllowed {
		t.Errorf("GET answered %d", res.status)
	}
	if res := do(t, http.MethodPost, s.TokenURL()+"/", pdxForm().Encode(), h); res.status != http.StatusNotFound {
		t.Errorf("another path answered %d", res.status)
	}
	if res := do(t, http.MethodPost, s.TokenURL(), strings.Repeat("a", 1<<20+1), h); res.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body answered %d", res.status)
	}
	h.Set("Content-Type", "application/json")
	if res := do(t, http.MethodPost, s.TokenURL(), pdxForm().Encode(), h); res.status != 400 {
		t.Errorf("another Content-Type answered %d", res.status)
	}
}

func TestPDXAPIRefuses(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{})
	defer s.Close()
	res := do(t, http.MethodPost, s.TokenURL(), with(pdxForm(), "scope", "mydex:pdx"), formHeader(encodedBasic(s)))
	token := res.text(t, "access_token")
	for name, auth := range map[string][]string{
		"none": nil, "unknown": {"Bearer x"}, "lower case": {"bearer " + token}, "bare": {token},
		"two fields": {"Bearer " + token, "Bearer " + token}, "two spaces": {"Bearer  " + token},
	} {
		res := do(t, http.MethodGet, s.APIURL(), "", http.Header{"Authorization": auth})
		want := `{"error":{"message":"Access denied","reason":"The token is invalid or expired"}}`
		if res.status != 401 || res.body != want {
			t.Errorf("%s: got %d %s", name, res.status, res.body)
		}
	}
	echo(t, s.APIURL()+"/api/pds/pds/1.json", token)
	if res := call(t, s.APIURL()+"/api/pds/mam", token); res.status != 401 || !strings.Contains(res.body, "Unable to authorize") {
		t.Errorf("a route beyond the scope: got %d %s", res.status, res.body)
	}
}
