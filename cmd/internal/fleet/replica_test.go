package fleet

import (
	"crypto/sha256"
	"encoding/base64"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"token-sidecar/cmd/internal/testkit"
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
		"SIDECAR_HUMANAPI_TARGET=" + p.target.url(), "SIDECAR_HUMANAPI_TOKEN_URL=" + p.TokenURL(),
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
	*testkit.Process
	t           *testing.T
	stderr      *testkit.Output
	data, admin string // addresses
	callers     *callers
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
	cmd := exec.Command(testkit.Binary(f.t))
	// Of two settings of a variable, exec passes the last on.
	cmd.Env = append(append([]string{}, f.environ...), environ...)
	r := &replica{t: f.t, stderr: &testkit.Output{}}
	cmd.Stdout, cmd.Stderr = r.stderr, r.stderr
	var err error
	if r.Process, err = testkit.Start(cmd); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		r.kill()
		if f.t.Failed() {
			f.t.Logf("replica %d said:\n%s", r.PID, r.warnings())
		}
	})
	return r
}

// awaitReady waits for the log to name the listeners.
func (r *replica) awaitReady() {
	r.t.Helper()
	addresses := r.AwaitReady(r.t, r.stderr)
	r.data, r.admin = addresses["data"], addresses["admin"]
	r.callers = &callers{addr: r.data}
}

// kill ends the replica with SIGKILL.
func (r *replica) kill() {
	r.Kill()
	if r.callers != nil {
		r.callers.close()
	}
}

// stop ends the replica as an orchestrator does.
func (r *replica) stop() {
	r.t.Helper()
	if err := r.Signal(syscall.SIGTERM); err != nil {
		r.t.Error(err)
	}
	r.AwaitExit(r.t)
	r.callers.close()
}

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
