package fleet

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	clientID     = "fleet-client-id"
	clientSecret = "fleet-client-secret-canary"
)

// fleet is what the replicas have in common.
type fleet struct {
	t        *testing.T
	provider *provider
	environ  []string
}

// newFleet returns a fleet without replicas, whose settings environ are added
// to those of the provider. Without a Redis URL among them it shares nothing.
func newFleet(t *testing.T, p *provider, environ ...string) *fleet {
	return &fleet{t, p, append([]string{
		"SIDECAR_LISTEN=127.0.0.1:0", "SIDECAR_ADMIN_LISTEN=127.0.0.1:0",
		"SIDECAR_LOG_LEVEL=info", "SIDECAR_TOKEN_RATE=1000",
		"SIDECAR_HUMANAPI_CLIENT_ID=" + clientID, "SIDECAR_HUMANAPI_CLIENT_SECRET=" + clientSecret,
		"SIDECAR_HUMANAPI_TARGET=" + p.target.url(), "SIDECAR_HUMANAPI_TOKEN_URL=" + p.tokens.URL,
		"SIDECAR_REDIS_KEYS=" + ring("a"),
	}, environ...)}
}

// ring returns the setting of a key ring with these ids. A key follows from
// its id.
func ring(ids ...string) string {
	var keys []string
	for _, id := range ids {
		key := sha256.Sum256([]byte("key " + id))
		keys = append(keys, id+":"+base64.StdEncoding.EncodeToString(key[:]))
	}
	return strings.Join(keys, ",")
}

// replica is one running sidecar. It is killed when its test ends.
type replica struct {
	t           *testing.T
	cmd         *exec.Cmd
	stderr      *output
	data, admin string // addresses
	callers     *callers
	done        chan struct{} // closed when the process has ended
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

// replicas starts n replicas.
func (f *fleet) replicas(n int, environ ...string) []*replica {
	f.t.Helper()
	var all []*replica
	for range n {
		all = append(all, f.launch(environ...))
	}
	for _, r := range all {
		r.awaitReady()
	}
	return all
}

// startAlone starts a replica that does not share, and waits until it listens.
func (f *fleet) startAlone() *replica {
	f.t.Helper()
	alone := *f
	alone.environ = slices.DeleteFunc(slices.Clone(f.environ), func(setting string) bool {
		return strings.HasPrefix(setting, "SIDECAR_REDIS_")
	})
	return alone.start()
}

// start starts a replica, with environ put in place of what all have, and
// waits until it listens.
func (f *fleet) start(environ ...string) *replica {
	f.t.Helper()
	r := f.launch(environ...)
	r.awaitReady()
	return r
}

func (f *fleet) launch(environ ...string) *replica {
	f.t.Helper()
	cmd := exec.Command(binary())
	// Of two settings of a variable, exec passes the last on.
	cmd.Env = append(append([]string{}, f.environ...), environ...)
	r := &replica{t: f.t, cmd: cmd, stderr: &output{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = r.stderr, r.stderr
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(r.done)
	}()
	f.t.Cleanup(func() {
		r.kill()
		if f.t.Failed() {
			f.t.Logf("replica %d said:\n%s", cmd.Process.Pid, r.warnings())
		}
	})
	return r
}

// awaitReady waits for the log to name the listeners.
func (r *replica) awaitReady() {
	r.t.Helper()
	eventually(r.t, "the replica listens", func() error {
		select {
		case <-r.done:
			r.t.Fatalf("the replica exited with code %d: %s", r.cmd.ProcessState.ExitCode(), r.stderr)
		default:
		}
		for line := range strings.Lines(r.stderr.String()) {
			var entry struct{ Message, Listener, Address string }
			_ = json.Unmarshal([]byte(line), &entry)
			switch entry.Listener {
			case "data":
				r.data = entry.Address
			case "admin":
				r.admin = entry.Address
			}
		}
		if r.data == "" || r.admin == "" {
			return errors.New("the log does not say so")
		}
		return nil
	})
	r.callers = &callers{addr: r.data}
}

// kill ends the replica with SIGKILL.
func (r *replica) kill() {
	_ = r.cmd.Process.Kill()
	<-r.done
	if r.callers != nil {
		r.callers.close()
	}
}

// stop ends the replica as an orchestrator does.
func (r *replica) stop() {
	r.t.Helper()
	r.signal(syscall.SIGTERM)
	select {
	case <-r.done:
	case <-time.After(patience):
		r.t.Errorf("the replica still runs %s after SIGTERM", patience)
	}
	r.kill()
}

func (r *replica) signal(s syscall.Signal) { _ = r.cmd.Process.Signal(s) }

// warnings returns what the replica logged, without the many lines about
// requests and token requests.
func (r *replica) warnings() string {
	var b strings.Builder
	for line := range strings.Lines(r.stderr.String()) {
		if !strings.Contains(line, `"message":"request"`) && b.Len() < 4000 {
			b.WriteString(line)
		}
	}
	return b.String()
}

func (r *replica) freeze() { r.signal(syscall.SIGSTOP) }
func (r *replica) thaw()   { r.signal(syscall.SIGCONT) }
