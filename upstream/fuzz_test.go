package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var b64token = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// FuzzTokenAnswer: whatever a token endpoint answers, there is either a usable
// token, and then the answer was well-formed, or an *Error without foreign text.
func FuzzTokenAnswer(f *testing.F) {
	const date = "Thu, 01 Jan 2026 00:00:00 GMT"
	for _, body := range []string{
		goodAnswer(`"abc"`), goodAnswer(`"a b"`), goodAnswer(`"\r\n"`), goodAnswer(`"=="`), goodAnswer(`null`),
		`{"access_token":"a","token_type":"BEARER","expires_in":"3.6e3","scope":"b a b"}`,
		`{"access_token":"a","token_type":"bearer","expires_in":1e400}`,
		`{"access_token":"a","token_type":"bearer","expires_in":-9e18}`,
		`{"access_token":"a","token_type":"bearer","expires_at":"2026-01-01 00:20:00Z"}`,
		`{"access_token":"a","ACCESS_TOKEN":"b","token_type":"bearer"}`,
		`{"access_token":"a","access\u005ftoken":"b","token_type":"bearer"}`,
		`{"error":"invalid_client"}`, `{"error":{"x":[1,2]}}`, `{"a":[[[[{}]]]]}`, "\ufeff{}", "{}x", "{,}", `{"a":1,}`, "null", "[]", "", "<html>",
	} {
		f.Add(200, []byte(body), "", "")
		f.Add(429, []byte(body), "120", date)
	}
	f.Add(503, []byte(nil), "Thu, 01 Jan 2026 00:02:00 GMT", date)
	f.Add(400, []byte(nil), "99999999999999999999", "")
	f.Add(401, []byte(nil), "-9223372036854775808", "Mon, 01 Jan 0001 00:00:00 GMT")

	e := newTestOAuth2(f, "http://token.example", nil).endpoint
	key := Key{Upstream: "shop", Kind: KindClient, Scope: "read"}
	f.Fuzz(func(t *testing.T, status int, body []byte, retry, date string) {
		e.client.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: status, Body: io.NopCloser(bytes.NewReader(body)),
				Header: http.Header{"Retry-After": {retry}, "Date": {date}},
			}, nil
		})
		token, err := e.exchange(t.Context(), key, message{})
		if err == nil {
			if status != http.StatusOK {
				t.Fatalf("a token came with status %d", status)
			}
			checkToken(t, token, body)
			return
		}
		var refused *Error
		if !errors.As(err, &refused) || !token.IsZero() {
			t.Fatalf("error is %T with token zero %t", err, token.IsZero())
		}
		if refused.RetryAfter < 0 || refused.RetryAfter > time.Hour {
			t.Errorf("wait %v", refused.RetryAfter)
		}
		if _, known := codeClasses[refused.Code]; (refused.Code != "" && !known) || reasons[refused.Class] == "" || refused.Status != status {
			t.Errorf("error is %+v", refused)
		}
		if i := strings.IndexFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 || len(err.Error()) > 200 {
			t.Errorf("error is %q", err)
		}
	})
}

// checkToken compares a token with the answer that it was read from, as
// encoding/json understands that.
func checkToken(t *testing.T, token Token, body []byte) {
	var want map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // a life may overflow a float
	if err := d.Decode(&want); err != nil || want == nil || !json.Valid(body) {
		t.Fatalf("a token came of %q: %v", body, err)
	}
	if want["access_token"] != token.AccessToken() || !b64token.MatchString(token.AccessToken()) || len(token.AccessToken()) > 16<<10 {
		t.Errorf("the token of %q is %q", body, token.AccessToken())
	}
	if kind, _ := want["token_type"].(string); !strings.EqualFold(kind, "bearer") || want["error"] != nil {
		t.Errorf("a token came of %q", body)
	}
	names := map[string]bool{}
	for name := range want {
		folded := strings.ToUpper(name)
		if names[folded] {
			t.Errorf("a token came of %q, which has two %q", body, folded)
		}
		names[folded] = true
	}
	if life := token.Expiry().Sub(token.Issued()); life < time.Second || life > 24*time.Hour {
		t.Errorf("life is %v", life)
	}
	items := strings.Fields(token.Scope())
	if !ValidScope(token.Scope()) || !slices.IsSorted(items) || len(slices.Compact(slices.Clone(items))) != len(items) {
		t.Errorf("scope is %q", token.Scope())
	}
}

// FuzzKeyCanonical: a form belongs to one key.
func FuzzKeyCanonical(f *testing.F) {
	f.Add("p", "k", "a:b", "c", "p", "k", "a", "b:c")
	f.Add("", "", "", "", "", "", "\x00", "")
	f.Add("p", "k", "q\x00r", "", "p", "k", "q", "r")
	f.Add("p:q", "k", "r", "s", "p", "k", "q:r", "s")
	f.Add("\x01", "\x01", "", "", "", "\x01\x01", "", "")
	f.Add(strings.Repeat("a", 127), "", "", "", strings.Repeat("a", 128), "", "", "")
	f.Add("", "", strings.Repeat("a", 256), "", "", "", strings.Repeat("a", 1<<14), "")
	f.Fuzz(func(t *testing.T, a1, a2, a3, a4, b1, b2, b3, b4 string) {
		a, b := Key{a1, Kind(a2), a3, a4}, Key{b1, Kind(b2), b3, b4}
		if (a == b) != bytes.Equal(a.AppendCanonical(nil), b.AppendCanonical(nil)) {
			t.Errorf("%q and %q: equal %t, but not so their forms", a, b, a == b)
		}
		for _, k := range []Key{a, b} {
			if back, ok := readCanonical(k.AppendCanonical(nil)); !ok || back != k {
				t.Errorf("%q was read back from the form of %q", back, k)
			}
		}
	})
}
