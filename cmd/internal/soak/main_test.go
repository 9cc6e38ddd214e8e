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
	if raced() {
		os.Exit(kit.Main(m, buildPlain))
	}
	os.Exit(kit.Main(m, nil))
}

// raced reports whether the race detector slows this program down.
func raced() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// buildPlain builds these tests without the race detector. It would see nothing
// of the sidecar, which is another process, and slow down by ten what makes the
// requests and answers them.
func buildPlain(dir string) (string, error) {
	tests := filepath.Join(dir, "tests")
	build := exec.Command("go", "test", "-c", "-o", tests, ".")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("build of the tests without the race detector: %w", err)
	}
	return tests, nil
}
