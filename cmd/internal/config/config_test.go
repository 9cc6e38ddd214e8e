package config

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/testkit"
)

func ringKey(id string, first byte) string {
	key := make([]byte, 32)
	for i := range key {
		key[i] = first + byte(i)*7
	}
	return id + ":" + base64.StdEncoding.EncodeToString(key)
}

// pdxWith is the least good configuration and more. A later setting of a name replaces an earlier one.
func pdxWith(more ...string) []string {
	return with([]string{"PDX_CLIENT_ID=id", "PDX_CLIENT_SECRET=" + testkit.Canary}, more...)
}

func oauth2With(more ...string) []string {
	return with([]string{
		"OAUTH2_0_NAME=books", "OAUTH2_0_TARGET=https://api.example.org", "OAUTH2_0_TOKEN_URL=https://id.example.org/token",
		"OAUTH2_0_CLIENT_ID=id", "OAUTH2_0_CLIENT_SECRET=" + testkit.Canary,
	}, more...)
}

// with prefixes the settings; one of the form -NAME removes NAME.
func with(base []string, more ...string) []string {
	var environ []string
	for _, entry := range slices.Concat(base, more) {
		if name, ok := strings.CutPrefix(entry, "-"); ok {
			environ = slices.DeleteFunc(environ, func(e string) bool { return strings.HasPrefix(e, "SIDECAR_"+name+"=") })
			continue
		}
		environ = append(environ, "SIDECAR_"+entry)
	}
	return environ
}

func mustParse(t *testing.T, environ []string) *Config {
	t.Helper()
	c, err := Parse(environ, goredis.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func faultsOf(t *testing.T, environ []string) []Fault {
	t.Helper()
	_, err := Parse(environ, goredis.Driver{})
	var faults *Error
	if !errors.As(err, &faults) || len(faults.Faults) == 0 {
		t.Fatalf("Parse error = %v, want a Error with faults", err)
	}
	if strings.Contains(err.Error(), testkit.Canary) {
		t.Errorf("the error holds a secret:\n%v", err)
	}
	return faults.Faults
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCredentialsAloneAreEnough(t *testing.T) {
	key := strings.ReplaceAll(testkit.PrivateKey(), "\n", `\n`)
	for name, test := range map[string]struct {
		environ []string
		on      func(c *Config) bool
		token   func(c *Config) string
		url     string
		target  func(c *Config) string
		host    string
	}{
		"mydatahelps": {
			with([]string{"MYDATAHELPS_SERVICE_ACCOUNT=MyDataHelps.1.x", "MYDATAHELPS_PRIVATE_KEY=" + key}),
			func(c *Config) bool { return c.MyDataHelps.On() },
			func(c *Config) string { return c.MyDataHelps.Audience },
			"https://mydatahelps.org/identityserver/connect/token",
			func(c *Config) string { return c.MyDataHelps.Targets.String() }, "designer=https://designer.mydatahelps.org",
		},
		"pdx": {
			pdxWith(), func(c *Config) bool { return c.PDX.On() },
			func(c *Config) string { return c.PDX.TokenURL.String() }, "https://op.mydexid.org/oauth2/token",
			func(c *Config) string { return c.PDX.Target.String() }, "https://api.mydex.org",
		},
		"pdx sandbox": {
			pdxWith("PDX_ENVIRONMENT=sandbox"), func(c *Config) bool { return c.PDX.On() },
			func(c *Config) string { return c.PDX.TokenURL.String() }, "https://sbx-op.mydexid.org/oauth2/token",
			func(c *Config) string { return c.PDX.Target.String() + c.PDX.Targets.String() }, "https://sbx-api.mydex.org",
		},
		"oclc": {
			with([]string{"OCLC_WSKEY=k", "OCLC_SECRET=s=="}), func(c *Config) bool { return c.OCLC.On() },
			func(c *Config) string { return c.OCLC.TokenURL.String() }, "https://oauth.oclc.org/token",
			func(c *Config) string { return c.OCLC.Target.String() }, "https://metadata.api.oclc.org",
		},
		"oclc hmac": {
			with([]string{"OCLC_WSKEY=k", "OCLC_SECRET=s==", "OCLC_AUTH=hmac", "OCLC_INSTITUTION=128807"}),
			func(c *Config) bool { return c.OCLC.On() },
			func(c *Config) string { return c.OCLC.TokenURL.String() }, "https://authn.sd00.worldcat.org/oauth2/accessToken",
			func(c *Config) string { return c.OCLC.Targets.String() }, "discovery=https://americas.discovery.api.oclc.org",
		},
		"humanapi": {
			with([]string{"HUMANAPI_CLIENT_ID=i", "HUMANAPI_CLIENT_SECRET=s"}), func(c *Config) bool { return c.HumanAPI.On() },
			func(c *Config) string { return c.HumanAPI.TokenURL.String() }, "https://auth.humanapi.co/v1/connect/token",
			func(c *Config) string { return c.HumanAPI.Targets.String() }, "",
		},
		"humanapi hip": {
			with([]string{"HUMANAPI_CLIENT_ID=i", "HUMANAPI_CLIENT_SECRET=s", "HUMANAPI_HIP=true", "VEND=humanapi"}),
			func(c *Config) bool { return c.HumanAPI.On() },
			func(c *Config) string { return c.HumanAPI.TokenURL.String() }, "https://auth.humanapi.co/v1/admin/token",
			func(c *Config) string { return c.HumanAPI.Targets.String() }, "admin=https://admin.humanapi.co",
		},
		"oauth2 with a key": {
			oauth2With("-OAUTH2_0_CLIENT_SECRET", "OAUTH2_0_AUTH=private_key_jwt", "OAUTH2_0_PRIVATE_KEY="+testkit.PrivateKey()),
			func(c *Config) bool { return len(c.OAuth2) == 1 && c.OAuth2[0].Name == "books" },
			func(c *Config) string { return c.OAuth2[0].Audience }, "https://id.example.org/token",
			func(c *Config) string { return c.OAuth2[0].Target.String() }, "https://api.example.org",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustParse(t, test.environ)
			if !test.on(c) || test.token(c) != test.url || test.target(c) != test.host {
				t.Errorf("on %t, token URL %q, targets %q", test.on(c), test.token(c), test.target(c))
			}
		})
	}
}

func TestWhatIsNotSetHasTheDocumentedDefault(t *testing.T) {
	c := mustParse(t, pdxWith())
	if c.Listen != (Listener{"tcp", "127.0.0.1:8080"}) || c.AdminListen.Address != "127.0.0.1:9090" || c.MaxTokens != 10000 ||
		c.RefreshAhead != 0.2 || c.ReplayLimit != 64<<10 || c.TokenTimeout != 10*time.Second || c.TokenRate != 100 ||
		strings.Join(c.ReplayMethods, " ") != "GET HEAD OPTIONS PUT DELETE" || c.PDX.NarrowScope != "serve" || c.Redis.On() ||
		c.PDX.DefaultLifetime != time.Hour || c.MyDataHelps.DelegatedClientSecret.Reveal() != "secret" {
		t.Errorf("defaults: %+v", c)
	}
}

func TestTokenBudgetsAreReadPerSecond(t *testing.T) {
	redis := []string{"REDIS_URL=redis://h", "REDIS_KEYS=" + ringKey("a", 1)}
	if b := mustParse(t, pdxWith(redis...)).Budgets(); len(b) != 0 {
		t.Errorf("nobody set a budget, and there are %v", b)
	}
	for text, want := range map[string]float64{
		"9/s": 9, "100/m": 100.0 / 60, "1/m": 1.0 / 60, "100000/s": 100000, "6000000/m": 100000, "0.5/s": 0.5, "1.25/m": 1.25 / 60, "0009.50/s": 9.5,
	} {
		c := mustParse(t, pdxWith(append(redis, "PDX_TOKEN_BUDGET="+text)...))
		if b := c.Budgets(); len(b) != 1 || b["pdx"] != want {
			t.Errorf("%s gives %v, want %v for pdx", text, b, want)
		}
	}
	// Every provider takes one, and those that are off give none.
	c := mustParse(t, oauth2With(append(redis, "OAUTH2_0_TOKEN_BUDGET=9/s", "OCLC_WSKEY=k", "OCLC_SECRET=s", "OCLC_TOKEN_BUDGET=2/s",
		"HUMANAPI_CLIENT_ID=i", "HUMANAPI_CLIENT_SECRET=s", "HUMANAPI_TOKEN_BUDGET=3/s", "PDX_CLIENT_ID=i", "PDX_CLIENT_SECRET=s",
		"MYDATAHELPS_SERVICE_ACCOUNT=a", "MYDATAHELPS_PRIVATE_KEY="+testkit.PrivateKey(), "MYDATAHELPS_TOKEN_BUDGET=4/s")...))
	want := map[string]float64{"books": 9, "oclc": 2, "humanapi": 3, "mydatahelps": 4}
	if b := c.Budgets(); !maps.Equal(b, want) {
		t.Errorf("budgets %v, want %v", b, want)
	}
}

// What is shown of a rate, in the settings in force, means
// the same when it is set.
func TestRatesReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]string{
		"9/s": "9/s", "100/m": "100/m", "1/m": "1/m", "540/m": "9/s", "0.5/s": "30/m", "2.5/s": "2.5/s", "1.25/m": "1.25/m", "100000/s": "100000/s",
	} {
		r, flaw := parseRate(text)
		if flaw != nil || r.String() != want {
			t.Errorf("%s is shown as %q, want %q", text, r, want)
		}
		if again, flaw := parseRate(r.String()); flaw != nil || math.Abs(float64(again/r)-1) > 1e-9 {
			t.Errorf("%s is shown as %s, which is %v", text, r, float64(again))
		}
	}
	if s := Rate(0).String(); s != "" {
		t.Errorf("no rate is shown as %q", s)
	}
	var out bytes.Buffer
	c := mustParse(t, pdxWith("REDIS_URL=redis://h", "REDIS_KEYS="+ringKey("a", 1), "PDX_TOKEN_BUDGET=100/m"))
	if err := c.WriteEffective(&out); err != nil || !regexp.MustCompile(`(?m)^SIDECAR_PDX_TOKEN_BUDGET +100/m +variable$`).Match(out.Bytes()) {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

func TestGoodSettingsAreTaken(t *testing.T) {
	for _, environ := range [][]string{
		pdxWith("LISTEN=localhost:0", "ADMIN_LISTEN=localhost:0"),
		pdxWith("LISTEN=[::1]:8080"),
		pdxWith("LISTEN=unix:" + filepath.Join(t.TempDir(), "s")),
		pdxWith("ADMIN_LISTEN=:9090", "EXPOSE=admin"),
		pdxWith("LISTEN=0.0.0.0:8080", "EXPOSE=true"),
		pdxWith("PDX_TARGET=http://localhost:9999/base/", "PDX_TOKEN_URL=http://[::1]:9999/token"),
		pdxWith("PDX_TARGET=http://api.test", "INSECURE_HTTP=true"),
		pdxWith("REPLAY_METHODS=none", "REPLAY_LIMIT=0B"),
		pdxWith("REDIS_URL=redis://:"+testkit.Canary+"@127.0.0.1:6379/3", "REDIS_KEYS="+ringKey("a", 1)+","+ringKey("b", 2)),
		pdxWith("REDIS_MODE=sentinel", "REDIS_URL=rediss://h:1?master_name=m&addr=i:2", "REDIS_KEYS="+ringKey("a", 1)),
		pdxWith("PDX_CONNECTION_NID=4711", "PDX_CONNECTION_TOKEN=a token with spaces"),
		pdxWith("PDX_CLIENT_ID=id"), // twice, but the same
		append(pdxWith(), "SIDECAR_SERVICE_HOST=10.0.0.1", "SIDECAR_SERVICE_PORT=80", "SIDECAR_SERVICE_PORT_HTTP=80",
			"SIDECAR_PORT=tcp://10.0.0.1:80", "SIDECAR_PORT_8080_TCP=tcp://10.0.0.1:80", "SIDECAR_PORT_8080_TCP_ADDR=10.0.0.1",
			"SIDECAR_REDIS_PORT=tcp://10.0.0.1:80", "PATH=/bin", "junk"),
	} {
		mustParse(t, environ)
	}
}

func TestSecretFileLosesOneLineBreak(t *testing.T) {
	for text, want := range map[string]string{
		"a b": "a b", "ab\n": "ab", "ab\r\n": "ab", "a\u00e9\n": "a\u00e9",
	} {
		c := mustParse(t, with([]string{"PDX_CLIENT_ID=id", "PDX_CLIENT_SECRET_FILE=" + writeFile(t, text)}))
		if got := c.PDX.ClientSecret.Reveal(); got != want {
			t.Errorf("file %q gives %q, want %q", text, got, want)
		}
	}
}

// TestVariableLosesOneLineBreak, as Kubernetes makes one of a file.
func TestVariableLosesOneLineBreak(t *testing.T) {
	for _, end := range []string{"\n", "\r\n"} {
		c, err := Parse(testkit.Environ("PDX_CLIENT_ID=id"+end, "PDX_CLIENT_SECRET=secret"+end), goredis.Driver{})
		if err != nil || c.PDX.ClientID != "id" || c.PDX.ClientSecret.Reveal() != "secret" {
			t.Errorf("%q: %v", end, err)
		}
	}
	if _, err := Parse(testkit.Environ("PDX_CLIENT_ID=id", "PDX_CLIENT_SECRET=secret\n\n"), goredis.Driver{}); err == nil {
		t.Error("two are taken")
	}
}

func TestKeyRingKeepsTheOrderOfItsKeys(t *testing.T) {
	c := mustParse(t, pdxWith("REDIS_URL=redis://h", "REDIS_KEYS="+ringKey("new", 9)+","+ringKey("old", 3)))
	ring := c.Redis.KeyRing()
	if len(ring) != 2 || ring[0].ID != "new" || len(ring[1].Key.Reveal()) != 32 || ring[1].Key.Reveal()[0] != 3 {
		t.Errorf("ring of %d keys: %+v", len(ring), ring)
	}
}

// Case I9.
func TestNothingPrintsASecret(t *testing.T) {
	c := mustParse(t, pdxWith("CALLER_TOKEN="+testkit.Canary, "REDIS_URL=redis://u:"+testkit.Canary+"@redis.test:6379/0?client_name="+testkit.Canary,
		"PDX_CONNECTION_NID=4711", "PDX_CONNECTION_TOKEN="+testkit.Canary, "REDIS_KEYS="+ringKey(testkit.Canary, 1), "LISTEN=:8080", "EXPOSE=true"))
	var out bytes.Buffer
	if err := c.WriteEffective(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"redis://[redacted]@redis.test:6379/0 ", "SIDECAR_PDX_CLIENT_SECRET ", "SIDECAR_OCLC_*",
		"https://op.mydexid.org/oauth2/token",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(encoded)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&out, verb+verb, c, *c)
	}
	out.WriteString(strings.Join(c.Warnings(), "\n"))
	if strings.Contains(out.String(), testkit.Canary) || strings.Contains(out.String(), fmt.Sprintf("%x", testkit.Canary)) {
		t.Error("a secret is printed")
	}
	if len(c.Warnings()) != 2 || !strings.Contains(c.Warnings()[1], "TLS_CERT") {
		t.Errorf("warnings: %q, want one about the Redis password and one about requests in clear", c.Warnings())
	}
}
