package main_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"token-sidecar/cmd/internal/check"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

func TestVersionAndHelpGoToStdout(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := run(t, nil, "version")
	if want := "token-sidecar " + testkit.Version + " " + runtime.Version() + "\n"; code != 0 || stdout != want || stderr != "" {
		t.Errorf("version: code %d, stdout %q, stderr %q, want %q", code, stdout, stderr, want)
	}
}

// TestHelpSaysWhatIsAskedFor asks without settings, which would be a fault.
//
// Case U3.
func TestHelpSaysWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	help := func(args string) string {
		t.Helper()
		stdout, stderr, code := run(t, nil, strings.Fields(args)...)
		if code != 0 || stderr != "" {
			t.Errorf("%s: code %d, stderr %q", args, code, stderr)
		}
		return stdout
	}
	short := help("--help")
	if lines := strings.Count(short, "\n"); lines > 60 || help("help") != short || help("-h") != short {
		t.Errorf("%d lines:\n%s", lines, short)
	}
	commands := regexp.MustCompile(`(?m)^  ([a-z-]+)$`).FindAllStringSubmatch(short, -1)
	if len(commands) < 8 {
		t.Fatalf("%v", commands)
	}
	for _, c := range commands {
		text := help(c[1] + " --help")
		if !strings.HasPrefix(text, "Usage: token-sidecar ") || !strings.Contains(strings.SplitN(text, "\n", 2)[0], c[1]) || help(c[1]+" -h") != text {
			t.Errorf("%s --help:\n%s", c[1], text)
		}
		for line := range strings.Lines(text) {
			if len(line) > 101 {
				t.Errorf("%s --help has a line of %d columns", c[1], len(line))
			}
		}
	}
	if help("check --json -h") != check.Usage {
		t.Error("check --json -h differs")
	}
	var all strings.Builder // that it lists every setting is shown in config
	if _, err := config.WriteHelp(&all, "all"); err != nil {
		t.Fatal(err)
	}
	if help("--help all") != all.String() || help("help all") != all.String() {
		t.Error("--help all differs")
	}
	for _, topic := range config.HelpTopics() {
		if !strings.Contains(short, "\n  "+topic+"\n") || !strings.HasPrefix(help("--help "+strings.ToUpper(topic)), topic+"\n  SIDECAR_") {
			t.Errorf("no help on %s", topic)
		}
	}
}

// TestWrongCallsAreRefused calls the program without settings: of the two faults it
// tells that of the call.
func TestWrongCallsAreRefused(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"sevre": `"sevre"; did you mean serve?`, "sevre --help": `"sevre"`, "chekc": "did you mean check?", "x": `"x"; see`, "--help canary": "no heading",
		"audit": "audit --help", "audit x": "audit --help", "audit pseudonym x": "audit --help", "audit pseudonym": "SIDECAR_AUDIT_KEY: is not set",
		"serve x": "serve takes", "healthcheck x": "healthcheck takes", "healthcheck ready x": "healthcheck takes",
		"keygen x": "keygen takes", "version x": "version takes", "jwks x": "jwks takes", "pdx-connection-hash x": "pdx-connection-hash takes", "check x": "check takes",
	} {
		stdout, stderr, code := run(t, nil, strings.Fields(args)...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, want) || strings.Contains(stderr, "SIDECAR_PDX") {
			t.Errorf("%s: code %d, stdout %q, stderr %q, want code 2 and %q", args, code, stdout, stderr, want)
		}
	}
}

// TestOutputThatCannotBeWrittenIsAFailure has every subcommand that prints write to a device that is full. If stdout
// is closed instead, nobody can tell that from /dev/null, which Go's runtime has opened in its place by the time that
// main runs.
func TestOutputThatCannotBeWrittenIsAFailure(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = full.Close() }()
	key, _, _ := run(t, nil, "keygen")
	environ := append(signer(), testkit.Environ("PDX_CLIENT_ID=id", "PDX_CLIENT_SECRET=secret", "PDX_TOKEN_URL=http://"+freeAddress(t),
		"PDX_TARGET=http://"+freeAddress(t), "PDX_CONNECTION_NID=4711", "PDX_CONNECTION_TOKEN=token", "AUDIT=stdout", "AUDIT_KEY="+strings.TrimSpace(key))...)
	for _, args := range []string{"--help", "--help all", "serve --help", "check --help", "check --json", "check", "explain GET /pdx/x",
		"explain --json GET /pdx/x", "jwks", "keygen", "audit pseudonym", "pdx-connection-hash", "version"} {
		cmd := exec.Command(testkit.Binary(t), strings.Fields(args)...)
		var stderr strings.Builder
		cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environ, strings.NewReader("somebody\n"), full, &stderr
		if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%s: %v, %s", args, err, stderr.String())
		}
	}
}

func TestKeygenFitsRedisKeys(t *testing.T) {
	t.Parallel()
	first, _, code := run(t, nil, "keygen")
	second, _, _ := run(t, nil, "keygen")
	if code != 0 || first == second || strings.Count(first, "\n") != 1 {
		t.Fatalf("keygen: code %d, and two keys that differ: %t", code, first != second)
	}
	keys := strings.TrimSpace(first) + "," + strings.TrimSpace(second)
	books := newProvider(t, upstreamtest.OAuth2Options{})
	books.secrets.add(strings.TrimSpace(first), strings.TrimSpace(second))
	// Nothing listens there: Redis is not needed to start or to serve.
	p := start(t, &books.secrets, books.environ("SIDECAR_REDIS_URL=redis://"+freeAddress(t), "SIDECAR_REDIS_KEYS="+keys)...)
	p.mustGet(200, "/books/item")
}

func TestHealthcheckFindsEveryListener(t *testing.T) {
	t.Parallel()
	_, port, _ := net.SplitHostPort(freeAddress(t))
	tests := map[string]struct{ listen, expose string }{
		"loopback":      {"127.0.0.1:" + port, "false"},
		"wildcard":      {":" + port, "admin"},
		"IPv4 wildcard": {"0.0.0.0:" + port, "admin"},
		"unix":          {"unix:" + filepath.Join(t.TempDir(), "admin.sock"), "false"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { // one after the other: they share the port
			books := newProvider(t, upstreamtest.OAuth2Options{})
			environ := books.environ("SIDECAR_ADMIN_LISTEN="+test.listen, "SIDECAR_EXPOSE="+test.expose)
			probe := func(args ...string) (string, int) {
				stdout, stderr, code := run(t, environ, append([]string{"healthcheck"}, args...)...)
				books.secrets.search(t, "healthcheck", stdout+stderr)
				return stderr, code
			}
			if stderr, code := probe(); code != 1 || !strings.Contains(stderr, "does not answer") {
				t.Errorf("dead: code %d, %q", code, stderr)
			}
			p := start(t, &books.secrets, environ...)
			for _, args := range [][]string{nil, {"ready"}} {
				if stderr, code := probe(args...); code != 0 {
					t.Errorf("alive, %q: code %d, %q", args, code, stderr)
				}
			}
			p.Kill()
			if _, code := probe(); code != 1 {
				t.Errorf("killed: code %d", code)
			}
		})
	}
}

func TestHealthcheckTellsReadyFromLive(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	environ := books.environ("SIDECAR_ADMIN_LISTEN="+freeAddress(t), "SIDECAR_DRAIN_DELAY=10m")
	p := start(t, &books.secrets, environ...)
	p.signal(syscall.SIGINT)
	testkit.Eventually(t, "not ready", func() error {
		if _, _, code := run(t, environ, "healthcheck", "ready"); code != 1 {
			return fmt.Errorf("code %d", code)
		}
		return nil
	})
	if _, stderr, code := run(t, environ, "healthcheck"); code != 0 {
		t.Errorf("alive: code %d, %q", code, stderr)
	}
	p.mustGet(http.StatusOK, "/books/late")
}

// A probe must not end a sidecar that works, because a secret that it has read is faulty by now.
func TestHealthcheckNeedsNoOtherSetting(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(books.ClientSecret()), 0o600); err != nil {
		t.Fatal(err)
	}
	var environ []string
	for _, variable := range books.environ("SIDECAR_ADMIN_LISTEN="+freeAddress(t), "SIDECAR_OAUTH2_0_CLIENT_SECRET_FILE="+secret) {
		if !strings.HasPrefix(variable, "SIDECAR_OAUTH2_0_CLIENT_SECRET=") {
			environ = append(environ, variable)
		}
	}
	p := start(t, &books.secrets, environ...)
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"healthcheck"}, {"healthcheck", "ready"}} {
		if _, stderr, code := run(t, environ, args...); code != 0 {
			t.Errorf("%q: code %d, %q", args, code, stderr)
		}
	}
	p.mustGet(http.StatusOK, "/books/x")
	if _, stderr, code := run(t, []string{"SIDECAR_ADMIN_LISTEN=nowhere"}, "healthcheck"); code != 1 || !strings.Contains(stderr, "SIDECAR_ADMIN_LISTEN") {
		t.Errorf("a faulty address: code %d, %q", code, stderr)
	}
}
