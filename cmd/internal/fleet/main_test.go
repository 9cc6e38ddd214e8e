package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// patience bounds every wait for something that must happen, for slow machines.
const patience = 20 * time.Second

// binary is where TestMain puts the program under test.
func binary() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("token-sidecar-fleet-%d", os.Getpid()), "token-sidecar")
}

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir := filepath.Dir(binary())
	if err := os.Mkdir(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// As a release is built: without -race even under go test -race.
	build := exec.Command("go", "build", "-trimpath", "-o", binary(), "../../token-sidecar")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build of the program under test:", err)
		return 1
	}
	return m.Run()
}

// soak returns the second duration if the long tests are asked for.
func soak(ordinary, long time.Duration) time.Duration {
	if os.Getenv("SOAK") == "1" {
		return long
	}
	return ordinary
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
		time.Sleep(5 * time.Millisecond)
	}
}

// contextFor returns a context that ends after d, even in a test's cleanup.
func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(t.Context()), d)
}
