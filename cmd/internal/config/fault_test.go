package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"token-sidecar/cmd/internal/testkit"
)

// wrong is a configuration and the variables that its faults must name, all of them.
type wrong struct {
	environ []string
	names   string // space-separated, without SIDECAR_
	says    string // part of the first fault
}

func checkWrong(t *testing.T, tests []wrong) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.names+" "+test.says, func(t *testing.T) {
			var names []string
			faults := faultsOf(t, test.environ)
			for _, f := range faults {
				names = append(names, strings.TrimPrefix(f.Variable, "SIDECAR_"))
				if f.Problem == "" || f.Mend == "" || strings.Contains(f.Error(), "\n") {
					t.Errorf("fault %q is not one line with a problem and a mend", f.Error())
				}
			}
			if want := strings.Fields(test.names); !slices.Equal(names, want) {
				t.Errorf("faults name %q, want %q:\n%v", names, want, faults)
			}
			if !strings.Contains(faults[0].Error(), test.says) {
				t.Errorf("fault %q does not say %q", faults[0], test.says)
			}
		})
	}
}

// Cases K1, K5.
func TestWrongGeneralSettingsAreRefused(t *testing.T) {
	file := writeFile(t, "x")
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, certificate := pemKey(t, other)
	checkWrong(t, []wrong{
		{nil, "MYDATAHELPS_SERVICE_ACCOUNT", "nor is any other"},
		{pdxWith("LISTNE=127.0.0.1:1"), "LISTNE", "did you mean SIDECAR_LISTEN?"},
		{pdxWith("PDX_CLIENT_SECERT=" + testkit.Canary), "PDX_CLIENT_SECERT", "did you mean SIDECAR_PDX_CLIENT_SECRET?"},
		{pdxWith("ADMIN_PORT=9090"), "ADMIN_PORT", "is not a setting"},
		{append(pdxWith(), "sidecar_listen=x"), "sidecar_listen", "did you mean SIDECAR_LISTEN?"},
		{pdxWith("CALLER_TOKEN: " + testkit.Canary + "=="), "CALLER_TOKEN...", "did you mean SIDECAR_CALLER_TOKEN?"},
		{pdxWith("MAX_TOKENS=1", "MAX_TOKENS=2"), "MAX_TOKENS", "twice"},
		{pdxWith("MAX_TOKENS=0"), "MAX_TOKENS", "less than 1"},
		{pdxWith("MAX_TOKENS=10000001"), "MAX_TOKENS", "more than"},
		{pdxWith("MAX_TOKENS=many"), "MAX_TOKENS", "not a whole number"},
		{pdxWith("REFRESH_AHEAD=0"), "REFRESH_AHEAD", "not above 0"},
		{pdxWith("REFRESH_AHEAD=0.91"), "REFRESH_AHEAD", "more than 0.9"},
		{pdxWith("REFRESH_AHEAD=NaN"), "REFRESH_AHEAD", "not a number"},
		{pdxWith("TOKEN_RATE=-1"), "TOKEN_RATE", "not above 0"},
		{pdxWith("TOKEN_TIMEOUT=0s"), "TOKEN_TIMEOUT", "less than"},
		{pdxWith("TOKEN_TIMEOUT=1h"), "TOKEN_TIMEOUT", "more than 2m"},
		{pdxWith("TARGET_TIMEOUT=-5s"), "TARGET_TIMEOUT", "less than"},
		{pdxWith("TARGET_TIMEOUT=10"), "TARGET_TIMEOUT", "10s"},
		{pdxWith("TARGET_TIMEOUT=1e9h"), "TARGET_TIMEOUT", "not a duration"},
		{pdxWith("DRAIN_DELAY=-1s"), "DRAIN_DELAY", "less than 0s"},
		{pdxWith("DRAIN_TIMEOUT=0s"), "DRAIN_TIMEOUT", "less than"},
		{pdxWith("REPLAY_LIMIT=64KB"), "REPLAY_LIMIT", "64KiB"},
		{pdxWith("REPLAY_LIMIT=9999999999GiB"), "REPLAY_LIMIT", "not a size"},
		{pdxWith("REPLAY_METHODS=GET,CONNECT"), "REPLAY_METHODS", "item 2"},
		{pdxWith("REPLAY_METHODS=TRACE"), "REPLAY_METHODS", "item 1"},
		{pdxWith("REPLAY_METHODS=get"), "REPLAY_METHODS", "item 1"},
		{pdxWith("LOG_LEVEL=verbose"), "LOG_LEVEL", "trace,debug"},
		{pdxWith("LOG_FORMAT=text"), "LOG_FORMAT", "json,console"},
		{pdxWith("INSECURE_HTTP=yes"), "INSECURE_HTTP", "true or false"},
		{pdxWith("EXPOSE=1"), "EXPOSE", "false,admin,true"},
		{pdxWith("ALLOWED_HOSTS=*.test"), "ALLOWED_HOSTS", "no host in item 1"},
		{pdxWith("ALLOWED_HOSTS=b.test,a.test:80"), "ALLOWED_HOSTS", "no host"},
		{pdxWith("ALLOWED_HOSTS=a,,b"), "ALLOWED_HOSTS", "empty item"},
		{pdxWith("CALLER_TOKEN="), "CALLER_TOKEN", "is empty"},
		{pdxWith("TLS_CERT=" + testkit.Canary), "TLS_CERT TLS_KEY", "CERTIFICATE blocks"},
		{pdxWith("TLS_KEY=" + testkit.PrivateKey()), "TLS_CERT", "is not set, but SIDECAR_TLS_KEY is"},
		{pdxWith("TLS_CERT="+certificate, "TLS_KEY="+testkit.PrivateKey()), "TLS_KEY", "do not belong together"},
		{pdxWith("TLS_CERT="+certificate, "TLS_KEY="+testkit.Canary), "TLS_KEY", "no private key"},
		{pdxWith("TLS_CERT="+certificate, "TLS_KEY=-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"), "TLS_KEY", "encrypted or of no known form"},
		{pdxWith("TLS_CLIENT_CA=" + certificate), "TLS_CERT", "is not set, but SIDECAR_TLS_CLIENT_CA is"},
		{pdxWith("CALLERS=app short"), "CALLERS", "line 1 has a token of less than 16"},
		{pdxWith("CALLERS_FILE=" + writeFile(t, "# all\napp 0123456789abcdef\n"+testkit.Canary)), "CALLERS_FILE", "line 3 is not a name and a token"},
		{pdxWith("CALLER_TOKEN=" + testkit.Canary + " x"), "CALLER_TOKEN", "header"},
		{pdxWith("CA_FILE=/nowhere"), "CA_FILE", "no such file"},
		{pdxWith("CA_FILE=" + file), "CA_FILE", "without a certificate"},
		{pdxWith("VEND=pdx"), "VEND", "item 1; remove it"},
		{pdxWith("VEND=humanapi"), "VEND", "no configured route"},
	})
}

// Cases B12, K3.
func TestWrongListenersAreRefused(t *testing.T) {
	file := writeFile(t, "x")
	checkWrong(t, []wrong{
		{pdxWith("LISTEN=:8080"), "LISTEN", "not a loopback"},
		{pdxWith("LISTEN=0.0.0.0:8080"), "LISTEN", "EXPOSE"},
		{pdxWith("LISTEN=[::]:8080", "EXPOSE=admin"), "LISTEN", "EXPOSE=true"},
		{pdxWith("LISTEN=example.org:8080"), "LISTEN", "not a loopback"},
		{pdxWith("ADMIN_LISTEN=:9090"), "ADMIN_LISTEN", "EXPOSE=admin"},
		{pdxWith("PDX_LISTEN=10.0.0.1:1"), "PDX_LISTEN", "not a loopback"},
		{pdxWith("LISTEN=8080"), "LISTEN", "not an address"},
		{pdxWith("LISTEN=127.0.0.1:65536"), "LISTEN", "port"},
		{pdxWith("LISTEN=127.0.0.1:http"), "LISTEN", "port"},
		{pdxWith("LISTEN=127.0.0.1:+80"), "LISTEN", "port"},
		{pdxWith("LISTEN=a b:80"), "LISTEN", "host"},
		{pdxWith("LISTEN=unix:relative"), "LISTEN", "absolute"},
		{pdxWith("LISTEN=unix:/" + strings.Repeat("x", 103)), "LISTEN", "103 bytes"},
		{pdxWith("LISTEN=unix:" + file), "LISTEN", "not a socket"},
		{pdxWith("LISTEN=unix:/nowhere/at/all"), "LISTEN", "directory"},
		{pdxWith("ADMIN_LISTEN=127.0.0.1:8080"), "ADMIN_LISTEN", "SIDECAR_LISTEN"},
		{pdxWith("PDX_LISTEN=localhost:8080"), "PDX_LISTEN", "SIDECAR_LISTEN"},
		{pdxWith("PDX_LISTEN=:9090", "EXPOSE=true"), "PDX_LISTEN", "SIDECAR_ADMIN_LISTEN"},
		{pdxWith("PDX_TARGET=http://127.0.0.1:8080"), "PDX_TARGET", "own SIDECAR_LISTEN"},
		{pdxWith("PDX_TOKEN_URL=http://localhost:9090/token"), "PDX_TOKEN_URL", "own SIDECAR_ADMIN_LISTEN"},
		{pdxWith("PDX_TARGETS=a=http://127.0.0.9:8080", "LISTEN=:8080", "EXPOSE=true"), "PDX_TARGETS", "own SIDECAR_LISTEN"},
		{pdxWith("PDX_TARGET=http://localhost:7", "LISTEN=[::1]:7"), "PDX_TARGET", "own SIDECAR_LISTEN"},
	})
}

// Case K2.
func TestWrongURLsAreRefused(t *testing.T) {
	var tests []wrong
	for value, says := range map[string]string{
		"ftp://h": "scheme", "api.mydex.org": "scheme", "https://": "host", "https://u:" + testkit.Canary + "@h": "userinfo",
		"https://h/#" + testkit.Canary: "fragment", "https://h/?key=" + testkit.Canary: "query", "https://h:0": "port", "https://h:99999": "port",
		"https://h:": "port", "https://h/a/../b": "dots", "https://h/%2e": "dots", "https://" + testkit.Canary + " x": "not a URL",
		"https:h": "not a URL", "https://h:" + testkit.Canary: "not a URL", "https://a*b": "host", "http://h": "INSECURE_HTTP",
	} {
		tests = append(tests, wrong{pdxWith("PDX_TARGET=" + value), "PDX_TARGET", says},
			wrong{pdxWith("PDX_TOKEN_URL=" + value), "PDX_TOKEN_URL", says},
			wrong{pdxWith("PDX_TARGETS=x=" + value), "PDX_TARGETS", says})
	}
	checkWrong(t, append(tests,
		wrong{pdxWith("PDX_TARGETS=https://h"), "PDX_TARGETS", "name"},
		wrong{pdxWith("PDX_TARGETS=A=https://h"), "PDX_TARGETS", "name"},
		wrong{pdxWith("PDX_TARGETS=a=https://h,a=https://i"), "PDX_TARGETS", "twice"},
	))
}

// Case K7.
func TestWrongSecretsAreRefused(t *testing.T) {
	without := func(more ...string) []string { return pdxWith(append([]string{"-PDX_CLIENT_SECRET"}, more...)...) }
	fromFile := func(text string) []string { return without("PDX_CLIENT_SECRET_FILE=" + writeFile(t, text)) }
	checkWrong(t, []wrong{
		{without(), "PDX_CLIENT_SECRET", "SIDECAR_PDX_CLIENT_ID is"},
		{pdxWith("-PDX_CLIENT_ID"), "PDX_CLIENT_ID", "is not set"},
		{without("PDX_CLIENT_SECRET="), "PDX_CLIENT_SECRET", "is empty"},
		{without("PDX_CLIENT_SECRET=  "), "PDX_CLIENT_SECRET", "white space"},
		{without("PDX_CLIENT_SECRET= " + testkit.Canary), "PDX_CLIENT_SECRET", "white space around"},
		{without("PDX_CLIENT_SECRET=" + testkit.Canary + "\x01x"), "PDX_CLIENT_SECRET", "control character"},
		{without("PDX_CLIENT_SECRET=" + testkit.Canary + "\xff"), "PDX_CLIENT_SECRET", "UTF-8"},
		{without("PDX_CLIENT_SECRET=\uFEFF" + testkit.Canary), "PDX_CLIENT_SECRET", "white space"},
		{pdxWith("PDX_CLIENT_SECRET_FILE=" + writeFile(t, testkit.Canary)), "PDX_CLIENT_SECRET_FILE", "SIDECAR_PDX_CLIENT_SECRET too"},
		{without("PDX_CLIENT_SECRET_FILE=/nowhere/" + testkit.Canary), "PDX_CLIENT_SECRET_FILE", "no such file"},
		{without("PDX_CLIENT_SECRET_FILE=" + t.TempDir()), "PDX_CLIENT_SECRET_FILE", "directory"},
		{without("PDX_CLIENT_SECRET_FILE=/dev/null"), "PDX_CLIENT_SECRET_FILE", "not a file"},
		{without("PDX_CLIENT_SECRET_FILE="), "PDX_CLIENT_SECRET_FILE", "is empty"},
		{fromFile(""), "PDX_CLIENT_SECRET_FILE", "is empty"},
		{fromFile("\n"), "PDX_CLIENT_SECRET_FILE", "is empty"},
		{fromFile(testkit.Canary + "\n\n"), "PDX_CLIENT_SECRET_FILE", "white space around"},
		{fromFile(testkit.Canary + "\nx"), "PDX_CLIENT_SECRET_FILE", "control"},
		{fromFile(testkit.Canary + "\xff"), "PDX_CLIENT_SECRET_FILE", "UTF-8"},
		{fromFile(strings.Repeat("x", 64<<10+1)), "PDX_CLIENT_SECRET_FILE", "64 KiB"},
		{pdxWith("PDX_SCOPE_FILE=/x"), "PDX_SCOPE_FILE", "not a setting"},
	})
}

// Roots are often those of a whole system.
func TestLargeBundlesOfRootsAreTaken(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, certificate := pemKey(t, key)
	certificate = strings.ReplaceAll(certificate, `\n`, "\n")
	bundle := func(size int) string { return writeFile(t, strings.Repeat(certificate, size/len(certificate)+1)) }
	if _, err := Parse(pdxWith("CA_FILE="+bundle(400<<10)), nil); err != nil {
		t.Error(err)
	}
	checkWrong(t, []wrong{{pdxWith("CA_FILE=" + bundle(2<<20)), "CA_FILE", "2048 KiB"}})
}

// What writes a secret empties its file first, so another start may find it written.
func TestOnlyFaultsThatMayPassAreTriedAgain(t *testing.T) {
	for _, c := range []struct {
		file    string
		mayPass bool
	}{{writeFile(t, ""), true}, {"/nowhere/secret", true}, {writeFile(t, "\n"), false}, {t.TempDir(), false}} {
		faults := faultsOf(t, pdxWith("-PDX_CLIENT_SECRET", "PDX_CLIENT_SECRET_FILE="+c.file))
		if err := (&Error{faults}); err.MayPass() != c.mayPass {
			t.Errorf("%v may pass: %t", err, err.MayPass())
		}
	}
}

// Case K4.
func TestWrongUpstreamsAreRefused(t *testing.T) {
	mdh := func(key string) []string {
		return with([]string{"MYDATAHELPS_SERVICE_ACCOUNT=a", "MYDATAHELPS_PRIVATE_KEY=" + key})
	}
	oclc := func(more ...string) []string {
		return with([]string{"OCLC_WSKEY=k", "OCLC_SECRET=" + testkit.Canary}, more...)
	}
	human := func(more ...string) []string {
		return with([]string{"HUMANAPI_CLIENT_ID=k", "HUMANAPI_CLIENT_SECRET=" + testkit.Canary}, more...)
	}
	checkWrong(t, []wrong{
		{with([]string{"PDX_SCOPE=mydex:pdx", "PDX_LISTEN=127.0.0.1:1"}), "PDX_SCOPE PDX_LISTEN", "something that is off"},
		{pdxWith("MYDATAHELPS_PARTICIPANT_LISTEN=127.0.0.1:1"), "MYDATAHELPS_PARTICIPANT_LISTEN", "SIDECAR_MYDATAHELPS_PRIVATE_KEY too"},
		{mdh(testkit.Canary), "MYDATAHELPS_PRIVATE_KEY", "PEM"},
		{mdh(testkit.NewPrivateKey(1024)), "MYDATAHELPS_PRIVATE_KEY", "2048"},
		{mdh(testkit.PrivateKey()[:200]), "MYDATAHELPS_PRIVATE_KEY", "PEM"},
		{append(mdh(testkit.PrivateKey()), "SIDECAR_MYDATAHELPS_ASSERTION_LIFETIME=301s"), "MYDATAHELPS_ASSERTION_LIFETIME", "300s"},
		{append(mdh(testkit.PrivateKey()), "SIDECAR_MYDATAHELPS_TARGETS=participant=https://h"), "MYDATAHELPS_TARGETS", "participant"},
		{append(mdh(testkit.PrivateKey()), "SIDECAR_VEND=mydatahelps"), "VEND", "mydatahelps.participant"},
		{pdxWith("PDX_ENVIRONMENT=test"), "PDX_ENVIRONMENT", "live,sandbox"},
		{pdxWith("PDX_SCOPE=a  b"), "PDX_SCOPE", "RFC 6749"},
		{pdxWith(`PDX_ALLOWED_SCOPES=a"b`), "PDX_ALLOWED_SCOPES", "RFC 6749"},
		{pdxWith("PDX_NARROW_SCOPE=warn"), "PDX_NARROW_SCOPE", "serve,refuse"},
		{pdxWith("PDX_DEFAULT_LIFETIME=0s"), "PDX_DEFAULT_LIFETIME", "less than 1s"},
		{pdxWith("PDX_AUTH=post", "PDX_BASIC_ENCODING=plain"), "PDX_BASIC_ENCODING", "unless SIDECAR_PDX_AUTH is basic"},
		{pdxWith("PDX_CONNECTION_NID=4711"), "PDX_CONNECTION_TOKEN", "SIDECAR_PDX_CONNECTION_NID is"},
		{pdxWith("PDX_CONNECTION_TOKEN=" + testkit.Canary), "PDX_CONNECTION_NID", "SIDECAR_PDX_CONNECTION_TOKEN is"},
		{pdxWith("PDX_CONNECTION_NID=4711", "PDX_CONNECTION_TOKEN_FILE=/nowhere"), "PDX_CONNECTION_TOKEN_FILE", "no such file"},
		{pdxWith("PDX_CONNECTION_NID=../4711", "PDX_CONNECTION_TOKEN=x"), "PDX_CONNECTION_NID", "digits"},
		{oclc("OCLC_INSTITUTION=abc"), "OCLC_INSTITUTION", "digits"},
		{oclc("OCLC_SCOPE=wcapi context:1"), "OCLC_SCOPE", "OCLC_INSTITUTION"},
		{oclc("OCLC_ALLOWED_SCOPES=context:1"), "OCLC_ALLOWED_SCOPES", "OCLC_INSTITUTION"},
		{oclc("OCLC_AUTH=hmac"), "OCLC_INSTITUTION", "hmac"},
		{oclc("OCLC_AUTH=hmac", "OCLC_INSTITUTION=x1"), "OCLC_INSTITUTION", "digits"},
		{oclc("OCLC_PARAMETERS=header"), "OCLC_PARAMETERS", "query,body"},
		{human("HUMANAPI_HIP=maybe"), "HUMANAPI_HIP", "true or false"},
		{human("HUMANAPI_TARGETS=admin=https://h"), "HUMANAPI_TARGETS", "HIP"},
		{human("HUMANAPI_ALLOW=GET /v1/", "VEND=humanapi"), "VEND", "remove it, or the ALLOW of humanapi"},
		{pdxWith("PDX_ALLOW=GET /a,GET b"), "PDX_ALLOW", "an item 2 that is not a pattern"},
		{pdxWith("PDX_ALLOW=/{x}/b,/a/{x}"), "PDX_ALLOW", "overlaps"},
		{pdxWith("PDX_ALLOW=GET /a,,/b"), "PDX_ALLOW", "empty item"},
		{pdxWith("PDX_ALLOW=GET /a?b=c"), "PDX_ALLOW", "not a pattern"},
		{pdxWith("PDX_ALLOW=TRACE /a"), "PDX_ALLOW", "not a pattern"},
		{pdxWith("PDX_TARGET=https://api.example/base", "PDX_TARGETS=idaas=https://api.example/base/x", "PDX_ALLOW=/base/a,GET /v1/{id}"), "PDX_ALLOW", "item 2 a pattern that matches nothing below"},
		{human("HUMANAPI_HIP=true", "VEND=humanapi,humanapi.admin"), "VEND", "item 2; choose among humanapi"},
		{oauth2With("-OAUTH2_0_NAME", "OAUTH2_0_NAME=Books"), "OAUTH2_0_NAME", "not a valid name"},
		{oauth2With("-OAUTH2_0_NAME", "OAUTH2_0_NAME=pdx"), "OAUTH2_0_NAME", "reserved"},
		{oauth2With("-OAUTH2_0_NAME", "OAUTH2_0_NAME=token"), "OAUTH2_0_NAME", "reserved"},
		{oauth2With("-OAUTH2_0_NAME", "OAUTH2_0_NAME=jwks"), "OAUTH2_0_NAME", "reserved"}, // as its listener is called
		{oauth2With("-OAUTH2_0_NAME", "OAUTH2_0_NAME=data"), "OAUTH2_0_NAME", "reserved"},
		{oauth2With("-OAUTH2_0_NAME", "OAUTH2_0_NAME=none"), "OAUTH2_0_NAME", "reserved"}, // the route of refused requests
		{oauth2With("-OAUTH2_0_NAME"), "OAUTH2_0_NAME", "is not set"},
		{oauth2With("-OAUTH2_0_TARGET"), "OAUTH2_0_TARGET", "is not set"},
		{oauth2With("-OAUTH2_0_TOKEN_URL"), "OAUTH2_0_TOKEN_URL", "is not set"},
		{oauth2With("-OAUTH2_0_CLIENT_SECRET"), "OAUTH2_0_CLIENT_SECRET", "is not set"},
		{oauth2With("OAUTH2_0_AUTH=digest"), "OAUTH2_0_AUTH", "basic,post"},
		{oauth2With("OAUTH2_0_AUTH=private_key_jwt"), "OAUTH2_0_CLIENT_SECRET OAUTH2_0_PRIVATE_KEY", "is set, but"},
		{oauth2With("OAUTH2_0_PRIVATE_KEY=" + testkit.PrivateKey()), "OAUTH2_0_PRIVATE_KEY", "AUTH is basic"},
		{oauth2With("OAUTH2_0_AUDIENCE=x"), "OAUTH2_0_AUDIENCE", "no assertion is signed"},
		{oauth2With("OAUTH2_2_NAME=x"), "OAUTH2_1_NAME", "without a gap"},
		{oauth2With("OAUTH2_00_NAME=x"), "OAUTH2_00_NAME", "did you mean SIDECAR_OAUTH2_0_NAME?"},
		{
			slices.Concat(oauth2With(), with([]string{
				"OAUTH2_1_NAME=books", "OAUTH2_1_TARGET=https://h", "OAUTH2_1_TOKEN_URL=https://h", "OAUTH2_1_CLIENT_ID=i", "OAUTH2_1_CLIENT_SECRET=s",
			})), "OAUTH2_1_NAME", "SIDECAR_OAUTH2_0_NAME too",
		},
	})
}

// Cases K6, K9.
func TestWrongRedisSettingsAreRefused(t *testing.T) {
	good := ringKey("a", 1)
	keys := func(s string) []string { return pdxWith("REDIS_URL=redis://h", "REDIS_KEYS="+s) }
	url := func(s string, more ...string) []string {
		return pdxWith(append(more, "REDIS_URL="+s, "REDIS_KEYS="+good)...)
	}
	encode := func(s string) string { return "a:" + base64.StdEncoding.EncodeToString([]byte(s)) }
	checkWrong(t, []wrong{
		{pdxWith("REDIS_URL=redis://h"), "REDIS_KEYS", "SIDECAR_REDIS_URL is"},
		{pdxWith("REDIS_KEYS=" + good), "REDIS_URL", "SIDECAR_REDIS_KEYS is"},
		{pdxWith("REDIS_MODE=cluster"), "REDIS_MODE", "is off"},
		{url("http://u:" + testkit.Canary + "@h"), "REDIS_URL", "scheme"},
		{url("redis://u:" + testkit.Canary + "@h:x"), "REDIS_URL", "not a URL"},
		{url("redis://u:" + testkit.Canary + "@h:99999"), "REDIS_URL", "port"},
		{url("redis://u:" + testkit.Canary + "@h/zero"), "REDIS_URL", "go-redis"},
		{url("redis://u:" + testkit.Canary + "@h?nonsense=1"), "REDIS_URL", "go-redis"},
		{url("rediss://h?skip_verify=true"), "REDIS_URL", "certificate"},
		{url("redis://h", "REDIS_MODE=ring"), "REDIS_MODE", "standalone"},
		{url("redis://h", "REDIS_MODE=sentinel"), "REDIS_URL", "master_name"},
		{url("redis://h?master_name=m"), "REDIS_URL", "MODE"},
		{url("redis://h", "REDIS_CERT_FILE=/x"), "REDIS_CERT_FILE", "not rediss"},
		{url("rediss://h", "REDIS_CERT_FILE=/x"), "REDIS_KEY_FILE", "is not set"},
		{url("rediss://h", "REDIS_KEY_FILE=/x"), "REDIS_CERT_FILE", "is not set"},
		{url("rediss://h", "REDIS_KEY_FILE=/x", "REDIS_CERT_FILE=/x"), "REDIS_CERT_FILE REDIS_KEY_FILE", "no such file"},
		{url("rediss://h", "REDIS_CA_FILE=/x"), "REDIS_CA_FILE", "no such file"},
		{keys("changeme"), "REDIS_KEYS", "id"},
		{keys("a:" + testkit.Canary + "!"), "REDIS_KEYS", "not base64"},
		{keys(encode("short")), "REDIS_KEYS", "5 bytes"},
		{keys(encode(strings.Repeat("\x01", 32))), "REDIS_KEYS", "not random"},
		{keys(encode("correct horse battery staple 123")), "REDIS_KEYS", "not random"},
		{keys(good + "," + ringKey("a", 2)), "REDIS_KEYS", "id of another"},
		{keys(good + "," + ringKey("b", 1)), "REDIS_KEYS", "same as another"},
		{keys(good + ","), "REDIS_KEYS", "key 2"},
	})
}

// Case K1.
func TestWrongTokenBudgetsAreRefused(t *testing.T) {
	budget := func(value string) wrong {
		return wrong{pdxWith("REDIS_URL=redis://h", "REDIS_KEYS="+ringKey("a", 1), "PDX_TOKEN_BUDGET="+value), "PDX_TOKEN_BUDGET", ""}
	}
	says := func(says string, values ...string) (all []wrong) {
		for _, value := range values {
			w := budget(value)
			w.says = says
			all = append(all, w)
		}
		return all
	}
	checkWrong(t, slices.Concat(
		says("is empty", ""),
		says("write it such as 9/s or 100/m", "9", "9/h", "9/S", "9 / s", "/s", "9/", "9/s/m", "nine/s", "-9/s", "+9/s", "1e3/s", "0x9/s",
			"NaN/s", "Inf/s", "9,5/s", ".5/s", "5./s", "9/10s", "9/m\u00a0x"),
		says("is less than 1/m", "0/s", "0.99/m", "0.0166/s", "0."+strings.Repeat("0", 400)+"1/s"),
		says("is more than 100000/s", "100000.1/s", "6000001/m", strings.Repeat("9", 400)+"/s"),
		[]wrong{
			{pdxWith("PDX_TOKEN_BUDGET=9/s"), "REDIS_URL", "is not set, but SIDECAR_PDX_TOKEN_BUDGET is"},
			{oauth2With("OAUTH2_0_TOKEN_BUDGET=9/s", "PDX_CLIENT_ID=id", "PDX_CLIENT_SECRET=s", "PDX_TOKEN_BUDGET=1/m"),
				"REDIS_URL", "SIDECAR_PDX_TOKEN_BUDGET and SIDECAR_OAUTH2_0_TOKEN_BUDGET"},
			{pdxWith("PDX_TOKEN_BUDGET=9"), "PDX_TOKEN_BUDGET REDIS_URL", "write it such as"},
			{pdxWith("PDX_TOKEN_BUDGET=9/s", "REDIS_KEYS="+ringKey("a", 1)), "REDIS_URL", "SIDECAR_REDIS_KEYS is"},
			{pdxWith("PDX_TOKEN_BUDGET=9/s", "REDIS_URL=http://h", "REDIS_KEYS="+ringKey("a", 1)), "REDIS_URL", "scheme"},
			{pdxWith("OCLC_TOKEN_BUDGET=9/s", "REDIS_URL=redis://h", "REDIS_KEYS="+ringKey("a", 1)), "OCLC_TOKEN_BUDGET", "something that is off"},
			{pdxWith("TOKEN_BUDGET=9/s"), "TOKEN_BUDGET", "did you mean"},
		}))
}

func TestAllFaultsComeAtOnce(t *testing.T) {
	faults := faultsOf(t, with([]string{
		"LISTNE=x", "LISTEN=:8080", "MAX_TOKENS=0", "TOKEN_TIMEOUT=soon", "PDX_CLIENT_ID=id", "OCLC_SECRET=" + testkit.Canary,
		"HUMANAPI_HIP=true", "REDIS_URL=redis://u:" + testkit.Canary + "@h/x", "REDIS_KEYS=" + testkit.Canary,
		"MYDATAHELPS_SERVICE_ACCOUNT=a", "MYDATAHELPS_PRIVATE_KEY_FILE=/nowhere/" + testkit.Canary,
		"OAUTH2_0_NAME=Bad", "OAUTH2_0_DEFAULT_LIFETIME=x", "OAUTH2_1_AUTH=x", "OAUTH2_1_TARGET=ftp://" + testkit.Canary,
	}))
	for _, name := range strings.Fields(`LISTNE LISTEN MAX_TOKENS TOKEN_TIMEOUT PDX_CLIENT_SECRET OCLC_WSKEY HUMANAPI_HIP REDIS_URL REDIS_KEYS
		MYDATAHELPS_PRIVATE_KEY_FILE OAUTH2_0_NAME OAUTH2_0_DEFAULT_LIFETIME OAUTH2_0_TOKEN_URL OAUTH2_1_AUTH OAUTH2_1_TARGET OAUTH2_1_NAME`) {
		if !slices.ContainsFunc(faults, func(f Fault) bool { return f.Variable == "SIDECAR_"+name }) {
			t.Errorf("no fault names %s in\n%v", name, &Error{faults})
		}
	}
}

func TestFIFOIsRefusedWithoutWaiting(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	faults := faultsOf(t, with([]string{"PDX_CLIENT_ID=id", "PDX_CLIENT_SECRET_FILE=" + fifo}))
	if len(faults) != 1 || faults[0].Variable != "SIDECAR_PDX_CLIENT_SECRET_FILE" {
		t.Errorf("faults %v, want one that names the file's variable", faults)
	}
}
