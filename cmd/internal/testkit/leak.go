package testkit

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// anyToken matches what the simulated providers issue.
var anyToken = regexp.MustCompile(`(svc-|ptc-|mdx-|at\+|tk_|hapi-|atrt-|eyJ)[A-Za-z0-9+/_-]{10}`)

// AssertNoLeak fails the test if text holds a token of a simulated provider, or a
// secret in any form that it may take: as it is, or encoded for a URL or as
// base64.
func AssertNoLeak(t testing.TB, text string, secrets ...string) {
	t.Helper()
	if found := anyToken.FindString(text); found != "" {
		t.Errorf("a token: %s", found)
	}
	for _, secret := range secrets {
		forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret)}
		for shift := range 3 { // base64 looks different at each offset
			encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
			forms = append(forms, encoded[min(4, len(encoded)/2):len(encoded)-2])
		}
		for _, form := range slices.Clone(forms) {
			forms = append(forms, strings.NewReplacer("+", "-", "/", "_").Replace(form))
		}
		for _, form := range forms {
			if strings.Contains(text, form) {
				t.Errorf("%q is in the output", form)
			}
		}
	}
}
