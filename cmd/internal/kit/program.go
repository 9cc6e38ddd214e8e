// Package kit is what the tests and the bench of the built program share.
package kit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Build builds the sidecar into the file path as a release is built: stripped,
// without C, and without the race detector even under go test -race. version is
// what the program says of itself; empty leaves that to the program.
func Build(ctx context.Context, path, version string) error {
	flags := "-s -w"
	if version != "" {
		flags += " -X main.version=" + version
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", flags, "-o", path, "token-sidecar/cmd/token-sidecar")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build of the sidecar: %w", err)
	}
	return nil
}

// Version is what the program that Main builds says of itself.
const Version = "9.8.7"

// Dir returns the directory of the program that Main builds, which is removed
// at the end of the tests.
func Dir() string {
	if dir := os.Getenv(dirVariable); dir != "" {
		return dir // of the process that runs this one
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("token-sidecar-test-%d", os.Getpid()))
}

const dirVariable = "TOKEN_SIDECAR_TEST_DIR"

// Binary returns the path of the program that Main builds.
func Binary() string { return filepath.Join(Dir(), "token-sidecar") }

// Main builds the program and calls run, the Run of a testing.M, for a TestMain.
// Tests that fail while the machine is taken away from them get another chance.
// It returns the exit code.
func Main(run func() int) int {
	if os.Getenv(dirVariable) != "" {
		return run() // built, and perhaps another chance itself
	}
	if err := os.Mkdir(Dir(), 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(Dir()) }()
	if err := Build(context.Background(), Binary(), Version); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return runFairly(run, thisMachine)
}

// Run runs a program of tests in place of this one, with its flags and more.
func Run(program string, more ...string) int {
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(arg string) bool {
		return strings.HasPrefix(arg, "-test.testlogfile") || strings.Contains(arg, "cover") // of the go command
	})
	cmd := exec.Command(program, append(args, more...)...)
	cmd.Env = append(os.Environ(), dirVariable+"="+Dir())
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, filepath.Base(program)+":", err)
		return 1
	}
	return 0
}
