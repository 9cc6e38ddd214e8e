// Package main_test runs the built binary as its users do: with an
// environment, signals and sockets, beside simulated providers.
package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is where TestMain puts the program under test.
func binary() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("token-sidecar-test-%d", os.Getpid()), "token-sidecar")
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
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=9.8.7", "-o", binary(), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build of the program under test:", err)
		return 1
	}
	return m.Run()
}
