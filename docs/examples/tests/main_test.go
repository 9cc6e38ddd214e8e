// Package tests holds the tests of the example for Docker Compose. It is a module of its own so that
// the reader of Compose files stays out of the program's go.mod. The tests of the other examples
// are in cmd/internal/examples.
package tests

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	root    = "../../.."
	example = "../compose"
)

// patience bounds every wait. It finds what hangs, and judges no speed.
const patience = 90 * time.Second

var built struct {
	once sync.Once
	dir  string
	err  error
	said []byte
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// binary builds the program once, and returns its path.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "token-sidecar-compose"); built.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", built.dir, "./cmd/token-sidecar")
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
		built.said, built.err = cmd.CombinedOutput()
	})
	if built.err != nil {
		t.Fatalf("build the program: %v\n%s", built.err, built.said)
	}
	return filepath.Join(built.dir, "token-sidecar")
}

// tool returns the path of a program, and skips the test without it: make tools installs it.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", name)
	}
	if err != nil {
		t.Skipf("%s is not installed; make tools does it", name)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// eventually calls check until it says nothing.
func eventually(t *testing.T, what string, check func() string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		said := check()
		if said == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s: %s", what, patience, said)
		}
	}
}

// output collects what a process writes.
type output struct {
	mu   sync.Mutex // guards text
	text strings.Builder
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

// start runs a program until the test ends, and returns what it writes.
func start(t *testing.T, environ []string, name string, args ...string) *output {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd, out := exec.CommandContext(ctx, name, args...), &output{}
	cmd.Env, cmd.Stdout, cmd.Stderr = environ, out, out
	cmd.WaitDelay = time.Second // what it has started may hold the pipe
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			text := out.String()
			t.Logf("%s: %s", filepath.Base(name), text[:min(len(text), 4000)])
		}
	})
	return out
}

// freePort returns a port of loopback that is free now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	return port
}

// provider is an OCLC that gives tokens to the client that it knows, and whose API says what came.
func provider(t *testing.T, wskey, secret string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		id, password, _ := r.BasicAuth()
		switch {
		case r.URL.Path != "/token":
			_ = json.NewEncoder(w).Encode(map[string]string{"path": r.URL.Path, "token": r.Header.Get("Authorization")})
		case id != wskey || password != secret:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			institution := regexp.MustCompile(`\d+$`).FindString(r.FormValue("scope"))
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "token-of-" + institution, "token_type": "bearer", "expires_in": 1199})
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}
