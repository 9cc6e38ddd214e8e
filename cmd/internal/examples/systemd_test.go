package examples

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

const unit = examples + "/systemd/token-sidecar.service"

// analyze runs systemd-analyze on a unit that is called name.
func analyze(t *testing.T, name, text string, args ...string) {
	t.Helper()
	tool(t, "systemd-analyze")
	path := filepath.Join(t.TempDir(), name)
	write(t, path, strings.Replace(text, "=/usr/bin/token-sidecar", "="+testkit.Binary(t), 1), 0o644)
	cmd := exec.CommandContext(t.Context(), "systemd-analyze", append(args, path)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_PAGER=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestUnitIsWellFormedAndHardened(t *testing.T) {
	t.Parallel()
	text := read(t, unit)
	// It finds nothing wrong with an unknown key, but says so.
	analyze(t, "token-sidecar.service", text, "verify", "--man=false", "--recursive-errors=yes")
	// The threshold is in tenths.
	analyze(t, "token-sidecar.service", text, "security", "--offline=true", "--threshold=15", "--no-pager")
	if strings.Contains(text, "ProcSubset=pid") {
		t.Error("the unit hides /proc/stat, which process_start_time_seconds is made of, and /proc/sys/net/core/somaxconn, which says how many connections may wait for a listener")
	}
}

// TestUnitDoesNotRestartFaultySettings ends the program with the exit code after which systemd leaves it be.
func TestUnitDoesNotRestartFaultySettings(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), testkit.Binary(t))
	cmd.Env = []string{"SIDECAR_MAX_TOKENS=0"}
	err := cmd.Run()
	if line := fmt.Sprintf("\nRestartPreventExitStatus=%d\n", cmd.ProcessState.ExitCode()); err == nil || !strings.Contains(read(t, unit), line) {
		t.Errorf("%v: the unit has no line %q", err, line)
	}
}

// blocks returns the shell blocks of the page.
func blocks(t *testing.T, path string) (all []string) {
	t.Helper()
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(read(t, path), -1) {
		all = append(all, block[1])
	}
	return all
}

// machine is a directory in place of the root of a machine, and a user without a name in
// place of token-sidecar.
type machine struct {
	dir     string
	uid     string
	replace *strings.Replacer
}

const (
	install = iota // the blocks of the page
	check
	rotate
	second
)

// newMachine makes one that every user may enter.
func newMachine(t *testing.T) machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can become another user, and give files to it")
	}
	tool(t, "setpriv")
	dir, err := os.MkdirTemp("", "token-sidecar-example")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := machine{dir: dir, uid: "65532"}
	m.replace = strings.NewReplacer("/etc/", dir+"/etc/", "/usr/bin/", dir+"/usr/bin/", "/run/", dir+"/run/",
		"-o token-sidecar", "-o "+m.uid, "bin/token-sidecar ", testkit.Binary(t)+" ", "./my-", dir+"/my-", "#SIDECAR_", "SIDECAR_")
	for _, path := range []string{"etc/systemd/system", "usr/bin", "run/token-sidecar"} {
		if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	uid, _ := strconv.Atoi(m.uid)
	for path, mode := range map[string]os.FileMode{".": 0o755, "run/token-sidecar": 0o755} {
		if err := os.Chmod(filepath.Join(dir, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "run/token-sidecar"), uid, uid); err != nil {
		t.Fatal(err)
	}
	return m
}

// run runs lines of the page on the machine. What would change this machine does nothing.
func (m machine) run(t *testing.T, lines string) {
	t.Helper()
	const stubs = "set -eu\numask 022\nsudo() { \"$@\"; }\nuseradd() { :; }\nsystemctl() { :; }\nsudoedit() { test -f \"$1\"; }\n"
	cmd := exec.CommandContext(t.Context(), "sh", "-c", stubs+m.replace.Replace(lines))
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, lines)
	}
}

// start does what systemd does with the unit: it reads the file of settings and runs ExecStart as a
// user without rights.
func (m machine) start(t *testing.T, more ...string) sidecar {
	t.Helper()
	text := m.replace.Replace(read(t, filepath.Join(m.dir, "etc/systemd/system/token-sidecar.service")))
	value := func(key string) string {
		found := regexp.MustCompile(`(?m)^` + key + `=(.*)$`).FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("the unit has no %s", key)
		}
		return found[1]
	}
	environ := more
	for line := range strings.Lines(m.replace.Replace(read(t, value("EnvironmentFile")))) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			environ = append(environ, line)
		}
	}
	umask := "umask " + value("UMask") + "; exec \"$@\""
	return start(t, exec.Command("setpriv", "--reuid", m.uid, "--regid", m.uid, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
		"--no-new-privs", "sh", "-c", umask, "sh", value("ExecStart")), environ...)
}

// over returns a client that reaches everything through a socket.
func over(path string) *http.Client {
	return &http.Client{Timeout: testkit.Patience, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}}
}

// get returns status and body of an answer.
func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// TestServiceRunsAsItsPageInstallsIt follows the page.
func TestServiceRunsAsItsPageInstallsIt(t *testing.T) {
	t.Parallel()
	m, page := newMachine(t), blocks(t, examples+"/systemd/README.md")
	if n := strings.Count(page[install], "\n"); n > 8 {
		t.Errorf("the installation takes %d commands", n)
	}
	write(t, m.dir+"/my-secret.txt", "the-first-secret\n", 0o600)
	m.run(t, page[install])
	pdx := testkit.Closing(t, upstreamtest.NewPDX(upstreamtest.Options{ClientID: "my-client", ClientSecret: "the-first-secret"}))
	s := m.start(t, "SIDECAR_PDX_TOKEN_URL="+pdx.TokenURL(), "SIDECAR_PDX_TARGET="+pdx.APIURL(), "SIDECAR_ADMIN_LISTEN=127.0.0.1:0")
	if status, body := get(t, http.DefaultClient, "http://"+s.addresses["admin"]+"/livez"); status != 200 {
		t.Errorf("/livez: %d %s", status, body)
	}
	socket := m.dir + "/run/token-sidecar/app.sock"
	status, body := get(t, over(socket), "http://localhost/pdx/api/pds/mam")
	var echo upstreamtest.Echo
	if err := json.Unmarshal([]byte(body), &echo); status != 200 || err != nil || echo.Path != "/api/pds/mam" {
		t.Errorf("an app gets %d %s", status, body)
	}
	m.checkRights(t, s, socket)

	write(t, m.dir+"/my-new-secret.txt", "the-second-secret\n", 0o600)
	m.run(t, page[rotate])
	testkit.Eventually(t, "the new secret is noticed", func() error {
		if !strings.Contains(s.log.String(), "SIDECAR_PDX_CLIENT_SECRET") {
			return os.ErrNotExist
		}
		return s.Ended()
	})
	if log := s.log.String(); strings.Contains(log, `"level":"error"`) || strings.Contains(log, "second-secret") {
		t.Error(log)
	}
}

// checkRights looks at what the process may do, and at what a member of its group may read.
func (m machine) checkRights(t *testing.T, s sidecar, socket string) {
	t.Helper()
	status := read(t, "/proc/"+strconv.Itoa(s.PID)+"/status")
	for _, want := range []string{"Uid:\t65532\t65532", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	member := func(args ...string) error {
		return exec.Command("setpriv", append([]string{"--reuid", "65533", "--regid", m.uid, "--clear-groups"}, args...)...).Run()
	}
	if err := member("test", "-w", socket); err != nil {
		t.Errorf("a member of the group cannot use the socket: %v", err)
	}
	if member("cat", m.dir+"/etc/token-sidecar/secrets/pdx") == nil {
		t.Error("a member of the group, such as the app, can read the secret")
	}
}

func TestSecondInstanceSharesNothing(t *testing.T) {
	t.Parallel()
	tool(t, "sed")
	lines, _, _ := strings.Cut(blocks(t, examples+"/systemd/README.md")[second], " > ")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", lines)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"User=token-sidecar-billing", "Group=token-sidecar-billing", "RuntimeDirectory=token-sidecar-billing",
		"EnvironmentFile=/etc/token-sidecar-billing/token-sidecar.env", "ExecStart=/usr/bin/token-sidecar"} {
		if !strings.Contains(string(out), "\n"+want+"\n") {
			t.Errorf("no line %q in\n%s", want, out)
		}
	}
	analyze(t, "token-sidecar-billing.service", string(out), "verify", "--man=false", "--recursive-errors=yes")
}
