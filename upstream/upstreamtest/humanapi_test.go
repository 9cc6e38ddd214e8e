package upstreamtest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"token-sidecar/upstream/upstreamtest"
)

var jsonHeader = http.Header{"Content-Type": {"application/json"}}

// humanBody is a good request for an access token, changed; nil removes.
func humanBody(t *testing.T, s *upstreamtest.Server, changes map[string]any) string {
	t.Helper()
	m := map[string]any{
		"client_id": s.ClientID(), "client_secret": s.ClientSecret(), "client_user_id": "applicant-0042", "type": "access",
	}
	maps.Copy(m, changes)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

var forClient = map[string]any{"type": "client", "client_user_id": nil}

func TestHumanAPIServesConnectedUsers(t *testing.T) {
	var connected atomic.Bool
	s := upstreamtest.NewHumanAPI(upstreamtest.Options{ConnectedUser: func(string) bool { return connected.Load() }})
	defer s.Close()
	if !strings.HasSuffix(s.TokenURL(), "/v1/connect/token") {
		t.Fatalf("token URL %s", s.TokenURL())
	}
	res := do(t, http.MethodPost, s.TokenURL(), humanBody(t, s, nil), jsonHeader)
	if res.status != 403 || res.text(t, "errorCode") != "ACCESS_TOKEN_GENERATION_NOT_ALLOWED" {
		t.Fatalf("before the user connects: %d %s", res.status, res.body)
	}
	connected.Store(true)
	extra := map[string]any{"client_user_email": "a@example.org", "extra_scopes": []string{"x"}}
	res = do(t, http.MethodPost, s.TokenURL(), humanBody(t, s, extra), jsonHeader)
	m := res.object(t)
	if res.status != 200 || m["token_type"] != "Bearer" || m["expires_in"] != 30.0 || m["refresh_token"] == nil {
		t.Fatalf("after: %d %s", res.status, res.body)
	}
	token := res.text(t, "access_token")
	if e := echo(t, s.APIURL()+"/v1/human", token); e.Subject != "applicant-0042" || e.Kind != upstreamtest.KindAccess {
		t.Errorf("echo %+v", e)
	}
	res = call(t, s.HostURL("admin"), token)
	if m := res.object(t); res.status != 401 || m["code"] != 401.0 || m["error"] != "Unauthorized" || m["x-humanapi-request-id"] == "" {
		t.Errorf("the admin API took an access token: %d %s", res.status, res.body)
	}
	if s.TokenRequestsFor("applicant-0042") != 2 {
		t.Error("requests are not counted for their user")
	}
}

func TestHumanAPIOfHIPServesTheClient(t *testing.T) {
	s := upstreamtest.NewHumanAPI(upstreamtest.Options{HIP: true})
	defer s.Close()
	res := do(t, http.MethodPost, s.TokenURL(), humanBody(t, s, forClient), jsonHeader)
	if m := res.object(t); res.status != 200 || len(m) != 2 || m["expires_in"] != 30.0 {
		t.Fatalf("client: %d %s", res.status, res.body)
	}
	token := res.text(t, "client_token")
	if !regexp.MustCompile(`^eyJ[\w-]+\.[\w-]+\.[\w-]+$`).MatchString(token) {
		t.Errorf("client_token %q does not look like a JWT", token)
	}
	if e := echo(t, s.HostURL("admin")+"/api/v1/users", token); e.Kind != upstreamtest.KindClient || e.Subject != "" {
		t.Errorf("echo %+v", e)
	}
	if res := call(t, s.APIURL(), token); res.status != 401 {
		t.Errorf("the data API took a client token: %d", res.status)
	}
	res = do(t, http.MethodPost, s.TokenURL(), humanBody(t, s, nil), jsonHeader)
	echo(t, s.APIURL(), res.text(t, "access_token"))
}

func TestHumanAPIRefuses(t *testing.T) {
	knows := func(id string) bool { return id == "applicant-0042" }
	connect := upstreamtest.NewHumanAPI(upstreamtest.Options{KnowsUser: knows})
	defer connect.Close()
	hip := upstreamtest.NewHumanAPI(upstreamtest.Options{HIP: true, NoClientTokens: true, KnowsUser: knows})
	defer hip.Close()
	set := func(name string, value any) map[string]any { return map[string]any{name: value} }
	tests := map[string]struct {
		s       *upstreamtest.Server
		path    string // of the token endpoint; empty: the right one
		changes map[string]any
		status  int
		code    string
	}{
		"id":                  {s: connect, changes: set("client_id", "x"), status: 401, code: "INVALID_CLIENT_ID"},
		"secret":              {s: connect, changes: set("client_secret", "x"), status: 401, code: "INVALID_CLIENT_ID_OR_SECRET"},
		"type":                {s: connect, changes: set("type", "x"), status: 400, code: "INVALID_TOKEN_TYPE"},
		"client at connect":   {s: connect, changes: forClient, status: 400, code: "INVALID_TOKEN_TYPE"},
		"user":                {s: connect, changes: set("client_user_id", "x"), status: 400, code: "UNKNOWN_CLIENT_USER_ID"},
		"HIP path, client":    {s: connect, path: "/v1/admin/token", changes: forClient, status: 403, code: "CLIENT_TOKEN_GENERATION_NOT_ALLOWED"},
		"HIP path, access":    {s: connect, path: "/v1/admin/token", status: 403, code: "NOT_AUTHORIZED"},
		"HIP: connect path":   {s: hip, path: "/v1/connect/token", status: 403, code: "NOT_AUTHORIZED"},
		"HIP: no clients":     {s: hip, changes: forClient, status: 403, code: "CLIENT_TOKEN_GENERATION_NOT_ALLOWED"},
		"HIP: user":           {s: hip, changes: set("client_user_id", "x"), status: 400, code: "UNKNOWN_CLIENT_USER_ID"},
		"HIP: user of client": {s: hip, changes: set("type", "client"), status: 400},
		"HIP: e-mail":         {s: hip, changes: set("client_user_email", "a@example.org"), status: 400},
		"no user":             {s: connect, changes: set("client_user_id", nil), status: 400},
		"empty user":          {s: connect, changes: set("client_user_id", ""), status: 400},
		"no secret":           {s: connect, changes: set("client_secret", nil), status: 400},
		"more members":        {s: connect, changes: set("grant_type", "x"), status: 400},
		"number":              {s: connect, changes: set("client_user_id", 42), status: 400},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			target := tt.s.TokenURL()
			if tt.path != "" {
				target = target[:strings.Index(target, "/v1/")] + tt.path
			}
			res := do(t, http.MethodPost, target, humanBody(t, tt.s, tt.changes), jsonHeader)
			if res.status != tt.status || res.text(t, "errorCode") != tt.code {
				t.Errorf("got %d %s", res.status, res.body)
			}
		})
	}
}

func TestHumanAPITakesOneJSONObject(t *testing.T) {
	s := upstreamtest.NewHumanAPI(upstreamtest.Options{})
	defer s.Close()
	good := humanBody(t, s, nil)
	if res := do(t, http.MethodPost, s.TokenURL(), good, formHeader("")); res.status != 415 {
		t.Errorf("as a form: %d", res.status)
	}
	for _, body := range []string{"", "[]", "null", good + good, good[:len(good)-1], good[:len(good)-1] + `,"type":"access"}`, `{"a"`} {
		if res := do(t, http.MethodPost, s.TokenURL(), body, jsonHeader); res.status != 400 {
			t.Errorf("%q: %d", body, res.status)
		}
	}
	h := jsonHeader.Clone()
	h.Set("Authorization", basic("a", "b"))
	if res := do(t, http.MethodPost, s.TokenURL(), good, h); res.status != 400 {
		t.Errorf("with Basic: %d", res.status)
	}
}
