package upstreamtest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

func oclcQuery(scope string) string {
	return "?grant_type=client_credentials&scope=" + url.PathEscape(scope)
}

func oclcHeader(auth string) http.Header {
	return http.Header{"Accept": {"application/json"}, "Authorization": {auth}}
}

func TestOCLCIssues(t *testing.T) {
	s := upstreamtest.NewOCLC(upstreamtest.Options{Lifetime: 1199 * time.Second})
	defer s.Close()
	res := do(t, http.MethodPost, s.TokenURL()+oclcQuery("WorldCatMetadataAPI context:91475"), "", oclcHeader(basic(s.ClientID(), s.ClientSecret())))
	m := res.object(t)
	if res.status != 200 || len(m) != 10 || m["expires_in"] != 1199.0 || m["token_type"] != "bearer" || m["context_institution_id"] != "91475" {
		t.Fatalf("got %d %s", res.status, res.body)
	}
	token := res.text(t, "access_token")
	at, err := time.Parse("2006-01-02 15:04:05Z", res.text(t, "expires_at"))
	if g, _ := s.Issued(token); err != nil || !at.Equal(g.Expiry.UTC().Truncate(time.Second)) {
		t.Errorf("expires_at %q, %v", m["expires_at"], err)
	}
	for _, host := range []string{s.APIURL(), s.HostURL("discovery")} {
		if e := echo(t, host, token); e.Subject != "91475" || e.Scope != "WorldCatMetadataAPI context:91475" {
			t.Errorf("echo %+v", e)
		}
	}
	if s.TokenRequestsFor("91475") != 1 {
		t.Error("the request is not counted for its institution")
	}
	if res := call(t, s.APIURL(), "x"); res.status != 401 || res.body != `{"message":"Unauthorized"}` {
		t.Errorf("API answered %d %s", res.status, res.body)
	}
}

func TestOCLCRefuses(t *testing.T) {
	s := upstreamtest.NewOCLC(upstreamtest.Options{InstitutionOnKey: func(id string) bool { return id == "91475" }})
	defer s.Close()
	good := basic(s.ClientID(), s.ClientSecret())
	const scope = "WorldCatMetadataAPI"
	tests := map[string]struct {
		query, body, auth string
		status            int
		message           string
	}{
		"encoded secret": {query: oclcQuery(scope), auth: encodedBasic(s), status: 401, message: "No valid authentication credentials found in request"},
		"unknown scope": {query: oclcQuery("x"), auth: good, status: 403,
			message: "Invalid scope(s): x (x) [Invalid service specified, Not on key]"},
		"institution":    {query: oclcQuery(scope + " context:1"), auth: good, status: 403, message: "Invalid scope(s): context:1"},
		"no number":      {query: oclcQuery(scope + " context:a"), auth: good, status: 403, message: "Invalid scope(s): context:a"},
		"two contexts":   {query: oclcQuery(scope + " context:91475 context:2"), auth: good, status: 400, message: "one context"},
		"context alone":  {query: oclcQuery("context:91475"), auth: good, status: 400, message: "needs a service"},
		"body":           {query: oclcQuery(scope), body: "x=y", auth: good, status: 400, message: "body is not empty"},
		"form body":      {body: "grant_type=client_credentials&scope=" + scope, auth: good, status: 400, message: "body is not empty"},
		"more fields":    {query: oclcQuery(scope) + "&contextInstitutionId=1", auth: good, status: 400, message: "unknown field"},
		"a field twice":  {query: oclcQuery(scope) + "&scope=x", auth: good, status: 400, message: "twice"},
		"another grant":  {query: "?grant_type=x&scope=" + scope, auth: good, status: 400, message: "grant_type"},
		"no scope":       {query: "?grant_type=client_credentials", auth: good, status: 400, message: "field missing: scope"},
		"scope repeated": {query: oclcQuery(scope + " " + scope), auth: good, status: 400, message: "single items"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := do(t, http.MethodPost, s.TokenURL()+tt.query, tt.body, oclcHeader(tt.auth))
			if res.status != tt.status || !strings.Contains(res.text(t, "message"), tt.message) {
				t.Errorf("got %d %s", res.status, res.body)
			}
		})
	}
	h := oclcHeader(good)
	h.Del("Accept")
	if res := do(t, http.MethodPost, s.TokenURL()+oclcQuery(scope), "", h); res.status != 406 {
		t.Errorf("without Accept: %d", res.status)
	}
}

func TestOCLCVariantsAnswerAsAsked(t *testing.T) {
	s := upstreamtest.NewOCLC(upstreamtest.Options{FormBody: true, ExpiresInString: true, GrantOnly: []string{"wcapi"}})
	defer s.Close()
	h := formHeader(basic(s.ClientID(), s.ClientSecret()))
	h.Set("Accept", "application/json")
	post := func(scope string) result {
		return do(t, http.MethodPost, s.TokenURL(), url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}.Encode(), h)
	}
	res := post("WMS_ACQ wcapi context:1")
	if m := res.object(t); m["scope"] != "wcapi context:1" || m["scopes"] != m["scope"] || m["expires_in"] != "30" {
		t.Errorf("got %d %s", res.status, res.body)
	}
	if res := post("WMS_ACQ"); res.status != 403 {
		t.Errorf("nothing granted: %d %s", res.status, res.body)
	}
	if res := do(t, http.MethodPost, s.TokenURL()+oclcQuery("wcapi"), "", h); res.status != 400 {
		t.Errorf("in the query: %d %s", res.status, res.body)
	}
}
