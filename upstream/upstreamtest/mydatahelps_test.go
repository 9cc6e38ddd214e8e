package upstreamtest_test

import (
	"net/http"
	"net/url"
	"testing"

	"token-sidecar/upstream/upstreamtest"
)

const participant = "7d0a4c1e-1111-4222-8333-944455556666"

func serviceToken(t *testing.T, s *upstreamtest.Server) string {
	t.Helper()
	body := assertionForm(sign(t, s, claims(s), nil), "api").Encode()
	return do(t, http.MethodPost, s.TokenURL(), body, formHeader("")).text(t, "access_token")
}

func participantForm(service string) url.Values {
	return url.Values{
		"scope": {"Participant:read SurveyAnswers:read"}, "grant_type": {"delegated_participant"},
		"participant_id": {participant}, "client_id": {"RKStudio.DelegatedParticipant"},
		"client_secret": {"secret"}, "token": {service},
	}
}

func TestMyDataHelpsIssues(t *testing.T) {
	s := upstreamtest.NewMyDataHelps(upstreamtest.Options{})
	defer s.Close()
	service := serviceToken(t, s)
	res := do(t, http.MethodPost, s.TokenURL(), participantForm(service).Encode(), formHeader(""))
	m := res.object(t)
	if res.status != 200 || len(m) != 3 || m["expires_in"] != 30.0 || m["token_type"] != "Bearer" {
		t.Fatalf("got %d %s", res.status, res.body)
	}
	child := res.text(t, "access_token")
	if e := echo(t, s.APIURL()+"/api/v1/x", service); e.Kind != upstreamtest.KindService || e.Subject != "" || e.Scope != "api" {
		t.Errorf("service echo %+v", e)
	}
	if e := echo(t, s.APIURL(), child); e.Kind != upstreamtest.KindParticipant || e.Subject != participant {
		t.Errorf("participant echo %+v", e)
	}
	echo(t, s.HostURL("designer"), service)
	if res := call(t, s.HostURL("designer"), child); res.status != 401 {
		t.Errorf("designer took a participant token: %d", res.status)
	}
	if s.TokenRequestsFor("") != 1 || s.TokenRequestsFor(participant) != 1 {
		t.Errorf("%d service, %d participant requests", s.TokenRequestsFor(""), s.TokenRequestsFor(participant))
	}
	if n := s.RevokeSubject(participant); n != 1 {
		t.Errorf("revoked %d", n)
	}
	if res := call(t, s.APIURL(), child); res.status != 401 {
		t.Errorf("revoked child got %d", res.status)
	}
	echo(t, s.APIURL(), service)
}

func TestMyDataHelpsRefuses(t *testing.T) {
	s := upstreamtest.NewMyDataHelps(upstreamtest.Options{
		KnowsParticipant: func(id string) bool { return id == participant },
	})
	defer s.Close()
	service, revoked := serviceToken(t, s), serviceToken(t, s)
	s.Revoke(revoked)
	child := do(t, http.MethodPost, s.TokenURL(), participantForm(service).Encode(), formHeader("")).text(t, "access_token")
	assertion := func() url.Values { return assertionForm(sign(t, s, claims(s), nil), "api") }
	tests := map[string]struct{ body, auth, code string }{
		"service: client_id":      {body: with(assertion(), "client_id", s.ClientID()), code: "invalid_request"},
		"service: Basic":          {body: with(assertion()), auth: basic("a", "b"), code: "invalid_client"},
		"service: scope":          {body: with(assertion(), "scope", "Participant:read"), code: "invalid_scope"},
		"service: type":           {body: with(assertion(), "client_assertion_type", "x"), code: "invalid_client"},
		"service: no assertion":   {body: with(assertion(), "client_assertion", ""), code: "invalid_request"},
		"grant":                   {body: with(assertion(), "grant_type", "password"), code: "unsupported_grant_type"},
		"no grant":                {body: "", code: "invalid_request"},
		"participant: unknown":    {body: with(participantForm(service), "participant_id", "x"), code: "invalid_grant"},
		"participant: missing":    {body: with(participantForm(service), "participant_id", ""), code: "invalid_request"},
		"participant: dead token": {body: with(participantForm(revoked)), code: "invalid_grant"},
		"participant: no service": {body: with(participantForm(child)), code: "invalid_grant"},
		"participant: made up":    {body: with(participantForm("x")), code: "invalid_grant"},
		"participant: client":     {body: with(participantForm(service), "client_id", "x"), code: "invalid_client"},
		"participant: secret":     {body: with(participantForm(service), "client_secret", "x"), code: "invalid_client"},
		"participant: scope":      {body: with(participantForm(service), "scope", "x"), code: "invalid_scope"},
		"participant: more":       {body: with(participantForm(service), "x", "y"), code: "invalid_request"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := do(t, http.MethodPost, s.TokenURL(), tt.body, formHeader(tt.auth))
			if res.status != 400 || res.body != `{"error":"`+tt.code+`"}` {
				t.Errorf("got %d %s", res.status, res.body)
			}
			wantLast(t, s, 400, tt.code)
		})
	}
}

func TestMyDataHelpsAPITakesItsTokens(t *testing.T) {
	s := upstreamtest.NewMyDataHelps(upstreamtest.Options{HourlyLimit: 2})
	defer s.Close()
	service := serviceToken(t, s)
	child := do(t, http.MethodPost, s.TokenURL(), participantForm(service).Encode(), formHeader("")).text(t, "access_token")
	for i, want := range []struct {
		status    int
		remaining string
	}{{200, "1"}, {200, "0"}, {429, "0"}} {
		res := call(t, s.APIURL(), service)
		h := res.header
		if res.status != want.status || h.Get("RateLimit-Remaining") != want.remaining || h.Get("RateLimit-Limit") != "2" || h.Get("RateLimit-Reset") == "" {
			t.Errorf("request %d: %d %v", i+1, res.status, h)
		}
	}
	echo(t, s.APIURL(), child) // has a limit of its own
	if res := do(t, http.MethodGet, s.APIURL(), "", http.Header{"Authorization": {"Bearer " + child}}); res.status != 406 {
		t.Errorf("without Accept: %d", res.status)
	}
	if res := call(t, s.APIURL(), "x"); res.status != 401 || res.header.Get("RateLimit-Limit") == "" {
		t.Errorf("unknown token: %d %v", res.status, res.header)
	}
}
