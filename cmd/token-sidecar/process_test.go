package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that must happen, for slow machines.
const patience = 20 * time.Second

// process is one running sidecar. It is killed when its test ends, and all it
// said is searched for secrets.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *output
	stderr *output
	client *http.Client
	addrs  map[string]string // by listener
	secret *secrets
	done   chan struct{} // closed when the process has ended
}

// output collects what a process writes.
type output struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs the sidecar with the environment and waits until it is ready. The
// listeners take free ports and everything is logged, unless environ says
// otherwise. secret may be nil.
func start(t *testing.T, secret *secrets, environ ...string) *process {
	t.Helper()
	p := launch(t, secret, exec.Command(binary()), environ...)
	p.awaitReady()
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
		t: t, cmd: command, stdout: &output{}, stderr: &output{}, secret: secret, done: make(chan struct{}),
		addrs: map[string]string{},
		client: &http.Client{Timeout: patience, Transport: &http.Transport{
			MaxIdleConnsPerHost: 256, DisableCompression: true,
		}},
	}
}

func (p *process) run() {
	p.t.Helper()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	p.t.Cleanup(func() {
		p.scrape()
		_ = p.cmd.Process.Kill()
		<-p.done
		p.client.CloseIdleConnections()
		p.secret.search(p.t, "stdout", p.stdout.String())
		p.secret.search(p.t, "stderr", p.stderr.String())
		if p.t.Failed() {
			p.t.Logf("stderr of the sidecar ends:\n%s", tail(p.stderr.String(), 3000))
		}
	})
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// awaitReady waits for the log to say that all listeners are open and notes
// their addresses.
func (p *process) awaitReady() {
	p.t.Helper()
	eventually(p.t, "the sidecar is ready", func() error {
		if p.ended() {
			return fmt.Errorf("it exited with code %d", p.cmd.ProcessState.ExitCode())
		}
		return p.readLog(p.stderr.String())
	})
}

// readLog takes the addresses of the listeners from a log that says ready.
func (p *process) readLog(log string) error {
	for line := range strings.Lines(log) {
		var entry struct{ Message, Listener, Address string }
		if json.Unmarshal([]byte(line), &entry) != nil {
			continue
		}
		if entry.Listener != "" {
			p.addrs[entry.Listener] = entry.Address
		}
		if entry.Message == "ready" {
			return nil
		}
	}
	return errors.New("the log does not say so")
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// awaitExit waits for the end of the process and returns its exit code.
func (p *process) awaitExit(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		p.t.Fatalf("the sidecar still runs after %s", within)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
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
	if p.addrs["admin"] == "" || p.ended() || strings.HasPrefix(p.addrs["admin"], "/") {
		return
	}
	for _, path := range []string{"/metrics", "/", "/readyz"} {
		_, _ = p.admin(path)
	}
}

// eventually calls check until it returns nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// run runs the program to its end and returns what it wrote and its exit code.
func run(t *testing.T, environ []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(binary(), args...)
	cmd.Env = append([]string{"PATH=/nowhere"}, environ...)
	var out, faults bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &faults
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Signal(os.Kill) })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), faults.String(), cmd.ProcessState.ExitCode()
}
