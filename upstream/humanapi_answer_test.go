package upstream

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The codes of the provider's table of common errors and what each means for
// a user's token. For the client's own there is no subject that could be at fault.
func humanCodes() map[string]string {
	return map[string]string{
		"INVALID_TOKEN_TYPE":                  "scope",
		"INVALID_CLIENT_ID":                   "credential",
		"INVALID_CLIENT_ID_OR_SECRET":         "credential",
		"CLIENT_TOKEN_GENERATION_NOT_ALLOWED": "scope",
		"NOT_AUTHORIZED":                      "scope",
		"ACCESS_TOKEN_GENERATION_NOT_ALLOWED": "subject",
		"UNKNOWN_CLIENT_USER_ID":              "subject",
	}
}

// humanRefusals has each code by each status, under every name and at every
// place where it may stand.
func humanRefusals(subject string) []told {
	shapes := []string{
		`{"errorCode":"CODE"}`,
		`{"error":"CODE","message":"canary"}`,
		`{"code":"CODE"}`,
		`{"statusCode":400,"message":"CODE"}`,
		`{"code":400,"error":"Bad Request","message":"canary (CODE) canary"}`,
		`{"error":{"errorCode":"CODE","message":"canary"}}`,
		`{"errors":[{"detail":{"reason":"CODE"}}]}`,
		`{"errorCode":17,"validation":"canary: CODE"}`,
	}
	var all []told
	codes := humanCodes()
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		class := codes[code]
		if class == "subject" {
			class = subject
		}
		for i, shape := range shapes {
			status := []int{400, 401, 403, 404, 422}[i%5]
			all = append(all, told{code + " in " + shape, refused(status, strings.ReplaceAll(shape, "CODE", code)), class + " " + code})
		}
		all = append(all, told{code + " by 200", refused(200, `{"errorCode":"`+code+`","access_token":"canary","client_token":"canary","token_type":"Bearer"}`), class + " " + code})
	}
	return all
}

func TestHumanAPIAnswersForAUser(t *testing.T) {
	answers := append(humanRefusals("subject"), []told{
		{"good", body(`{"access_token":"hapi-1","expires_in":86400,"token_type":"Bearer","refresh_token":"atrt-canary"}`), "hapi-1 24h0m0s"},
		{"life as a string", body(`{"access_token":"hapi-1","expires_in":"3600","token_type":"bearer"}`), "hapi-1 1h0m0s"},
		{"no life", body(`{"access_token":"hapi-1","token_type":"bearer"}`), "hapi-1 24h0m0s"},
		{"text beside the token", body(`{"access_token":"hapi-1","token_type":"Bearer","message":"no NOT_AUTHORIZED today"}`), "hapi-1 24h0m0s"},
		{"the client's token", body(`{"client_token":"canary","expires_in":86400}`), "malformed"},
		{"both tokens", body(`{"access_token":"hapi-1","client_token":"canary","token_type":"Bearer"}`), "hapi-1 24h0m0s"},
		{"no type", body(`{"access_token":"canary","expires_in":86400}`), "malformed"},
		{"id_token", body(`{"id_token":"canary","token_type":"Bearer"}`), "malformed"},
		{"error of another kind by 200", body(`{"error":"CANARY canary","access_token":"canary","token_type":"Bearer"}`), "malformed"},
		{"errorCode of another kind by 200", body(`{"errorCode":"canary","access_token":"canary","token_type":"Bearer"}`), "malformed"},
		{"page", body(`<html>canary`), "malformed"},
		{"unknown code", refused(400, `{"errorCode":"CANARY_canary"}`), "subject"},
		{"unknown code by 401", refused(401, `{"code":401,"error":"Unauthorized","message":"canary"}`), "subject"},
		{"unknown code by 403", refused(403, `{"errorCode":"canary"}`), "subject"},
		{"no code", refused(422, `{}`), "subject"},
		{"page of 400", refused(400, `<html>canary`), "malformed"},
		{"page of 404", refused(404, `<html>canary`), "malformed"},
		{"two codes", refused(400, `{"x":"INVALID_CLIENT_ID_OR_SECRET, INVALID_CLIENT_ID"}`), "credential INVALID_CLIENT_ID_OR_SECRET"},
		{"429", refused(429, `{"message":"canary"}`).with("Retry-After", "5"), "throttled in 5s"},
		{"429 by the hour", refused(429, ``).with("RateLimit-Reset", "60"), "throttled in 1m0s"},
		{"408", refused(408, `{}`), "unavailable"},
		{"500", refused(500, `{"message":"canary"}`), "unavailable"},
		{"502", refused(502, `<html>canary`), "unavailable"},
	}...)
	wantOutcomes(t, answers, func(tokenURL string) func() (Token, error) {
		u := newTestHumanAPI(t, tokenURL, nil)
		return func() (Token, error) { return fetchUser(t, u, testUser) }
	})
}

func TestHumanAPIAnswersForTheClient(t *testing.T) {
	answers := append(humanRefusals("scope"), []told{
		{"good", body(`{"client_token":"eyJ.a.b","expires_in":86400}`), "eyJ.a.b 24h0m0s"},
		{"no life", body(`{"client_token":"eyJ.a.b"}`), "eyJ.a.b 24h0m0s"},
		{"type named", body(`{"client_token":"eyJ.a.b","token_type":"Bearer","refresh_token":"canary"}`), "eyJ.a.b 24h0m0s"},
		{"another type", body(`{"client_token":"canary","token_type":"mac"}`), "malformed"},
		{"access_token", body(`{"access_token":"eyJ.a.b","token_type":"Bearer","expires_in":60}`), "eyJ.a.b 1m0s"},
		{"access_token without type", body(`{"access_token":"canary","expires_in":60}`), "malformed"},
		{"null", body(`{"client_token":null,"expires_in":60}`), "malformed"},
		{"no token", body(`{"expires_in":60}`), "malformed"},
		{"unknown code", refused(400, `{"errorCode":"canary"}`), "malformed"},
		{"401 alone", refused(401, `{"error":"Unauthorized"}`), "credential"},
		{"403 alone", refused(403, `{}`), "scope"},
		{"503", refused(503, ``).with("Retry-After", "2"), "unavailable in 2s"},
	}...)
	wantOutcomes(t, answers, func(tokenURL string) func() (Token, error) {
		u := newTestHumanAPI(t, tokenURL, func(c *HumanAPIConfig) { c.HIP = true })
		return func() (Token, error) { return fetchHIPClient(t, u) }
	})
}

// The app chooses the subject, and an answer may repeat it.
func TestHumanAPISubjectIsNoCode(t *testing.T) {
	for code := range humanCodes() {
		s := newScripted(t)
		s.answer(refused(400, `{"message":"canary `+code+`-user is not known"}`))
		token, err := fetchUser(t, newTestHumanAPI(t, s.url, nil), code+"-user")
		if got := outcome(t, token, err); got != "subject" {
			t.Errorf("a user named %s is %s", code, got)
		}
	}
}

// A refresh token would be a further secret in memory and in
// Redis, and no provider's is of use here.
func TestTokenKeepsNoRefreshToken(t *testing.T) {
	s := newScripted(t)
	s.answer(body(`{"access_token":"hapi-1","expires_in":60,"token_type":"Bearer","refresh_token":"canary"}`))
	token, err := fetchUser(t, newTestHumanAPI(t, s.url, nil), testUser)
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(token)
	for i := range v.NumField() {
		field := v.Field(i)
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		if field.Kind() == reflect.String && strings.Contains(field.String(), "canary") {
			t.Errorf("the refresh token is kept in %s", v.Type().Field(i).Name)
		}
	}
}
