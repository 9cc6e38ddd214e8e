package soak

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait for something that must happen, for slow machines.
const patience = 30 * time.Second

// binary is where TestMain puts the program under test.
func binary() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("token-sidecar-soak-%d", os.Getpid()), "token-sidecar")
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
	// As a release is built: stripped, without C, and without -race even under go test -race.
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary(), "../../token-sidecar")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build of the program under test:", err)
		return 1
	}
	if raced() {
		return runPlain()
	}
	return m.Run()
}

// raced reports whether the race detector slows this program down.
func raced() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// runPlain runs these tests without the race detector. It would see nothing of
// the sidecar, which is another process, and slow down by ten what makes the
// requests and answers them.
func runPlain() int {
	tests := filepath.Join(filepath.Dir(binary()), "tests")
	build := exec.Command("go", "test", "-c", "-o", tests, ".")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build of the tests without the race detector:", err)
		return 1
	}
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(arg string) bool {
		return strings.HasPrefix(arg, "-test.testlogfile") || strings.Contains(arg, "cover") // of the go command
	})
	cmd := exec.Command(tests, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "tests without the race detector:", err)
		return 1
	}
	return 0
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
		time.Sleep(10 * time.Millisecond)
	}
}
