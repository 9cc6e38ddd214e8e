package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

// process is one running sidecar. It is killed when its test ends, and all it
// said is searched for secrets.
type process struct {
	*testkit.Process
	t      *testing.T
	cmd    *exec.Cmd
	stdout *testkit.Output
	stderr *testkit.Output
	client *http.Client
	addrs  map[string]string // by listener
	secret *secrets
}

// start runs the sidecar with the environment and waits until it is ready. The
// listeners take free ports and everything is logged, unless environ says
// otherwise. secret may be nil.
func start(t *testing.T, secret *secrets, environ ...string) *process {
	t.Helper()
	p := launch(t, secret, exec.Command(testkit.Binary(t)), environ...)
	p.addrs = p.AwaitReady(t, p.stderr)
	return p
}

// launch runs command as a sidecar and does not wait.
func launch(t *testing.T, secret *secrets, command *exec.Cmd, environ ...string) *process {
	t.Helper()
	p := prepare(t, secret, command, environ...)
	command.Stdout, command.Stderr = p.stdout, p.stderr
	p.run()
	return p
}

// prepare makes a process that run starts.
func prepare(t *testing.T, secret *secrets, command *exec.Cmd, environ ...string) *process {
	t.Helper()
	if secret == nil {
		secret = &secrets{}
	}
	// Of two settings of a variable, exec passes the last on.
	command.Env = append([]string{
		"SIDECAR_LISTEN=127.0.0.1:0", "SIDECAR_ADMIN_LISTEN=127.0.0.1:0", "SIDECAR_LOG_LEVEL=trace",
	}, environ...)
	return &process{
		t: t, cmd: command, stdout: &testkit.Output{}, stderr: &testkit.Output{}, secret: secret,
		addrs: map[string]string{},
		client: &http.Client{Timeout: testkit.Patience, Transport: &http.Transport{
			MaxIdleConnsPerHost: 256, DisableCompression: true,
		}},
	}
}

func (p *process) run() {
	p.t.Helper()
	var err error
	if p.Process, err = testkit.Start(p.cmd); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		p.scrape()
		p.Kill()
		p.client.CloseIdleConnections()
		p.secret.search(p.t, "stdout", p.stdout.String())
		p.secret.search(p.t, "stderr", p.stderr.String())
		if p.t.Failed() {
			p.t.Logf("stderr of the sidecar ends:\n%s", tail(p.stderr.String(), 3000))
		}
	})
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// answer is a whole answer of the sidecar. err is that of reading its body.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

// get asks the data listener. The error is one of the connection.
func (p *process) get(path string, header ...string) (answer, error) {
	return p.ask("data", path, header...)
}

// admin asks the admin listener.
func (p *process) admin(path string) (answer, error) { return p.ask("admin", path) }

func (p *process) ask(listener, path string, header ...string) (answer, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+p.addrs[listener]+path, nil)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := p.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	a := answer{res.StatusCode, res.Header, string(body), err}
	p.secret.search(p.t, "an answer of "+listener, fmt.Sprint(a))
	return a, nil
}

// mustGet asks the data listener and fails the test unless the status is want.
func (p *process) mustGet(want int, path string, header ...string) answer {
	p.t.Helper()
	a, err := p.get(path, header...)
	if err != nil || a.status != want {
		p.t.Fatalf("GET %s: status %d, error %v, want %d; body %s", path, a.status, err, want, a.body)
	}
	return a
}

// scrape searches what the admin listener shows, while it can be reached.
func (p *process) scrape() {
	if p.addrs["admin"] == "" || p.Ended() != nil || strings.HasPrefix(p.addrs["admin"], "/") {
		return
	}
	for _, path := range []string{"/metrics", "/", "/readyz"} {
		_, _ = p.admin(path)
	}
}

// run runs the program to its end and returns what it wrote and its exit code.
func run(t *testing.T, environ []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(testkit.Binary(t), args...)
	cmd.Env = append([]string{"PATH=/nowhere"}, environ...)
	var out, faults bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &faults
	timer := time.AfterFunc(testkit.Patience, func() { _ = cmd.Process.Signal(os.Kill) })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), faults.String(), cmd.ProcessState.ExitCode()
}
