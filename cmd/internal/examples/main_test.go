package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"token-sidecar/cmd/internal/testkit"
)

const (
	root     = "../../.."
	examples = root + "/docs/examples"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m, 4)) }

// tool skips the test if a program is missing, which make tools installs.
func tool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed; make tools does it", name)
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
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// sidecar is a running program.
type sidecar struct {
	*testkit.Process
	log       *testkit.Output
	addresses map[string]string // of its listeners
}

// start runs cmd, which is or becomes the sidecar, and waits until that is ready.
func start(t *testing.T, cmd *exec.Cmd, environ ...string) sidecar {
	t.Helper()
	s := sidecar{log: &testkit.Output{}}
	cmd.Env, cmd.Stdout, cmd.Stderr = environ, s.log, s.log
	var err error
	if s.Process, err = testkit.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	s.addresses = s.AwaitReady(t, s.log)
	return s
}
