package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// Subjects that no output of check may hold.
const (
	checkParticipant = "participant-" + testkit.Canary
	checkUser        = "user-" + testkit.Canary
	checkInstitution = "414243444"
)

type report struct {
	OK       bool
	Requests []row
	Targets  []row
	Redis    *row
	raw      string // as it was printed
}

func TestMain(m *testing.M) {
	testkit.NoNameServer()
	os.Exit(m.Run())
}

// configOf makes what Run needs of settings.
func configOf(t *testing.T, settings []string) Config {
	t.Helper()
	parsed, err := config.Parse(testkit.Environ(settings...), goredis.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	roots, err := parsed.Roots()
	if err != nil {
		t.Fatal(err)
	}
	return Config{parsed.Upstreams(roots), parsed.TokenEndpoints(), parsed.TokenTimeout, nil, nil, parsed.WritePreamble}
}

// runArgs runs check with arguments in the form of the command line.
func runArgs(ctx context.Context, c Config, args []string, stdout io.Writer) error {
	options, err := ParseArgs(args)
	if err != nil {
		return err
	}
	return Run(ctx, c, options, stdout)
}

// runCheck runs check twice, for people and for machines.
func runCheck(t *testing.T, settings []string, args ...string) (text string, report report, err error) {
	t.Helper()
	return checkWith(t, configOf(t, settings), args...)
}

// checkWith is runCheck with what Run needs.
func checkWith(t *testing.T, c Config, args ...string) (text string, report report, err error) {
	t.Helper()
	var out, machine bytes.Buffer
	err = runArgs(t.Context(), c, args, &out)
	again := runArgs(t.Context(), c, append([]string{"--json"}, args...), &machine)
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
	return out.String(), report, err
}

// generic is the settings of a generic upstream at hosts that do not exist, and more.
func generic(more ...string) []string {
	return append([]string{"OAUTH2_0_NAME=books", "OAUTH2_0_TARGET=https://api.example.org", "OAUTH2_0_TOKEN_URL=https://id.example.org/token",
		"OAUTH2_0_CLIENT_ID=id", "OAUTH2_0_CLIENT_SECRET=" + testkit.Canary}, more...)
}

// exitCode returns what the program would exit with.
func exitCode(err error) int {
	var wrongCall *UsageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrongCall):
		return 2
	}
	return 1
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
func secretsOf(settings, args []string) []string {
	var secrets []string
	for _, entry := range testkit.Environ(settings...) {
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
