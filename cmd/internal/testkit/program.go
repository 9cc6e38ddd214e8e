// Package testkit is what the tests and the bench of the built program share.
package testkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
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

// Main is a TestMain: it builds the program and runs the tests of m in a process
// of their own. Tests that fail while the host takes the machine away get another
// chance. The go command keeps no result of them, since it does not see what they
// read; so none outlives a change of the program. If plain is set, that process is
// without the race detector: it would see nothing of the sidecar, which is another
// process, and slow down by several times what makes the requests and answers
// them. Main returns the exit code.
func Main(m *testing.M, plain bool) int {
	if os.Getenv(dirVariable) != "" {
		return m.Run() // in that process
	}
	tests, err := os.Args[0], os.Mkdir(Dir(), 0o755)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(Dir()) }()
	err = Build(context.Background(), Binary(), Version)
	if err == nil && plain && raced() {
		tests = filepath.Join(Dir(), "tests")
		err = buildPlain(tests)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	all := fairness{watchTicks, awaitFair, func(only string) ([]string, int) { return runTests(tests, only) }}
	if slices.Contains(os.Args, "-test.failfast=true") {
		_, code := all.tests("") // those after the first failure have not run
		return code
	}
	return all.run()
}

// raced reports whether this program has the race detector.
func raced() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// buildPlain builds the tests of the working directory without it.
func buildPlain(path string) error {
	build := exec.Command("go", "test", "-c", "-o", path, ".")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build of the tests without the race detector: %w", err)
	}
	return nil
}

// runTests runs a program of tests in place of this one, with its flags, and only
// those tests that match the pattern if it is not empty. It returns which failed,
// and the exit code.
func runTests(program, only string) (failed []string, code int) {
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return name == "-test.testlogfile" || name == "-test.coverprofile" || name == "-test.gocoverdir" // of the go command
	})
	if only != "" {
		args = append(args, "-test.run="+only)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), dirVariable+"="+Dir())
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(os.Stdout, &printed), os.Stderr
	err := cmd.Run()
	for _, match := range failure.FindAllSubmatch(printed.Bytes(), -1) {
		failed = append(failed, string(match[1]))
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil, 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return failed, exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, err) // not started, or killed
	return failed, died
}

var failure = regexp.MustCompile(`(?m)^\x16?--- FAIL: (\w+) `) // \x16 is in front with -json

// died is the exit code of a program of tests that panicked.
const died = 2
