package upstream

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Case F8.
func TestRefusalsAreRetriedAtTheirOwnPace(t *testing.T) {
	code := func(c string) string { return `{"error":"` + c + `","error_description":"canary"}` }
	tests := []struct {
		status int
		body   string
		class  Class
		code   string
	}{
		{400, code("invalid_client"), ClassCredential, "invalid_client"},
		{401, code("invalid_client"), ClassCredential, "invalid_client"},
		{403, code("invalid_client"), ClassCredential, "invalid_client"},
		{200, code("invalid_client"), ClassCredential, "invalid_client"},
		{200, `{"error":"invalid_client",` + goodAnswer(`"canary"`)[1:], ClassCredential, "invalid_client"},
		{200, `{"error":"",` + goodAnswer(`"canary"`)[1:], ClassMalformed, ""},
		{200, `{"error":{"canary":1},` + goodAnswer(`"canary"`)[1:], ClassMalformed, ""},
		{400, code("invalid_scope"), ClassScope, "invalid_scope"},
		{401, code("invalid_scope"), ClassCredential, "invalid_scope"}, // RFC 6749 has 401 for a refused client alone
		{400, code("invalid_request"), ClassScope, "invalid_request"},
		{400, code("unauthorized_client"), ClassScope, "unauthorized_client"},
		{400, code("unsupported_grant_type"), ClassScope, "unsupported_grant_type"},
		{400, code("invalid_grant"), ClassScope, "invalid_grant"}, // the client itself has no subject
		{403, code("access_denied"), ClassScope, "access_denied"}, // that could be at fault
		{400, code("slow_down"), ClassThrottled, "slow_down"},
		{500, code("server_error"), ClassUnavailable, "server_error"},
		{400, code("temporarily_unavailable"), ClassUnavailable, "temporarily_unavailable"},

		{400, "", ClassMalformed, ""},
		{400, code("canary"), ClassMalformed, ""},
		{400, code("INVALID_CLIENT"), ClassMalformed, ""},
		{400, code("invalid_client") + "x", ClassMalformed, ""},
		{400, `{"error":"invalid_scope",` + code("invalid_client")[1:], ClassMalformed, ""},
		{400, `["invalid_client"]`, ClassMalformed, ""},
		{400, `{"error":["invalid_client"]}`, ClassMalformed, ""},
		{401, "<html>canary</html>", ClassCredential, ""},
		{401, code("canary"), ClassCredential, ""},
		{403, "", ClassScope, ""},
		{404, "canary", ClassMalformed, ""},
		{405, "", ClassMalformed, ""},
		{408, "", ClassUnavailable, ""},
		{413, "", ClassMalformed, ""},
		{429, "", ClassThrottled, ""},
		{429, code("canary"), ClassThrottled, ""},
		{500, "canary", ClassUnavailable, ""},
		{403, "<html>canary", ClassMalformed, ""}, // of a firewall
		{403, strings.Repeat(" ", maxAnswer+1), ClassMalformed, ""},
		{502, "<html>", ClassUnavailable, ""},
		{503, "", ClassUnavailable, ""},
		{503, strings.Repeat(" ", maxAnswer+1) + code("invalid_client"), ClassUnavailable, ""},
		{599, "", ClassUnavailable, ""},
		// A good body is not enough.
		{201, goodAnswer(`"canary"`), ClassMalformed, ""},
		{203, goodAnswer(`"canary"`), ClassMalformed, ""},
		{204, "", ClassMalformed, ""},
		{400, goodAnswer(`"canary"`), ClassMalformed, ""},
		{500, goodAnswer(`"canary"`), ClassUnavailable, ""},
	}
	each(t, func(t *testing.T, s *scripted, u Upstream) {
		for _, tt := range tests {
			s.answer(reply{status: tt.status, body: tt.body})
			token, err := fetch(t, u, "")
			e := failure(t, token, err)
			if e.Upstream != u.Name() || e.Class != tt.class || e.Code != tt.code || e.Status != tt.status || e.RetryAfter != 0 {
				t.Errorf("%d %.60q: %+v, want %s, code %q", tt.status, tt.body, e, tt.class, tt.code)
			}
			if e.Reason == "" || strings.Contains(err.Error(), "canary") {
				t.Errorf("%d %.60q: %q repeats the answer or says nothing", tt.status, tt.body, err)
			}
		}
	})
}

func TestRefusalWithoutASubjectIsOfTheScope(t *testing.T) {
	e := newTestOAuth2(t, "http://token.example", nil).endpoint
	for subject, want := range map[string]Class{"": ClassScope, "alice": ClassSubject} {
		key := Key{Upstream: "shop", Kind: KindParticipant, Subject: subject}
		for _, a := range []answer{{status: 403, body: []byte{}}, {status: 400}} {
			code := map[int]string{400: "invalid_grant"}[a.status]
			if got := e.refusal(a, key, codeClasses, code); got.Class != want || got.Reason != reasons[want] {
				t.Errorf("%d %s of subject %q is %+v, want %s", a.status, code, subject, got, want)
			}
		}
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	const date = "Thu, 01 Jan 2026 00:00:00 GMT"
	tests := []struct {
		name   string
		header http.Header
		want   time.Duration
	}{
		{"none", nil, 0},
		{"seconds", http.Header{"Retry-After": {"7"}}, 7 * time.Second},
		{"zero", http.Header{"Retry-After": {"0"}}, 0},
		{"negative", http.Header{"Retry-After": {"-7"}}, 0},
		{"an hour", http.Header{"Retry-After": {"3600"}}, time.Hour},
		{"more", http.Header{"Retry-After": {"3601"}}, time.Hour},
		{"overflows a Duration", http.Header{"Retry-After": {"9223372037"}}, time.Hour},
		{"fraction", http.Header{"Retry-After": {"1.5"}}, 0},
		{"nonsense", http.Header{"Retry-After": {"soon"}}, 0},
		{"date", http.Header{"Date": {date}, "Retry-After": {"Thu, 01 Jan 2026 00:02:00 GMT"}}, 2 * time.Minute},
		{"date in the past", http.Header{"Date": {date}, "Retry-After": {"Wed, 31 Dec 2025 00:00:00 GMT"}}, 0},
		{"date far off", http.Header{"Date": {date}, "Retry-After": {"Fri, 31 Dec 9999 23:59:59 GMT"}}, time.Hour},
		{"date in our past", http.Header{"Retry-After": {date}}, 0},
		{"reset", http.Header{"Ratelimit-Reset": {"9"}}, 9 * time.Second},
		{"both", http.Header{"Retry-After": {"7"}, "Ratelimit-Reset": {"9"}}, 7 * time.Second},
	}
	each(t, func(t *testing.T, s *scripted, u Upstream) {
		for _, tt := range tests {
			for _, status := range []int{429, 503, 401} {
				s.answer(reply{status: status, header: tt.header})
				token, err := fetch(t, u, "")
				want := tt.want
				if tt.name == "reset" && status != 429 { // when a quota begins anew, which is not what the answer is about
					want = 0
				}
				if e := failure(t, token, err); e.RetryAfter != want {
					t.Errorf("%s, %d: wait %v, want %v", tt.name, status, e.RetryAfter, want)
				}
			}
		}
	})
	t.Run("date by our clock", func(t *testing.T) {
		h := http.Header{"Retry-After": {time.Now().Add(10 * time.Minute).UTC().Format(http.TimeFormat)}}
		if got := retryAfter(503, h, time.Time{}); got < 9*time.Minute || got > 10*time.Minute {
			t.Errorf("wait %v, want ten minutes", got)
		}
	})
}

// wantSecrecy checks that err shows nothing of canaries, in whatever way it is
// printed, and is one line of plain text.
func wantSecrecy(t *testing.T, err error, canaries ...string) {
	t.Helper()
	asJSON, _ := json.Marshal(err)
	shown := strings.Join([]string{err.Error(), fmt.Sprintf("%v %+v %#v %q %x", err, err, err, err, err), string(asJSON)}, " ")
	for _, c := range canaries {
		for _, form := range []string{c, url.QueryEscape(c), base64.StdEncoding.EncodeToString([]byte(c)), fmt.Sprintf("%x", c)} {
			if strings.Contains(shown, form) {
				t.Errorf("%q shows %q", shown, form)
			}
		}
	}
	for i := range len(err.Error()) {
		if c := err.Error()[i]; c < ' ' || c > '~' {
			t.Fatalf("%q is not one line of plain text", err)
		}
	}
	if len(err.Error()) > 200 {
		t.Errorf("%q is long", err)
	}
}

// A provider that sends back what it was sent, with terminal codes and line
// breaks.
//
// Cases C12, I2.
func TestErrorsRepeatNothingOfAnAnswer(t *testing.T) {
	const id, secret, canary = "canary-id", "canary-secret", "canary-answer"
	var status int
	var member string
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.ReadAll(r.Body)
		text := canary + "\x1b[31m\r\nlevel=error " + string(sent) + r.Header.Get("Authorization") + secret
		w.Header().Set("WWW-Authenticate", canary)
		w.Header().Set("Location", "/"+canary)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{member: text})
	})
	for _, post := range []bool{false, true} {
		u := newTestPDX(t, target, func(c *PDXConfig) {
			c.ClientID, c.ClientSecret, c.Post = id, NewSecret(secret), post
		})
		for _, status = range []int{200, 302, 400, 401, 403, 404, 429, 500, 503} {
			for _, member = range []string{"error", "error_description", "error_uri", "access_token", "token_type", "expires_in", "scope", canary} {
				token, err := fetch(t, u, "")
				failure(t, token, err)
				wantSecrecy(t, err, id, secret, canary)
			}
		}
	}
}

// Case B6.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var evil atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { evil.Add(1) }))
	t.Cleanup(other.Close)
	each(t, func(t *testing.T, s *scripted, u Upstream) {
		for i, status := range []int{300, 301, 302, 303, 307, 308} {
			s.answer(reply{status: status, header: http.Header{"Location": {other.URL + "/canary"}}, body: goodAnswer(`"canary"`)})
			token, err := fetch(t, u, "")
			wantMalformed(t, token, err, status)
			if s.count() != i+1 {
				t.Errorf("%d requests came after %d answers", s.count(), i+1)
			}
		}
	})
	if n := evil.Load(); n != 0 {
		t.Errorf("%d requests followed a redirect", n)
	}
}
