package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// seen are the trace ids of the requests that reached a target.
type seen struct {
	mu  sync.Mutex // guards ids
	ids map[string]bool
}

// audited starts a sidecar with an audit, before a target that notes what it sees.
func audited(t *testing.T, launched func(*process), environ ...string) (*process, *seen) {
	t.Helper()
	human, targets := upstreamtest.NewHumanAPI(upstreamtest.Options{Lifetime: time.Hour, ClientID: clientID, ClientSecret: clientSecret}), &seen{ids: map[string]bool{}}
	t.Cleanup(human.Close)
	hidden := &secrets{}
	hidden.add(clientSecret)
	human.SetAPIFault(func(r *http.Request, _ int) *upstreamtest.Answer {
		hidden.add(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		_, id, _ := strings.Cut(r.Header.Get("Traceparent"), "-")
		targets.mu.Lock()
		defer targets.mu.Unlock()
		targets.ids[id[:32]] = true
		return nil
	})
	p := prepare(t, hidden, exec.Command(testkit.Binary(t)), append([]string{"SIDECAR_HUMANAPI_CLIENT_ID=" + clientID, "SIDECAR_HUMANAPI_CLIENT_SECRET=" + clientSecret,
		"SIDECAR_HUMANAPI_TARGET=" + human.APIURL(), "SIDECAR_HUMANAPI_TOKEN_URL=" + human.TokenURL()}, environ...)...)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	launched(p)
	p.run()
	p.addrs = p.AwaitReady(t, p.stderr)
	return p, targets
}

// auditKey is a new key of pseudonyms.
func auditKey(t *testing.T) string {
	t.Helper()
	key, _, _ := run(t, nil, "keygen")
	return strings.TrimSpace(key)
}

// askFor sends a request for a person, with a trace id of its own.
func (p *process) askFor(n int, person string) (answer, error) {
	return p.get("/humanapi/v1/canary-path", "X-Token-Subject", person, "Traceparent", fmt.Sprintf("00-%032x-00000000000000ab-01", n+1))
}

// tellsNothing fails if the audit or the log holds a secret, a person or a path.
func (p *process) tellsNothing(audit string) {
	p.t.Helper()
	p.secret.search(p.t, "the audit", audit)
	if strings.Contains(audit+p.stderr.String(), "canary") {
		p.t.Error("a person or a path is in the audit or in the log")
	}
}

// sentLines returns the trace ids of the requests whose sent line a text has, and the subjects
// there. Of a text that was cut off, the last line may be a part.
func sentLines(t *testing.T, text string, cut bool) (ids, subjects map[string]bool) {
	t.Helper()
	ids, subjects = map[string]bool{}, map[string]bool{}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			if i < len(lines)-1 || line != "" && !cut {
				t.Fatalf("line %d is %q", i+1, line)
			}
			continue
		}
		if l["event"] == "sent" {
			ids[l["trace_id"].(string)], subjects[l["subject"].(string)] = true, true
		}
	}
	return ids, subjects
}

// slowly reads a pipe, so that lines wait for room in it, until hurry is closed, and then the rest.
func slowly(r io.Reader, hurry <-chan struct{}) (text []byte) {
	part := make([]byte, 4<<10)
	for {
		n, err := r.Read(part)
		text = append(text, part[:n]...)
		if err != nil {
			return text
		}
		select {
		case <-hurry:
		case <-time.After(4 * time.Millisecond):
		}
	}
}

// TestEveryRequestThatTheTargetSawHasItsLine kills the sidecar in the middle of 10,000 requests.
//
// Case AU4.
func TestEveryRequestThatTheTargetSawHasItsLine(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, target := audited(t, func(p *process) { p.cmd.Stdout = w }, "SIDECAR_AUDIT=stdout", "SIDECAR_AUDIT_KEY="+auditKey(t))
	_ = w.Close()
	killed, read := make(chan struct{}), make(chan []byte, 1)
	go func() { read <- slowly(r, killed) }()
	const all, callers = 10_000, 16
	var next, failed atomic.Int64
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for n := next.Add(1); n <= all; n = next.Add(1) {
				if n == all/2 {
					p.Kill()
					close(killed)
				}
				if a, err := p.askFor(int(n), fmt.Sprint("canary-person-", n%50)); err != nil || a.status != http.StatusOK {
					failed.Add(1)
				}
			}
		})
	}
	wait.Wait()
	text := <-read
	p.tellsNothing(string(text))
	ids, subjects := sentLines(t, string(text), true)
	target.mu.Lock()
	defer target.mu.Unlock()
	if n := len(target.ids); n < all/2-callers || n > all-int(failed.Load())+callers || len(subjects) != 50 {
		t.Fatalf("the target saw %d requests, %d failed, %d subjects", n, failed.Load(), len(subjects))
	}
	for id := range target.ids {
		if !ids[id] {
			t.Fatalf("the target saw %s, which has no line; there are %d lines for %d requests", id, len(ids), len(target.ids))
		}
	}
}

// TestNothingIsSentWhenTheAuditIsFull has a full disk, and a pipe that nobody reads any more. Then
// the sidecar lives on and serves all else.
//
// Case AU2.
func TestNothingIsSentWhenTheAuditIsFull(t *testing.T) {
	t.Parallel()
	for where, launched := range map[string]func(*process){
		"/dev/full": func(*process) {},
		"stdout": func(p *process) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
			t.Cleanup(func() { _ = w.Close() })
			p.cmd.Stdout = w
		},
	} {
		p, target := audited(t, launched, "SIDECAR_AUDIT="+where, "SIDECAR_AUDIT_KEY="+auditKey(t))
		for n := range 20 {
			if a, err := p.askFor(n, "canary-person"); err != nil || a.status != 503 || !strings.Contains(a.body, "audit_unavailable") {
				t.Fatalf("%s: %d %s %v", where, a.status, a.body, err)
			}
		}
		target.mu.Lock()
		if len(target.ids) != 0 {
			t.Errorf("%s: the target saw %d requests", where, len(target.ids))
		}
		target.mu.Unlock()
		if got := p.metric("token_sidecar_audit_lines_total", `outcome="failed"`); got != 20 {
			t.Errorf("%s: %g lines failed", where, got)
		}
	}
}

// TestPseudonymsAreFoundByWhoHasTheKey replaces the key while the sidecar runs, and asks the program
// for the pseudonyms of a person under both.
//
// Case AU3.
func TestPseudonymsAreFoundByWhoHasTheKey(t *testing.T) {
	t.Parallel()
	keys := []string{auditKey(t), auditKey(t)}
	file := filepath.Join(t.TempDir(), "key")
	writeOver(t, file, keys[0])
	p, _ := audited(t, func(*process) {}, "SIDECAR_AUDIT=stdout", "SIDECAR_AUDIT_KEY_FILE="+file)
	p.secret.add(keys...)
	for n, key := range keys {
		if n > 0 {
			writeOver(t, file, key)
			p.takes("SIDECAR_AUDIT_KEY", n)
		}
		if a, err := p.askFor(n, "canary-person"); err != nil || a.status != http.StatusOK {
			t.Fatal(a.status, err)
		}
	}
	testkit.Eventually(t, "four lines", func() error {
		if n := strings.Count(p.stdout.String(), "\n"); n != 4 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	p.tellsNothing(p.stdout.String())
	_, subjects := sentLines(t, p.stdout.String(), false)
	if len(subjects) != 2 {
		t.Fatalf("%d pseudonyms", len(subjects))
	}
	for _, wrong := range []string{"a\n canary-person\n", "a\ncanary-person \n", "a\ncanary-\xff\n"} { // no request can have it
		cmd := exec.Command(testkit.Binary(t), "audit", "pseudonym")
		cmd.Env, cmd.Stdin = []string{"SIDECAR_AUDIT_KEY=" + keys[0]}, strings.NewReader(wrong)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "line 2") || strings.Contains(string(out), "canary") {
			t.Errorf("%q: %s %v", wrong, out, err)
		}
	}
	for _, key := range keys {
		cmd := exec.Command(testkit.Binary(t), "audit", "pseudonym")
		cmd.Env, cmd.Stdin = []string{"SIDECAR_AUDIT_KEY=" + key}, strings.NewReader("canary-person\nsomebody else\n")
		out, err := cmd.Output()
		lines := strings.Split(string(out), "\n")
		if err != nil || len(lines) != 3 || !subjects[lines[0]] || subjects[lines[1]] {
			t.Errorf("%q %v", out, err)
		}
	}
}

// TestCheckTriesTheAudit finds a path that is no file, as the start would.
func TestCheckTriesTheAudit(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(testkit.Binary(t), "check")
	cmd.Env = testkit.Environ("PDX_CLIENT_ID=id", "PDX_CLIENT_SECRET=secret", "AUDIT="+t.TempDir(), "AUDIT_KEY="+auditKey(t))
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "SIDECAR_AUDIT: ") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestHangupChangesNothing sends what rotates logs may send.
func TestHangupChangesNothing(t *testing.T) {
	t.Parallel()
	p, _ := audited(t, func(*process) {}, "SIDECAR_AUDIT=stdout", "SIDECAR_AUDIT_KEY="+auditKey(t))
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		if a, err := p.askFor(n, "canary-person"); err != nil || a.status != http.StatusOK {
			t.Fatal(a.status, err)
		}
	}
}
