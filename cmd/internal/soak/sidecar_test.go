package soak

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"token-sidecar/cmd/internal/testkit"
)

// sidecar is one running sidecar. It is killed when its test ends.
type sidecar struct {
	*testkit.Process
	t           *testing.T
	stdout      *scanner
	stderr      *scanner
	pages       *scanner     // of the admin listener
	client      *http.Client // of the admin listener
	data, admin string       // addresses
}

// start runs a sidecar before p, with environ on top of what all tests need,
// and waits until it listens.
func start(t *testing.T, p *provider, environ ...string) *sidecar {
	t.Helper()
	cmd := exec.Command(testkit.Binary(t))
	// Of two settings of a variable, exec passes the last on.
	cmd.Env = append([]string{
		"SIDECAR_LISTEN=127.0.0.1:0", "SIDECAR_ADMIN_LISTEN=127.0.0.1:0",
		"SIDECAR_CALLER_TOKEN=" + callerToken, "SIDECAR_VEND=humanapi", "SIDECAR_TOKEN_RATE=10000",
		"SIDECAR_HUMANAPI_CLIENT_ID=" + clientID, "SIDECAR_HUMANAPI_CLIENT_SECRET=" + clientSecret,
		"SIDECAR_HUMANAPI_TARGET=" + p.target.URL, "SIDECAR_HUMANAPI_TOKEN_URL=" + p.TokenURL(),
	}, environ...)
	s := &sidecar{t: t, stdout: newScanner("stdout"), stderr: newScanner("stderr"),
		pages:  newScanner("the admin listener"),
		client: &http.Client{Timeout: testkit.Patience, Transport: &http.Transport{DisableKeepAlives: true}}}
	cmd.Stdout, cmd.Stderr = s.stdout, s.stderr
	var err error
	if s.Process, err = testkit.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			end := s.stderr.String()
			t.Logf("stderr of the sidecar ends:\n%s", end[max(0, len(end)-2000):])
		}
	})
	addresses := s.AwaitReady(t, s.stderr)
	s.data, s.admin = addresses["data"], addresses["admin"]
	return s
}

// show returns a page of the admin listener, which is searched.
func (s *sidecar) show(path string) string {
	s.t.Helper()
	res, err := s.client.Get("http://" + s.admin + path)
	if err != nil {
		s.t.Errorf("GET %s: %v", path, err)
		return ""
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Errorf("GET %s: %v", path, err)
	}
	_, _ = fmt.Fprintf(s.pages, "%v\n%s\n", res.Header, body)
	return string(body)
}

// metric returns the sum of all samples of a series whose labels hold label.
func (s *sidecar) metric(name, label string) (sum float64) {
	s.t.Helper()
	for line := range strings.Lines(s.show("/metrics")) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		base, labels, _ := strings.Cut(series, "{")
		if base == name && strings.Contains(labels, label) {
			n, _ := strconv.ParseFloat(value, 64)
			sum += n
		}
	}
	return sum
}

// usage is what a process holds.
type usage struct {
	goroutines, files int
	resident          int // KiB
	heap              int // KiB at which garbage is collected next: about twice of what was alive at the last collection
	collections       int // so far
}

func (u usage) String() string {
	return fmt.Sprintf("%d goroutines, %d files, %.1f MiB resident, goal of the collector %.1f MiB",
		u.goroutines, u.files, float64(u.resident)/1024, float64(u.heap)/1024)
}

func (s *sidecar) usage() usage {
	s.t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID))
	if err != nil {
		s.t.Skip("no /proc: ", err)
	}
	return usage{int(s.metric("go_goroutines", "")), len(files),
		s.status("VmRSS"), int(s.metric("go_memstats_next_gc_bytes", "")) / 1024, int(s.metric("go_gc_duration_seconds_count", ""))}
}

// status returns a size from /proc in KiB.
func (s *sidecar) status(field string) int {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID))
	if err != nil {
		s.t.Skip("no /proc: ", err)
	}
	_, after, _ := strings.Cut(string(text), field+":")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return kib
}

// dump makes the process end with the stacks of all goroutines on stderr.
func (s *sidecar) dump() {
	s.t.Helper()
	if err := s.Signal(syscall.SIGQUIT); err != nil {
		s.t.Error(err)
	}
	s.AwaitExit(s.t)
}
