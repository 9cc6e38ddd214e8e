package upstream

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"
)

// each runs a test for every upstream whose answers are in the standard form.
func each(t *testing.T, run func(t *testing.T, s *scripted, u Upstream)) {
	t.Run("pdx", func(t *testing.T) {
		s := newScripted(t)
		run(t, s, newTestPDX(t, s.url, nil))
	})
	t.Run("oauth2", func(t *testing.T) {
		s := newScripted(t)
		run(t, s, newTestOAuth2(t, s.url, nil))
	})
}

// wantMalformed checks that the answer is refused as one that breaks the
// contract and that nothing of it is repeated.
func wantMalformed(t *testing.T, token Token, err error, status int) {
	t.Helper()
	e := failure(t, token, err)
	if e.Class != ClassMalformed || e.Status != status || e.Code != "" {
		t.Errorf("error is %+v, want malformed with status %d", e, status)
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("%q repeats the answer", err)
	}
}

// goodAnswer is a complete answer with the given access token, as JSON writes it.
func goodAnswer(token string) string {
	return `{"access_token":` + token + `,"token_type":"bearer","expires_in":60}`
}

func gzipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGoodAnswersGiveTheirToken(t *testing.T) {
	long := strings.Repeat("a", 16<<10)
	deep := strings.Repeat("[", 1000) + strings.Repeat("]", 1000)
	tests := []struct{ name, body, token string }{
		{"least", `{"access_token":"a","token_type":"bearer"}`, "a"},
		{"capital", `{"access_token":"a","token_type":"Bearer"}`, "a"},
		{"capitals", `{"access_token":"a","token_type":"BEARER"}`, "a"},
		{"all characters", goodAnswer(`"AZaz09-._~+/=="`), "AZaz09-._~+/=="},
		{"escaped", goodAnswer(`"\u0041\/b"`), "A/b"},
		{"16 KiB", goodAnswer(`"` + long + `"`), long},
		{"white space", " \r\n\t" + goodAnswer(`"a"`) + " \r\n\t", "a"},
		{"further members", `{"refresh_token":"\r\n\u0000","x":` + deep + `,"access_token":"a","error":null,"token_type":"bearer"}`, "a"},
	}
	each(t, func(t *testing.T, s *scripted, u Upstream) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				s.answer(reply{body: tt.body, header: http.Header{"Content-Type": {"text/html"}}})
				token, err := fetch(t, u, "")
				if err != nil || token.AccessToken() != tt.token || token.Authorization() != "Bearer "+tt.token {
					t.Errorf("got another token, or %v", err)
				}
			})
		}
	})
}

// Cases C2, C4, C7, C8.
func TestBadAnswersAreRefused(t *testing.T) {
	good := goodAnswer(`"canary"`)
	gz := http.Header{"Content-Encoding": {"gzip"}}
	tests := []struct {
		name, body string
		header     http.Header
	}{
		{"HTML", "<!doctype html><title>canary</title>", nil},
		{"empty", "", nil},
		{"white space", " \n", nil},
		{"empty object", "{}", nil},
		{"null", "null", nil},
		{"array", "[" + good + "]", nil},
		{"array of names and values", `["access_token","canary","token_type","bearer"]`, nil},
		{"string", `"canary"`, nil},
		{"truncated", good[:len(good)-1], nil},
		{"truncated in a member", good[:20], nil},
		{"form", "access_token=canary&token_type=bearer", nil},
		{"byte order mark", "\ufeff" + good, nil},
		{"UTF-16", "\xff\xfe{\x00}\x00", nil},
		{"gzip", gzipped(t, good), gz},
		{"gzip without a word", gzipped(t, good), nil},
		{"garbage after", good + "canary", nil},
		{"brace after", good + "}", nil},
		{"object after", good + good, nil},
		{"comma at the end", good[:len(good)-1] + ",}", nil},
		{"deep", `{"x":` + strings.Repeat("[", 60000) + strings.Repeat("]", 60000) + "," + good[1:], nil},
		{"more than is read", good[:len(good)-1] + strings.Repeat(" ", maxAnswer) + "}", nil},
		{"more than is read, after the end", good + strings.Repeat(" ", maxAnswer), nil},

		{"double", `{"access_token":"canary1",` + good[1:], nil},
		{"double, the same", `{"access_token":"canary",` + good[1:], nil},
		{"double, null first", `{"access_token":null,` + good[1:], nil},
		{"double, escaped", `{"access\u005ftoken":"canary1",` + good[1:], nil},
		{"double, other case", `{"ACCESS_TOKEN":"canary1",` + good[1:], nil},
		{"double, other case after", good[:len(good)-1] + `,"Access_Token":"canary1"}`, nil},
		{"double, Kelvin sign", `{"access_to` + "\u212a" + `en":"canary1",` + good[1:], nil},
		{"double, long s", `{"acce` + "\u017f\u017f" + `_token":"canary1",` + good[1:], nil},
		{"double of another", `{"Expires_In":1,` + good[1:], nil},
		{"other case alone", strings.Replace(good, "access_token", "Access_Token", 1), nil},

		{"no token", `{"token_type":"bearer","expires_in":60}`, nil},
		{"no type", `{"access_token":"canary","expires_in":60}`, nil},
		{"type null", strings.Replace(good, `"bearer"`, `null`, 1), nil},
		{"type mac", strings.Replace(good, `"bearer"`, `"mac"`, 1), nil},
		{"type DPoP", strings.Replace(good, `"bearer"`, `"DPoP"`, 1), nil},
		{"type N_A", strings.Replace(good, `"bearer"`, `"N_A"`, 1), nil},
		{"type with a space", strings.Replace(good, `"bearer"`, `"bearer "`, 1), nil},
		{"type list", strings.Replace(good, `"bearer"`, `["bearer"]`, 1), nil},

		{"token empty", goodAnswer(`""`), nil},
		{"token null", goodAnswer(`null`), nil},
		{"token number", goodAnswer(`1`), nil},
		{"token object", goodAnswer(`{"canary":1}`), nil},
		{"token CR LF", goodAnswer(`"canary\r\nX-Evil: 1"`), nil},
		{"token LF at the end", goodAnswer(`"canary\n"`), nil},
		{"token NUL", goodAnswer(`"canary\u0000"`), nil},
		{"token space", goodAnswer(`"canary canary"`), nil},
		{"token comma", goodAnswer(`"canary,canary"`), nil},
		{"token quote", goodAnswer(`"canary\""`), nil},
		{"token not ASCII", goodAnswer(`"canaryé"`), nil},
		{"token not UTF-8", goodAnswer("\"canary\xff\""), nil},
		{"token percent", goodAnswer(`"canary%0d%0a"`), nil},
		{"token only padding", goodAnswer(`"=="`), nil},
		{"token padding inside", goodAnswer(`"canary=canary"`), nil},
		{"token of 16 KiB and one", goodAnswer(`"` + strings.Repeat("a", 16<<10+1) + `"`), nil},
	}
	each(t, func(t *testing.T, s *scripted, u Upstream) {
		for _, tt := range tests {
			_, generic := u.(*oauth2)
			if generic && (tt.name == "no type" || tt.name == "type null") {
				continue // older servers of Apigee send none
			}
			t.Run(tt.name, func(t *testing.T) {
				s.answer(reply{body: tt.body, header: tt.header})
				token, err := fetch(t, u, "")
				wantMalformed(t, token, err, 200)
			})
		}
	})
}

func TestGrantedScopeIsKept(t *testing.T) {
	tests := []struct {
		asked, member string // scope of the settings; member of the answer with its comma
		want          string // scope of the token
		narrow, bad   bool
	}{
		{"read write", `"scope":"write read",`, "read write", false, false},
		{"read write", `"scope":"read read write more",`, "more read write", false, false},
		{"read write", ``, "", false, false},
		{"read write", `"scope":null,`, "", false, false},
		{"read write", `"scope":"read",`, "read", true, false},
		{"read write", `"scope":"read writer",`, "read writer", true, false},
		{"read", `"scope":"READ",`, "READ", true, false},
		{"", `"scope":"read",`, "read", false, false},
		{"read", `"scope":"canary\n",`, "", false, true},
		{"read", `"scope":"canary\"",`, "", false, true},
		{"read", `"scope":"canaryé",`, "", false, true},
		{"read", `"scope":"` + strings.Repeat("a", maxScope+1) + `",`, "", false, true},
	}
	s := newScripted(t)
	for _, tt := range tests {
		for _, refuse := range []bool{false, true} {
			u := newTestOAuth2(t, s.url, func(c *OAuth2Config) { c.Scope, c.RefuseNarrow = tt.asked, refuse })
			s.answer(reply{body: `{` + tt.member + goodAnswer(`"canary"`)[1:]})
			token, err := fetch(t, u, "")
			switch {
			case tt.bad:
				wantMalformed(t, token, err, 200)
			case tt.narrow && refuse:
				if e := failure(t, token, err); e.Class != ClassScope || e.Status != 200 {
					t.Errorf("asked %q, got %s: %+v", tt.asked, tt.member, e)
				}
			case err != nil || token.Scope() != tt.want:
				t.Errorf("asked %q, got %s: scope %q, %v, want %q", tt.asked, tt.member, token.Scope(), err, tt.want)
			}
		}
	}
}
