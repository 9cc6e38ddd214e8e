package soak

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"

	"token-sidecar/cmd/internal/kit"
)

func TestMain(m *testing.M) {
	run := m.Run
	if raced() {
		run = runPlain
	}
	os.Exit(kit.Main(run))
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
	tests := filepath.Join(kit.Dir(), "tests")
	build := exec.Command("go", "test", "-c", "-o", tests, ".")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build of the tests without the race detector:", err)
		return 1
	}
	return kit.Run(tests)
}
