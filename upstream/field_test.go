package upstream

import (
	"fmt"
	"strings"
	"testing"
)

func TestFieldsAreReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]string{
		"X-Api-Key=abc&X-Tenant=7":      "X-Api-Key: abc, X-Tenant: 7",
		"x-api-key=a%2Bb%26c%3Dd+e%20f": "X-Api-Key: a+b&c=d e f",
		"X=a=b":                         "X: a=b",
		"a!#$%25%26'*%2B-.^_`|~=v":      "A!#$%&'*+-.^_`|~: v",
		"Cookie=k%3Dv":                  "Cookie: k=v",
		"Accept=%2A/%2A&X-Tok=1":        "Accept: */*, X-Tok: 1",
	} {
		fields, err := ParseFields(text)
		var got []string
		for _, f := range fields {
			got = append(got, f.Name+": "+f.Value.Reveal())
		}
		if err != nil || strings.Join(got, ", ") != want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
}

// What cannot be sent, or is not for a person to set, is refused, and the error quotes
// nothing of it.
//
// Case FTC1.
func TestBadFieldsAreRefused(t *testing.T) {
	const c = "c4nary"
	for text, want := range map[string]string{
		"":                               "field 1 has no name",
		"X=1&":                           "field 2 has no name",
		"=" + c:                          "field 1 has no name",
		"X-" + c:                         "field 1 has no value",
		"X-" + c + "=":                   "field 1 has no value",
		"X-A=1&X-B=%zz" + c:              "field 2 is not percent-encoded",
		"X-%4=" + c:                      "field 1 is not percent-encoded",
		"X%20" + c + "=1":                "field 1 has a name that no header can have",
		"X%3A" + c + "=1":                "field 1 has a name that no header can have",
		"X%C3%A4" + c + "=1":             "field 1 has a name that no header can have",
		"X=a%0D%0AX:" + c:                "field 1 has a value",
		"X=" + c + "%00":                 "field 1 has a value",
		"X=" + c + "%09x":                "field 1 has a value",
		"X=" + c + "%7F":                 "field 1 has a value",
		"X=" + c + "%C3%A4":              "field 1 has a value",
		"X=" + c + "%FF":                 "field 1 has a value",
		"X=%20" + c:                      "field 1 has a value",
		"X=" + c + "+":                   "field 1 has a value",
		"X-" + c + "=1&Y=2&x-" + c + "=": "field 3 has no value",
		"X-" + c + "=1&Y=2&x-C4NARY=3":   "field 3 has a name that another one has",
		"X-" + c + "=1&X_" + c + "=2":    "field 2 has a name that another one has",
	} {
		if _, err := ParseFields(text); err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(strings.ToLower(err.Error()), c) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for _, name := range strings.Fields("Authorization authorization AUTHORIZATION Proxy-Authorization proxy-x Host Content-Length Transfer-Encoding" +
		" Connection TE te Trailer Upgrade Keep-Alive Expect CDN-Loop X-Token-Subject x-token-x X-Sidecar-Token X_Token_Scope Content_Length proxy_connection") {
		if _, err := ParseFields("X=1&" + name + "=v"); err == nil || err.Error() != "field 2 has a name that is not for you to set" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The text of fixed fields is read once for each of its values, and a new value takes
// effect with the next request.
func TestFixedFieldsFollowTheirSecret(t *testing.T) {
	text := NewSecret("X-Api-Key=c4nary-1")
	f := NewFixedFields("shop", text)
	ask := func() []Field {
		t.Helper()
		fields, err := f.Fields(t.Context(), "GET", "/", nil)
		if err != nil || len(fields) != 1 || fields[0].Name != "X-Api-Key" {
			t.Fatalf("%v, %v", fields, err)
		}
		return fields
	}
	if got := ask()[0].Value.Reveal(); got != "c4nary-1" {
		t.Errorf("the value is %q", got)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = f.Fields(t.Context(), "GET", "/", nil) }); n != 0 {
		t.Errorf("%v allocations for a text that was read before", n)
	}
	text.Replace("X-Api-Key=c4nary-2")
	if got := ask()[0].Value.Reveal(); got != "c4nary-2" {
		t.Errorf("the value is %q after the change", got)
	}
	shown := fmt.Sprintf("%v %+v %#v %v %+v", f, f, f, ask(), ask())
	text.Replace("X-Api-Key=c4nary-3%")
	_, err := f.Fields(t.Context(), "GET", "/", nil)
	if e, ok := err.(*Error); !ok || e.Upstream != "shop" || e.Class != ClassCredential {
		t.Errorf("a bad text: %v", err)
	}
	if shown += err.Error(); strings.Contains(shown, "c4nary") {
		t.Errorf("a value is shown: %s", shown)
	}
	if fields, err := NewFixedFields("shop", Secret{}).Fields(t.Context(), "GET", "/", nil); fields != nil || err != nil {
		t.Errorf("no text: %v, %v", fields, err)
	}
}
