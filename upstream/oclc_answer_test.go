package upstream

import (
	"fmt"
	"testing"
	"time"
)

// oclcAnswer is a good answer but for what the life and the scope are read from.
func oclcAnswer(more string) reply {
	return body(`{"access_token":"tk_1","token_type":"bearer","principalID":"","principalIDNS":""` + more + `}`)
}

// expiresAt writes a time as OCLC does.
func expiresAt(t time.Time) string {
	return `,"expires_at":"` + t.UTC().Format("2006-01-02 15:04:05Z") + `"`
}

func oclcGoodAnswers() []told {
	const (
		live = `,"authenticating_institution_id":"91475","context_institution_id":"91475","scope":"WMS_NCIP wcapi context:91475","scopes":"WMS_NCIP wcapi context:91475"`
		all  = "context:91475"
	)
	now := time.Now()
	return []told{
		{"live", oclcAnswer(live + `,"expires_in":1199` + expiresAt(now)), "tk_1 19m59s WMS_NCIP context:91475 wcapi"},
		{"life as a string", oclcAnswer(`,"expires_in":"3599"`), "tk_1 59m59s"},
		{"expires_at", oclcAnswer(expiresAt(now.Add(10 * time.Hour))).dated(0), "tk_1 10h0m0s"},
		{"expires_at, clock ahead", oclcAnswer(expiresAt(now.Add(12 * time.Hour))).dated(2 * time.Hour), "tk_1 10h0m0s"},
		{"expires_at, clock behind", oclcAnswer(expiresAt(now.Add(8 * time.Hour))).dated(-2 * time.Hour), "tk_1 10h0m0s"},
		{"expires_at past", oclcAnswer(expiresAt(now.Add(-time.Minute))).dated(0), "malformed"},
		{"expires_at with a T", oclcAnswer(`,"expires_at":"2026-11-21T17:05:29Z"`).dated(0), "malformed"},
		{"no life", oclcAnswer(""), "tk_1 19m59s"},
		{"life over", oclcAnswer(`,"expires_in":"0"`), "malformed"},
		{"life in words", oclcAnswer(`,"expires_in":"soon"`), "malformed"},
		{"scope alone", oclcAnswer(`,"scope":"wcapi"`), "tk_1 19m59s wcapi"},
		{"scopes alone", oclcAnswer(`,"scopes":"wcapi"`), "tk_1 19m59s wcapi"},
		{"scope empty", oclcAnswer(`,"scope":"","scopes":"wcapi"`), "tk_1 19m59s wcapi"},
		{"scopes tells what was granted", oclcAnswer(`,"scope":"WMS_NCIP wcapi","scopes":"wcapi"`), "tk_1 19m59s wcapi"},
		{"older spelling", oclcAnswer(`,"contextInstitutionId":"91475","scope":"context:91475"`), "tk_1 19m59s " + all},
		{"refresh token", oclcAnswer(`,"refresh_token":"rt_canary","refresh_token_expires_in":604799`), "tk_1 19m59s"},
		{"another institution", oclcAnswer(`,"context_institution_id":"128807"`), "malformed"},
		{"another, as a number", oclcAnswer(`,"context_institution_id":128807`), "malformed"},
		{"another, older spelling", oclcAnswer(`,"contextInstitutionId":"128807"`), "malformed"},
		{"one of both is another", oclcAnswer(`,"context_institution_id":"91475","contextInstitutionId":"128807"`), "malformed"},
		{"no token", body(`{"token_type":"bearer","expires_in":1199}`), "malformed"},
		{"JWT", body(`{"access_token":"aa.bb.cc-_","token_type":"Bearer"}`), "aa.bb.cc-_ 19m59s"},
		{"page of 200", body(`<html>canary`), "malformed"},
		{"XML of 200", body(`<?xml version="1.0"?><token>canary</token>`), "malformed"},
	}
}

func oclcBadAnswers() []told {
	const invalid = "No valid authentication credentials found in request"
	return []told{
		{"wrong secret", refused(401, `{"code":401,"message":"`+invalid+`"}`), "credential"},
		{"wrong secret by 400", refused(400, `{"message":"`+invalid+`: canary"}`), "credential"},
		{"wrong secret by 403", refused(403, `{"code":{"value":"403"},"message":"`+invalid+`"}`), "credential"},
		{"wrong secret by 200", refused(200, `{"error":{"errorMessage":"`+invalid+`","errorCode":401}}`), "credential"},
		{"code as an object", refused(401, `{"code":{"type":"http","value":"401"},"message":"WSKey canary is invalid"}`), "credential"},
		{"XML", refused(401, `<error><code type="http">401</code><message>canary</message></error>`), "credential"},
		{"page", refused(401, `<!DOCTYPE html>canary`).with("Content-Type", "text/html"), "credential"},
		{"scope", refused(403, `{"code":403,"message":"Invalid scope(s): canary (canary) [Invalid service specified, Not on key]"}`), "scope"},
		{"institution", refused(403, `{"code":403,"message":"Invalid scope(s): context:91475 (context:91475) [Invalid service specified, Not on key]"}`), "subject"},
		{"client", refused(403, `{"code":403,"message":"unauthorized_client"}`), "scope"},
		{"client, older form", refused(403, `{"error":{"errorMessage":"unauthorized_client","errorCode":403}}`), "scope"},
		{"page of a firewall", refused(403, `<html>canary`), "malformed"},
		{"code of RFC 6749", refused(400, `{"error":"invalid_client"}`), "credential invalid_client"},
		{"scope of RFC 6749", refused(400, `{"error":"invalid_scope"}`), "scope invalid_scope"},
		{"unknown", refused(400, `{"code":400,"message":"canary"}`), "malformed"},
		{"not found", refused(404, `<html>canary`), "malformed"},
		{"429", refused(429, `{"message":"canary"}`).with("Retry-After", "9"), "throttled in 9s"},
		{"500", refused(500, `{"code":500,"message":"`+invalid+`"}`), "unavailable"},
		{"503", refused(503, `<html>canary`).with("Retry-After", "3"), "unavailable in 3s"},
	}
}

func TestOCLCAnswers(t *testing.T) {
	wantOutcomes(t, append(oclcGoodAnswers(), oclcBadAnswers()...), func(tokenURL string) func() (Token, error) {
		u := newTestOCLC(t, tokenURL, nil)
		return func() (Token, error) { return fetchOCLC(t, u, "91475") }
	})
}

// Without an institution there is none that could be at fault, or another.
func TestOCLCAnswersWithoutInstitution(t *testing.T) {
	answers := []told{
		{"any institution", oclcAnswer(`,"context_institution_id":"128807"`), "tk_1 19m59s"},
		{"context not on the key", refused(403, `{"code":403,"message":"Invalid scope(s): context:1"}`), "scope"},
		{"403 alone", refused(403, ``), "scope"},
	}
	wantOutcomes(t, answers, func(tokenURL string) func() (Token, error) {
		u := newTestOCLC(t, tokenURL, func(c *OCLCConfig) { c.Institution = "" })
		return func() (Token, error) { return fetchOCLC(t, u, "") }
	})
}

func TestOCLCPartialScopeOfEachMember(t *testing.T) {
	var answers []told
	for _, members := range []string{
		`,"scope":"wcapi context:91475"`, `,"scopes":"wcapi context:91475"`,
		`,"scope":"WMS_NCIP wcapi","scopes":"wcapi"`, `,"scopes":"context:91475"`,
	} {
		answers = append(answers, told{fmt.Sprintf("%.20s", members), oclcAnswer(members), "scope"})
	}
	answers = append(answers, told{"all", oclcAnswer(`,"scopes":"wcapi context:91475 WMS_NCIP"`), "tk_1 19m59s WMS_NCIP context:91475 wcapi"})
	wantOutcomes(t, answers, func(tokenURL string) func() (Token, error) {
		u := newTestOCLC(t, tokenURL, func(c *OCLCConfig) { c.RefuseNarrow = true })
		return func() (Token, error) { return fetchOCLC(t, u, "91475") }
	})
}
