package sidecar

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"token-sidecar/upstream/upstreamtest"
)

// Subjects that no output of check may hold.
const (
	checkParticipant = "participant-" + canary
	checkUser        = "user-" + canary
	checkInstitution = "414243444"
)

type checkReport struct {
	OK       bool
	Requests []checkRow
	raw      string // as it was printed
}

// runCheck runs check twice, for people and for machines.
func runCheck(t *testing.T, environ []string, args ...string) (text string, report checkReport, err error) {
	t.Helper()
	environ = lastOfEach(environ)
	var out, machine, stderr bytes.Buffer
	err = Program{Version: "test"}.Run(t.Context(), append([]string{"check"}, args...), environ, &out, &stderr)
	again := Program{Version: "test"}.Run(t.Context(), append([]string{"check", "--json"}, args...), environ, &machine, &stderr)
	if exitCode(err) != exitCode(again) {
		t.Errorf("exit code %d for people, %d for machines", exitCode(err), exitCode(again))
	}
	report.raw = machine.String()
	in := json.NewDecoder(&machine)
	in.DisallowUnknownFields()
	if decodeErr := in.Decode(&report); decodeErr != nil {
		t.Fatalf("--json: %v; check: %v", decodeErr, again)
	}
	if in.More() {
		t.Error("--json prints more than one object")
	}
	if report.OK != (again == nil) {
		t.Errorf("ok is %v, the error %v", report.OK, again)
	}
	if stderr.Len() > 0 {
		t.Errorf("on stderr: %s", &stderr)
	}
	return out.String(), report, err
}

// lastOfEach lets a case replace a setting of the good configuration: one that
// is set twice is a fault.
func lastOfEach(environ []string) []string {
	values := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		values[name] = value
	}
	var list []string
	for _, name := range sortedKeys(values) {
		list = append(list, name+"="+values[name])
	}
	return list
}

func exitCode(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	}
	return -1
}

// sim starts a simulated provider for one test.
func sim(t *testing.T, s *upstreamtest.Server) *upstreamtest.Server {
	t.Cleanup(s.Close)
	return s
}

func mdhEnv(s *upstreamtest.Server, more ...string) []string {
	return with([]string{"MYDATAHELPS_SERVICE_ACCOUNT=" + s.ClientID(), "MYDATAHELPS_PRIVATE_KEY=" + s.PrivateKey(),
		"MYDATAHELPS_TOKEN_URL=" + s.TokenURL(), "MYDATAHELPS_TARGET=" + s.APIURL()}, more...)
}

func pdxEnv(s *upstreamtest.Server, more ...string) []string {
	return with([]string{"PDX_CLIENT_ID=" + s.ClientID(), "PDX_CLIENT_SECRET=" + s.ClientSecret(), "PDX_TOKEN_URL=" + s.TokenURL()}, more...)
}

func oclcEnv(s *upstreamtest.Server, more ...string) []string {
	return with([]string{"OCLC_WSKEY=" + s.ClientID(), "OCLC_SECRET=" + s.ClientSecret(), "OCLC_TOKEN_URL=" + s.TokenURL()}, more...)
}

func humanEnv(s *upstreamtest.Server, more ...string) []string {
	return with([]string{"HUMANAPI_CLIENT_ID=" + s.ClientID(), "HUMANAPI_CLIENT_SECRET=" + s.ClientSecret(),
		"HUMANAPI_TOKEN_URL=" + s.TokenURL()}, more...)
}

func genericEnv(s *upstreamtest.Server, more ...string) []string {
	return oauth2With(append([]string{"OAUTH2_0_CLIENT_ID=" + s.ClientID(), "OAUTH2_0_CLIENT_SECRET=" + s.ClientSecret(),
		"OAUTH2_0_TOKEN_URL=" + s.TokenURL()}, more...)...)
}

func jwtEnv(s *upstreamtest.Server, more ...string) []string {
	return oauth2With(append([]string{"OAUTH2_0_CLIENT_ID=" + s.ClientID(), "OAUTH2_0_PRIVATE_KEY=" + s.PrivateKey(), "OAUTH2_0_AUTH=private_key_jwt",
		"-OAUTH2_0_CLIENT_SECRET", "OAUTH2_0_TOKEN_URL=" + s.TokenURL()}, more...)...)
}

func keyLines(s *upstreamtest.Server) []string {
	lines := strings.Split(s.PrivateKey(), "\n")
	return lines[1 : len(lines)-2]
}

// tokensOf returns the service tokens that came back to buy others.
func tokensOf(s *upstreamtest.Server) []string {
	var tokens []string
	for _, request := range s.TokenRequestLog() {
		for field := range strings.SplitSeq(request.Body, "&") {
			if token, ok := strings.CutPrefix(field, "token="); ok {
				tokens = append(tokens, token)
			}
		}
	}
	if len(tokens) == 0 {
		tokens = append(tokens, "no token was seen: "+strconv.Itoa(len(s.TokenRequestLog())))
	}
	return tokens
}

// secretsOf returns the secrets of the settings and the subjects of the command line.
func secretsOf(environ, args []string) []string {
	var secrets []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if strings.HasSuffix(name, "SECRET") && value != "secret" {
			secrets = append(secrets, value)
		}
		if strings.HasSuffix(name, "_PRIVATE_KEY") {
			secrets = append(secrets, strings.Split(value, "\n")[1:3]...)
		}
	}
	for _, arg := range args {
		if _, subject, ok := strings.Cut(arg, "="); ok {
			secrets = append(secrets, subject)
		}
	}
	return secrets
}

// anyToken matches what the simulators issue.
var anyToken = regexp.MustCompile(`(svc-|ptc-|mdx-|at\+|tk_|hapi-|atrt-|eyJ)[A-Za-z0-9+/_-]{10}`)

// assertNoLeak looks for secrets, tokens and subjects in all they may look like.
func assertNoLeak(t *testing.T, text string, report checkReport, secrets ...string) {
	t.Helper()
	all := text + report.raw
	if found := anyToken.FindString(all); found != "" {
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
			if strings.Contains(all, form) {
				t.Errorf("%q is in the output", form)
			}
		}
	}
}
