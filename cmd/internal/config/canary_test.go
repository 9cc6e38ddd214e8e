package config

import (
	"slices"
	"strings"
	"testing"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/testkit"
)

// everything turns on all that settings may belong to, with no canary in it.
func everything() []string {
	return with([]string{
		"MYDATAHELPS_SERVICE_ACCOUNT=a", "MYDATAHELPS_PRIVATE_KEY=" + testkit.PrivateKey(), "PDX_CLIENT_ID=id", "PDX_CLIENT_SECRET=s",
		"OCLC_WSKEY=k", "OCLC_SECRET=s", "HUMANAPI_CLIENT_ID=id", "HUMANAPI_CLIENT_SECRET=s", "REDIS_URL=rediss://h", "REDIS_KEYS=" + ringKey("a", 1),
		"OAUTH2_0_NAME=books", "OAUTH2_0_TARGET=https://h", "OAUTH2_0_TOKEN_URL=https://h", "OAUTH2_0_CLIENT_ID=id", "OAUTH2_0_CLIENT_SECRET=s",
	})
}

// TestNoFaultQuotesAValue puts a credential into each variable there is, as people do by
// mistake, in the forms that a credential has in URLs, lists and lines.
func TestNoFaultQuotesAValue(t *testing.T) {
	mustParse(t, everything())
	const canary = testkit.Canary
	dir := t.TempDir()
	for _, s := range sampleSettings() {
		name := strings.Replace(s.name, "<n>", "0", 1)
		var entries []string
		for _, value := range []string{
			canary, "user:" + canary, "https://user:" + canary + "@h", "token=" + canary, "GET," + canary, canary + "," + canary,
			"a=https://" + canary + "@h", "redis://h/" + canary, "unix:" + canary, "unix:" + dir + "/" + canary + "/x", canary + ":http",
			"/nowhere/" + canary, "9/" + canary, "a:" + canary, canary + " ", canary + "\x01", canary + "\xff",
		} {
			entries = append(entries, name+"="+value)
			if s.tag("file") != "" {
				entries = append(entries, name+"_FILE="+writeFile(t, value))
			}
		}
		for _, entry := range append(entries, name+"_FILE=/nowhere/"+canary, name+":"+canary+"==") {
			environ := slices.DeleteFunc(everything(), func(e string) bool {
				// The key of MyDataHelps takes the most time to read, so that it is left out elsewhere.
				elsewhere := strings.HasPrefix(e, "SIDECAR_MYDATAHELPS_") && !strings.HasPrefix(name, "SIDECAR_MYDATAHELPS_")
				return elsewhere || strings.HasPrefix(e, name+"=")
			})
			if _, err := Parse(append(environ, entry), goredis.Driver{}); err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("%q:\n%v", entry, err)
			}
		}
		if _, err := Parse(append(everything(), name+"="+canary+" "), goredis.Driver{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: no fault for a value with white space behind it, but %v", name, err)
		}
	}
}
