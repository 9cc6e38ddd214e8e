package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const canary = "c4nary-0f-wr0ng-settings"

// wrongSetting is a set of settings that must be refused, and the variables
// that the message must name. All are written without SIDECAR_.
type wrongSetting struct {
	settings string // separated by |
	names    string // separated by spaces
}

// pdx is the least right configuration.
const pdx = "PDX_CLIENT_ID=id|PDX_CLIENT_SECRET=" + canary + "|"

const generic = "OAUTH2_0_NAME=books|OAUTH2_0_TARGET=https://h|OAUTH2_0_TOKEN_URL=https://h/t|OAUTH2_0_CLIENT_ID=i|OAUTH2_0_CLIENT_SECRET=" + canary + "|"

func wrongSettings(file string) []wrongSetting {
	return append(wrongGeneral(file), []wrongSetting{
		{"PDX_CLIENT_ID=id", "PDX_CLIENT_SECRET"},
		{"PDX_CLIENT_SECRET=" + canary, "PDX_CLIENT_ID"},
		{"PDX_CLIENT_ID=id|PDX_CLIENT_SECRET=", "PDX_CLIENT_SECRET"},
		{"MAX_TOKENS=0|PDX_CLIENT_ID=id|PDX_CLIENT_SECRET_FILE=/nowhere/" + canary, "MAX_TOKENS PDX_CLIENT_SECRET_FILE"},
		{"PDX_CLIENT_ID=id|PDX_CLIENT_SECRET_FILE=/dev/null", "PDX_CLIENT_SECRET_FILE"},
		{pdx + "PDX_CLIENT_SECRET_FILE=" + file, "PDX_CLIENT_SECRET_FILE"},
		{pdx + "PDX_TARGET=http://h", "PDX_TARGET"},
		{pdx + "PDX_TARGET=https://u:" + canary + "@h", "PDX_TARGET"},
		{pdx + "PDX_TOKEN_URL=https://h/?secret=" + canary, "PDX_TOKEN_URL"},
		{pdx + "PDX_TOKEN_URL=https://h:0", "PDX_TOKEN_URL"},
		{pdx + "PDX_TARGETS=a=https://h,a=https://i", "PDX_TARGETS"},
		{pdx + "PDX_ENVIRONMENT=test", "PDX_ENVIRONMENT"},
		{pdx + "PDX_SCOPE=a  b", "PDX_SCOPE"},
		{"MYDATAHELPS_SERVICE_ACCOUNT=a|MYDATAHELPS_PRIVATE_KEY=" + canary, "MYDATAHELPS_PRIVATE_KEY"},
		{"OCLC_WSKEY=k|OCLC_SECRET=" + canary + "|OCLC_INSTITUTION=abc", "OCLC_INSTITUTION"},
		{"HUMANAPI_CLIENT_ID=k|HUMANAPI_CLIENT_SECRET=" + canary + "|HUMANAPI_HIP=maybe", "HUMANAPI_HIP"},
		{generic + "OAUTH2_2_NAME=x", "OAUTH2_1_NAME"},
		{generic + "OAUTH2_0_AUTH=digest", "OAUTH2_0_AUTH"},
		{generic + "OAUTH2_1_NAME=books", "OAUTH2_1_NAME OAUTH2_1_TARGET OAUTH2_1_CLIENT_ID"},
		{"OAUTH2_0_NAME=pdx", "OAUTH2_0_NAME"},
		{pdx + "REDIS_URL=redis://u:" + canary + "@h", "REDIS_KEYS"},
		{pdx + "REDIS_URL=redis://u:" + canary + "@h/zero|REDIS_KEYS=" + canary, "REDIS_URL REDIS_KEYS"},
		{pdx + "REDIS_URL=redis://h|REDIS_KEYS=changeme", "REDIS_KEYS"},
		{pdx + "VEND=pdx", "VEND"},
		{
			"LISTNE=x|LISTEN=:8080|MAX_TOKENS=0|PDX_CLIENT_ID=i|OCLC_SECRET=" + canary + "|REDIS_KEYS=" + canary,
			"LISTNE LISTEN MAX_TOKENS PDX_CLIENT_SECRET OCLC_WSKEY REDIS_URL REDIS_KEYS",
		},
	}...)
}

func wrongGeneral(file string) []wrongSetting {
	return []wrongSetting{
		{"", "MYDATAHELPS_SERVICE_ACCOUNT"},
		{pdx + "LISTNE=127.0.0.1:1", "LISTNE"},
		{pdx + "PDX_CLIENT_SECERT=" + canary, "PDX_CLIENT_SECERT"},
		{pdx + "LISTEN=:8080", "LISTEN"},
		{pdx + "LISTEN=0.0.0.0:8080", "LISTEN"},
		{pdx + "LISTEN=8080", "LISTEN"},
		{pdx + "LISTEN=127.0.0.1:99999", "LISTEN"},
		{pdx + "LISTEN=unix:relative", "LISTEN"},
		{pdx + "LISTEN=unix:" + file, "LISTEN"},
		{pdx + "ADMIN_LISTEN=127.0.0.1:8080", "ADMIN_LISTEN"},
		{pdx + "ADMIN_LISTEN=[::]:9090", "ADMIN_LISTEN"},
		{pdx + "PDX_LISTEN=localhost:8080", "PDX_LISTEN"},
		{pdx + "MAX_TOKENS=0", "MAX_TOKENS"},
		{pdx + "REFRESH_AHEAD=1", "REFRESH_AHEAD"},
		{pdx + "TOKEN_TIMEOUT=10", "TOKEN_TIMEOUT"},
		{pdx + "TARGET_TIMEOUT=-5s", "TARGET_TIMEOUT"},
		{pdx + "TARGET_TIMEOUT=1e9h", "TARGET_TIMEOUT"},
		{pdx + "DRAIN_TIMEOUT=0s", "DRAIN_TIMEOUT"},
		{pdx + "REPLAY_LIMIT=64KB", "REPLAY_LIMIT"},
		{pdx + "REPLAY_METHODS=GET,CONNECT", "REPLAY_METHODS"},
		{pdx + "LOG_LEVEL=verbose", "LOG_LEVEL"},
		{pdx + "INSECURE_HTTP=yes", "INSECURE_HTTP"},
		{pdx + "EXPOSE=1", "EXPOSE"},
		{pdx + "ALLOWED_HOSTS=*", "ALLOWED_HOSTS"},
		{pdx + "CALLER_TOKEN=" + canary + " x", "CALLER_TOKEN"},
		{pdx + "CA_FILE=" + file, "CA_FILE"},
	}
}

// A wrong setting stops the start with exit code 78, all faults in one message
// on stderr that names each variable and shows no secret.
//
// Case K1.
func TestWrongSettingsAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	var hidden secrets
	hidden.add(canary)
	tests := wrongSettings(file)
	if len(tests) < 40 {
		t.Errorf("only %d settings are tried", len(tests))
	}
	for _, test := range tests {
		t.Run(test.names+"/"+test.settings, func(t *testing.T) {
			t.Parallel()
			var environ []string
			for setting := range strings.SplitSeq(test.settings, "|") {
				if setting != "" {
					environ = append(environ, "SIDECAR_"+setting)
				}
			}
			stdout, stderr, code := run(t, environ)
			if code != 78 {
				t.Errorf("exit code %d, want 78", code)
			}
			for _, name := range strings.Fields(test.names) {
				if !strings.Contains(stderr, "SIDECAR_"+name) {
					t.Errorf("the message does not name SIDECAR_%s:\n%s", name, stderr)
				}
			}
			if stdout != "" {
				t.Errorf("stdout holds %q", stdout)
			}
			hidden.search(t, "stderr", stderr)
		})
	}
}

// TestMissingFilesAreTriedAgain starts with files and directories that somebody may still put there: the
// exit code is not the one that keeps systemd from starting the sidecar again. check, which nothing
// starts again, has one code for all faults.
func TestMissingFilesAreTriedAgain(t *testing.T) {
	t.Parallel()
	for setting, name := range map[string]string{
		"SIDECAR_PDX_CLIENT_SECRET_FILE=/nowhere/secret": "PDX_CLIENT_SECRET_FILE", "SIDECAR_PDX_CLIENT_SECRET=x|SIDECAR_CA_FILE=/nowhere/ca": "CA_FILE",
		"SIDECAR_PDX_CLIENT_SECRET=x|SIDECAR_LISTEN=unix:/nowhere/app.sock": "LISTEN",
	} {
		environ := append(strings.Split(setting, "|"), "SIDECAR_PDX_CLIENT_ID=id")
		for command, want := range map[string]int{"serve": 1, "check": 2} {
			if _, stderr, code := run(t, environ, command); code != want || !strings.Contains(stderr, "SIDECAR_"+name+": ") {
				t.Errorf("%s with %s: exit code %d, want %d: %s", command, setting, code, want, stderr)
			}
		}
	}
}
