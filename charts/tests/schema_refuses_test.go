package tests

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

// startFault is settings that the program refuses at its start, beside the credential of PDX.
type startFault struct {
	settings object
	names    string // the setting that both must name
}

// generic are the settings of a generic upstream that is whole, with changes: names and values in
// turn, of which nil leaves the setting out.
func generic(changes ...any) object {
	whole := object{"NAME": "a", "TARGET": "https://a.example", "TOKEN_URL": "https://a.example/t", "CLIENT_ID": "i", "CLIENT_SECRET": "s"}
	for i := 0; i < len(changes); i += 2 {
		whole[changes[i].(string)] = changes[i+1]
	}
	settings := object{}
	for name, value := range whole {
		if value != nil {
			settings["OAUTH2_0_"+name] = value
		}
	}
	return settings
}

// startFaults are those that the schema knows.
var startFaults = []startFault{
	{object{"OCLC_INSTITUTION": "abc", "OCLC_WSKEY": "k"}, "OCLC_INSTITUTION"},
	{object{"OCLC_INSTITUTION": -5, "OCLC_WSKEY": "k"}, "OCLC_INSTITUTION"},
	{object{"OCLC_WSKEY": "k"}, "OCLC_SECRET"},
	{object{"OCLC_SCOPE": "WMS_NCIP"}, "OCLC_WSKEY"},
	{object{"OCLC_LISTEN": "127.0.0.1:8082"}, "OCLC_WSKEY"},
	{object{"OCLC_WSKEY": "k", "OCLC_SECRET": "s", "OCLC_SCOPE": "context:91475"}, "OCLC_SCOPE"},
	{object{"OCLC_WSKEY": "k", "OCLC_SECRET": "s", "OCLC_ALLOWED_SCOPES": "WMS_NCIP context:91475"}, "OCLC_ALLOWED_SCOPES"},
	{generic("TARGET", nil), "OAUTH2_0_TARGET"},
	{generic("TOKEN_URL", nil), "OAUTH2_0_TOKEN_URL"},
	{generic("NAME", "Billing"), "OAUTH2_0_NAME"},
	{generic("NAME", nil), "OAUTH2_0_NAME"},
	{generic("CLIENT_ID", nil), "OAUTH2_0_CLIENT_ID"},
	{generic("CLIENT_SECRET", nil), "OAUTH2_0_CLIENT_SECRET"},
	{generic("AUTH", "private_key_jwt", "CLIENT_SECRET", nil), "OAUTH2_0_PRIVATE_KEY"},
	{generic("AUTH", "tls", "CLIENT_SECRET", nil), "OAUTH2_0_CERT"},
	{generic("AUTH", "assertion_file", "CLIENT_SECRET", nil), "OAUTH2_0_ASSERTION"},
	{generic("ISSUER", "https://a.example"), "OAUTH2_0_ISSUER"},
	{generic("AUTH", "post", "BASIC_ENCODING", "plain"), "OAUTH2_0_BASIC_ENCODING"},
	{generic("TOKEN_HOSTS", "a.example"), "OAUTH2_0_ISSUER"},
	{generic("TOKEN_BUDGET", "9/s"), "REDIS_URL"},
	{object{"OAUTH2_1_NAME": "second"}, "OAUTH2_0_NAME"},
	{object{"LISTEN": "0.0.0.0:8080"}, "LISTEN"},
	{object{"LISTEN": ":8080"}, "LISTEN"},
	{object{"LISTEN": "10.0.0.7:8080"}, "LISTEN"},
	{object{"LISTEN": "[::]:8080"}, "LISTEN"},
	{object{"LISTEN": "8080"}, "LISTEN"},
	{object{"LISTEN": "127.0.0.1:08080"}, "LISTEN"},
	{object{"PDX_LISTEN": "0.0.0.0:8081"}, "PDX_LISTEN"},
	{object{"PDX_TARGET": "api.mydex.org"}, "PDX_TARGET"},
	{object{"PDX_TARGET": "https://user:password@api.mydex.org"}, "PDX_TARGET"},
	{object{"PDX_TARGET": "https://api.mydex.org/?a=b"}, "PDX_TARGET"},
	{object{"PDX_TARGET": "http://api.mydex.org"}, "PDX_TARGET"},
	{object{"PDX_TOKEN_URL": "ftp://op.mydexid.org/token"}, "PDX_TOKEN_URL"},
	{object{"PDX_TARGETS": "Idaas=https://idp.mydexid.org"}, "PDX_TARGETS"},
	{object{"PDX_TARGETS": "https://idp.mydexid.org"}, "PDX_TARGETS"},
	{object{"PDX_SCOPE": `mydex:"pdx"`}, "PDX_SCOPE"},
	{object{"PDX_SCOPE": "mydex:pdx  other"}, "PDX_SCOPE"},
	{object{"PDX_AUTH": "post", "PDX_BASIC_ENCODING": "plain"}, "PDX_BASIC_ENCODING"},
	{object{"PDX_CONNECTION_NID": "12345"}, "PDX_CONNECTION_TOKEN"},
	{object{"PDX_TOKEN_BUDGET": "9/s"}, "REDIS_URL"},
	{object{"REDIS_MODE": "cluster"}, "REDIS_URL"},
	{object{"ALLOWED_HOSTS": "https://a.example"}, "ALLOWED_HOSTS"},
	{object{"ALLOWED_HOSTS": "a.example,,b.example"}, "ALLOWED_HOSTS"},
	{object{"REPLAY_METHODS": "GET,CONNECT"}, "REPLAY_METHODS"},
	{object{"MAX_TOKENS": 0}, "MAX_TOKENS"},
	{object{"REFRESH_AHEAD": 0.95}, "REFRESH_AHEAD"},
	{object{"TOKEN_RATE": 0}, "TOKEN_RATE"},
	{object{"TOKEN_TIMEOUT": "0s"}, "TOKEN_TIMEOUT"},
	{object{"EGRESS_DIRECT": "a.example"}, "EGRESS_PROXY"},
	{object{"EXPOSE": "admin "}, "EXPOSE"},
	{object{"AUDIT": "stdout"}, "AUDIT_KEY"},
	{object{"AUDIT": "audit.log"}, "AUDIT"},
	{object{"AUDIT_PURPOSES": "care and more"}, "AUDIT_PURPOSES"},
}

// variables are the program's for settings of the chart.
func variables(settings object) map[string]string {
	env := map[string]string{"SIDECAR_ADMIN_LISTEN": "127.0.0.1:1", "SIDECAR_PDX_CLIENT_ID": "i", "SIDECAR_PDX_CLIENT_SECRET": "s"}
	for name, value := range settings {
		env["SIDECAR_"+name] = fmt.Sprint(value)
	}
	return env
}

// valuesOf are the chart's for them, with the admin listener on loopback, as variables has it.
func valuesOf(settings object) object {
	from := object{"secret": "pdx"}
	return object{"admin": object{"expose": false}, "settings": settings, "settingsFrom": object{"PDX_CLIENT_ID": from, "PDX_CLIENT_SECRET": from}}
}

// TestWholeGenericUpstreamIsTaken holds that only the changes of the rows above are at fault.
func TestWholeGenericUpstreamIsTaken(t *testing.T) {
	if said := accepts(t, variables(generic())); said != "" {
		t.Errorf("the program says %q", said)
	}
	if !schemaOfValues(t)(split(t, valuesOf(generic()))) {
		t.Error("the schema refuses it")
	}
}

func TestLintRefusesWhatTheProgramRefuses(t *testing.T) {
	version, err := chartutil.ParseKubeVersion(kubeVersion)
	if err != nil {
		t.Fatal(err)
	}
	if len(startFaults) < 23 {
		t.Errorf("only %d faults", len(startFaults))
	}
	for _, fault := range startFaults {
		t.Run(fmt.Sprint(fault.settings), func(t *testing.T) {
			t.Parallel()
			if said := accepts(t, variables(fault.settings)); !strings.Contains(said, "SIDECAR_"+fault.names) {
				t.Errorf("the program says %q", said)
			}
			said := ""
			for _, m := range lint.AllWithKubeVersion(chartDir, split(t, valuesOf(fault.settings)), "shop", version).Messages {
				if m.Severity == support.ErrorSev {
					said += m.Err.Error() + "\n"
				}
			}
			if !strings.Contains(said, fault.names) {
				t.Errorf("helm lint says %q", said)
			}
		})
	}
}

// edges are values at the edge of what the program accepts.
var edges = []object{
	{"OCLC_WSKEY": "k", "OCLC_SECRET": "s", "OCLC_INSTITUTION": strings.Repeat("9", 20)},
	{"OCLC_WSKEY": "k", "OCLC_SECRET": "s", "OCLC_SCOPE": 5, "OCLC_ALLOWED_SCOPES": "my-context:1 context"},
	{"LISTEN": "127.255.0.1:0", "PDX_LISTEN": "[::1]:65535"},
	{"LISTEN": "LocalHost:8080", "EXPOSE": "false"},
	{"LISTEN": "[::ffff:127.0.0.1]:8080"},
	{"LISTEN": "unix:/tmp/a socket"},
	{"LISTEN": "10.0.0.7:8080", "EXPOSE": "true"},
	{"PDX_TARGET": "HTTPS://[2001:db8::1]:8443/a/@"},
	{"PDX_TARGET": "http://127.0.0.1:8000", "PDX_TOKEN_URL": "http://localhost:8000/t"},
	{"PDX_TARGET": "http://a.example", "INSECURE_HTTP": "true"},
	{"PDX_TARGETS": "a=https://a.example , b=http://127.0.0.1:2/x@y"},
	{"PDX_SCOPE": "! ~ [] a:b/c"},
	{"PDX_CONNECTION_NID": strings.Repeat("a", 64), "PDX_CONNECTION_TOKEN": "t"},
	{"ALLOWED_HOSTS": "a.example, 192.0.2.7 ,fe80::1,_x.example"},
	{"REPLAY_METHODS": "none"},
	{"REPLAY_METHODS": "GET , PATCH"},
	{"MAX_TOKENS": 1}, {"MAX_TOKENS": 10000000}, {"REFRESH_AHEAD": 0.9}, {"REFRESH_AHEAD": ".5"}, {"TOKEN_RATE": 0.001},
	{"TOKEN_TIMEOUT": "1ms"}, {"TOKEN_TIMEOUT": "1m59.5s"}, {"TOKEN_TIMEOUT": "+1.s"}, {"TOKEN_TIMEOUT": ".5s"}, {"DRAIN_DELAY": "0s"}, {"DRAIN_DELAY": "0"},
	{"REFRESH_AHEAD": "2e-1"}, {"MAX_TOKENS": "+5"}, {"REPLAY_LIMIT": "0B"},
	{"EGRESS_PROXY": "http://proxy.example:3128", "EGRESS_DIRECT": ".a.example, 10.0.0.0/8"},
	{"OAUTH2_0_NAME": "a", "OAUTH2_0_TARGET": "https://a.example", "OAUTH2_0_ISSUER": "https://a.example", "OAUTH2_0_AUTH": "none", "OAUTH2_0_SCOPE_SEPARATOR": ","},
	{"OAUTH2_0_NAME": "a", "OAUTH2_0_TARGET": "https://a.example", "OAUTH2_0_TOKEN_URL": "https://a.example/t", "OAUTH2_0_GRANT": "jwt_bearer",
		"OAUTH2_0_CLIENT_ID": "i", "OAUTH2_0_CLIENT_SECRET": strings.Repeat("s", 32), "OAUTH2_0_ALG": "HS256"},
	{"OAUTH2_0_NAME": "a", "OAUTH2_0_TARGET": "https://a.example", "OAUTH2_0_TOKEN_URL": "https://a.example/t", "OAUTH2_0_GRANT": "urn:x:y",
		"OAUTH2_0_AUTH": "none", "OAUTH2_0_METHOD": "get"},
}

func TestSchemaTakesWhatTheProgramTakes(t *testing.T) {
	takes := schemaOfValues(t)
	for _, settings := range edges {
		if said := accepts(t, variables(settings)); said != "" {
			t.Errorf("the program refuses %v: %s", settings, said)
		}
		if values := valuesOf(settings); !takes(split(t, values)) {
			t.Errorf("the schema refuses %v", settings)
		}
	}
}

// split moves what the chart does not take among settings to where it does.
func split(t *testing.T, values object) object {
	plain, from, listed := object{}, values["settingsFrom"].(object), settings(t)
	for name, value := range values["settings"].(object) {
		if i := slices.IndexFunc(listed, func(s setting) bool { return s.name == numbered(name) }); listed[i].secret() {
			from[name] = object{"secret": "mine"}
		} else {
			plain[name] = value
		}
	}
	return object{"admin": values["admin"], "settings": plain, "settingsFrom": from}
}

// TestSchemaRefusesNothingThatTheProgramTakes composes settings of good and bad ones.
func TestSchemaRefusesNothingThatTheProgramTakes(t *testing.T) {
	takes := schemaOfValues(t)
	var pool []object
	for _, fault := range startFaults {
		pool = append(pool, fault.settings)
	}
	pool = append(pool, edges...)
	pool = append(pool, edges...)
	pool = append(pool, edges...)
	random := rand.New(rand.NewPCG(7, 11))
	accepted := 0
	for range 120 {
		settings := object{}
		for range 1 + random.IntN(3) {
			for name, value := range pool[random.IntN(len(pool))] {
				if random.IntN(8) > 0 {
					settings[name] = value
				}
			}
		}
		if accepts(t, variables(settings)) != "" {
			continue
		}
		accepted++
		if !takes(split(t, valuesOf(settings))) {
			t.Errorf("the schema refuses %v", settings)
		}
	}
	if accepted < 20 {
		t.Errorf("the program accepts only %d", accepted)
	}
}
