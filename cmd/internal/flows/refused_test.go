package flows

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// refusedRow is one answer of a token endpoint and what the app gets for it.
type refusedRow struct {
	name   string
	answer upstreamtest.Answer
	status int
	code   string
	others bool // other subjects are served meanwhile
}

// refusedRoute is one kind of token and the rows that it may be refused by.
type refusedRoute struct {
	route, subject, other string
	pinned                string // route whose token is loaded at the start and not refused
	mark                  string // what the token requests that are refused hold
	start                 func(*testing.T) (*upstreamtest.Server, []string)
	rows                  []refusedRow
}

func bad(status int, body string, header ...string) upstreamtest.Answer {
	a := upstreamtest.Answer{Status: status, Body: body, Header: http.Header{"Content-Type": {"application/json"}}}
	for i := 0; i+1 < len(header); i += 2 {
		a.Header.Set(header[i], header[i+1])
	}
	return a
}

const page = "<!DOCTYPE html><html>canary</html>"

func refusedRoutes() []refusedRoute {
	with := func(make func(upstreamtest.Options) *upstreamtest.Server, settings func(*upstreamtest.Server, ...string) []string) func(*testing.T) (*upstreamtest.Server, []string) {
		return func(t *testing.T) (*upstreamtest.Server, []string) {
			s := testkit.Closing(t, make(upstreamtest.Options{HIP: true}))
			return s, settings(s)
		}
	}
	mdh := with(upstreamtest.NewMyDataHelps, testkit.MyDataHelps)
	human := with(upstreamtest.NewHumanAPI, humanAPI)
	return []refusedRoute{
		{"mydatahelps", "", "", "", "client_assertion=", mdh, serviceRows()},
		{"mydatahelps.participant", "bad", "good", "mydatahelps", "participant_id=bad", mdh, participantRows()},
		{"pdx", "", "", "", "", with(upstreamtest.NewPDX, testkit.PDX), pdxRows()},
		{"oclc", "5", "7", "oclc", "context%3A5", with(upstreamtest.NewOCLC, testkit.OCLC), oclcRows()},
		{"humanapi", "bad", "good", "humanapi.admin", `"client_user_id":"bad"`, human, userRows()},
		{"humanapi.admin", "", "", "", `"type":"client"`, human, []refusedRow{
			{"not enabled", bad(403, `{"errorCode":"CLIENT_TOKEN_GENERATION_NOT_ALLOWED"}`), 403, "scope_not_allowed", false},
			{"secret", bad(401, `{"errorCode":"INVALID_CLIENT_ID_OR_SECRET"}`), 502, "credential_refused", false},
			{"down", bad(503, page, "Retry-After", "30"), 503, "token_unavailable", false},
		}},
	}
}

func serviceRows() []refusedRow {
	return []refusedRow{
		{"invalid_client", bad(400, `{"error":"invalid_client"}`), 502, "credential_refused", false},
		{"invalid_client by 401", bad(401, `{"error":"invalid_client"}`), 502, "credential_refused", false},
		{"invalid_scope", bad(400, `{"error":"invalid_scope"}`), 403, "scope_not_allowed", false},
		{"unauthorized_client", bad(400, `{"error":"unauthorized_client"}`), 403, "scope_not_allowed", false},
		{"unsupported_grant_type", bad(400, `{"error":"unsupported_grant_type"}`), 403, "scope_not_allowed", false},
		{"throttled", bad(429, ``, "Retry-After", "30"), 503, "token_unavailable", false},
		{"throttled by the hour", bad(429, ``, "RateLimit-Reset", "30"), 503, "token_unavailable", false},
		{"page", bad(503, page, "Retry-After", "30"), 503, "token_unavailable", false},
	}
}

func participantRows() []refusedRow {
	return []refusedRow{
		{"unknown", bad(400, `{"error":"invalid_grant"}`), 403, "subject_refused", true},
		{"delegated client", bad(400, `{"error":"invalid_client"}`), 403, "scope_not_allowed", true},
		{"scope", bad(400, `{"error":"invalid_scope"}`), 403, "scope_not_allowed", true},
		{"throttled", bad(429, ``, "RateLimit-Reset", "30"), 503, "token_unavailable", false},
		{"page", bad(502, page, "Retry-After", "30"), 503, "token_unavailable", true},
	}
}

func pdxRows() []refusedRow {
	return []refusedRow{
		{"invalid_client", bad(401, `{"error":"invalid_client"}`), 502, "credential_refused", false},
		{"invalid_scope", bad(400, `{"error":"invalid_scope"}`), 403, "scope_not_allowed", false},
		{"unauthorized_client", bad(400, `{"error":"unauthorized_client"}`), 403, "scope_not_allowed", false},
		{"down", bad(503, page, "Retry-After", "30"), 503, "token_unavailable", false},
	}
}

func oclcRows() []refusedRow {
	return []refusedRow{
		{"secret", bad(401, `{"code":401,"message":"No valid authentication credentials found in request"}`), 502, "credential_refused", false},
		{"secret, other status", bad(400, `{"message":"No valid authentication credentials found in request"}`), 502, "credential_refused", false},
		{"WSKey", bad(401, `{"code":{"type":"http","value":"401"},"message":"WSKey k is invalid"}`), 502, "credential_refused", false},
		{"XML", bad(401, `<error><code type="http">401</code><message>x</message></error>`), 502, "credential_refused", false},
		{"HTML", bad(401, page), 502, "credential_refused", false},
		{"scope", bad(403, `{"code":403,"message":"Invalid scope(s): x (x) [Invalid service specified, Not on key]"}`), 403, "scope_not_allowed", true},
		{"institution", bad(403, `{"code":403,"message":"Invalid scope(s): context:5 (context:5) [Invalid service specified, Not on key]"}`), 403, "subject_refused", true},
		{"client", bad(403, `{"error":{"errorMessage":"unauthorized_client","errorCode":403}}`), 403, "scope_not_allowed", true},
		{"another institution", bad(200, `{"access_token":"tk_canary","token_type":"bearer","context_institution_id":"6"}`), 503, "token_unavailable", true},
		{"throttled", bad(429, page, "Retry-After", "30"), 503, "token_unavailable", false},
		{"down", bad(503, page, "Retry-After", "30"), 503, "token_unavailable", true},
	}
}

func userRows() []refusedRow {
	return []refusedRow{
		{"type", bad(400, `{"errorCode":"INVALID_TOKEN_TYPE"}`), 403, "scope_not_allowed", true},
		{"client id", bad(401, `{"errorCode":"INVALID_CLIENT_ID"}`), 502, "credential_refused", false},
		{"secret", bad(401, `{"code":"INVALID_CLIENT_ID_OR_SECRET"}`), 502, "credential_refused", false},
		{"contract", bad(403, `{"error":"NOT_AUTHORIZED"}`), 403, "scope_not_allowed", true},
		{"not connected", bad(403, `{"message":"ACCESS_TOKEN_GENERATION_NOT_ALLOWED"}`), 403, "subject_refused", true},
		{"unknown", bad(400, `{"errorCode":"UNKNOWN_CLIENT_USER_ID"}`), 403, "subject_refused", true},
		{"something new", bad(400, `{"errorCode":"SOMETHING_NEW"}`), 403, "subject_refused", true},
		{"something new by 401", bad(401, `{"error":"Unauthorized"}`), 403, "subject_refused", true},
		{"throttled", bad(429, `{}`, "Retry-After", "30"), 503, "token_unavailable", false},
		{"down", bad(500, `{}`, "Retry-After", "30"), 503, "token_unavailable", true},
	}
}

// TestRefusalsReachTheAppWithTheirCode has a token endpoint refuse one token: the app is told why, the
// provider is left in peace for a while, and others are served or not.
func TestRefusalsReachTheAppWithTheirCode(t *testing.T) {
	for _, route := range refusedRoutes() {
		for _, row := range route.rows {
			t.Run(route.route+" "+row.name, func(t *testing.T) { route.play(t, row) })
		}
	}
}

func (f refusedRoute) play(t *testing.T, row refusedRow) {
	s, settings := f.start(t)
	s.SetTokenFault(func(r *http.Request, _ int) *upstreamtest.Answer {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body)+r.URL.RawQuery, f.mark) {
			return &row.answer
		}
		return nil
	})
	r := start(t, settings...)
	if f.pinned != "" {
		// Its success would open what the refusal closes.
		r.mustServe(t, use{f.pinned, ""})
	}
	for turn := range 3 {
		a, err := r.get(f.route, f.subject)
		if err != nil || a.status != row.status || a.code != row.code {
			t.Fatalf("turn %d: %d %s, %v, want %d %s", turn, a.status, a.code, err, row.status, row.code)
		}
		if (a.retryAfter > 0) != (row.status == http.StatusServiceUnavailable) {
			t.Errorf("turn %d: Retry-After is %d", turn, a.retryAfter)
		}
	}
	if f.other != "" {
		a, err := r.get(f.route, f.other)
		if err == nil && row.others {
			err = a.mine(f.other)
		}
		if err != nil || !row.others && (a.status != row.status || a.code != row.code) {
			t.Errorf("another subject: %d %s, %v; served: want %t", a.status, a.code, err, row.others)
		}
	}
	f.wantQuiet(t, s, row)
}

// wantQuiet checks that three requests of the app made one attempt.
func (f refusedRoute) wantQuiet(t *testing.T, s *upstreamtest.Server, row refusedRow) {
	t.Helper()
	attempt := 1
	switch f.route {
	case "mydatahelps": // a refused assertion is made anew
		if row.code == "credential_refused" {
			attempt = 2
		}
	case "mydatahelps.participant": // it may be the service token's fault
		if row.code == "subject_refused" {
			attempt = 2
		}
	}
	// What does not look like a refusal is asked for again soon.
	if n := len(f.refused(s)); n != attempt && row.answer.Status != http.StatusOK {
		t.Errorf("%d token requests, want %d", n, attempt)
	}
	if names := s.LeakedHeaders(); len(names) > 0 {
		t.Errorf("the provider saw %v", names)
	}
}

// refused returns the token requests that the fault answered.
func (f refusedRoute) refused(s *upstreamtest.Server) []upstreamtest.TokenRequest {
	var all []upstreamtest.TokenRequest
	for _, r := range s.TokenRequestLog() {
		if r.Outcome == upstreamtest.OutcomeFault {
			all = append(all, r)
		}
	}
	return all
}
