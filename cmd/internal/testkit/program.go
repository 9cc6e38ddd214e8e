// Package testkit is what the tests and the bench of the program share: one place that
// builds and starts processes.
//
// environ.go has the settings with which the program uses a simulated provider.
// redis.go starts a real Redis server; process.go starts any process, waits for it and
// ends it; program.go builds the sidecar and waits until it is ready. leak.go searches
// what they print for secrets.
package testkit

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

// dir returns the directory of the program that Main builds, which is removed
// at the end of the tests.
func dir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("token-sidecar-test-%d", os.Getpid()))
}

// Binary returns the path of the program that Main has built. With -short it
// skips the test instead: tests that start processes are left out then.
func Binary(t testing.TB) string {
	t.Helper()
	skipIfShort(t)
	return program()
}

// program is the path of the program that Main builds.
func program() string { return filepath.Join(dir(), "token-sidecar") }

func skipIfShort(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts processes, which -short leaves out")
	}
}

// Run is a TestMain of tests that spend their time waiting: it runs the tests of m,
// as many of the parallel ones as given at the same time unless the flag -parallel
// says otherwise, and returns the exit code. By itself go test would run one per
// processor.
func Run(m *testing.M, parallel int) int {
	if !flag.Parsed() { // by Main, which has changed a flag since
		flag.Parse()
	}
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set(strconv.Itoa(parallel))
	}
	return m.Run()
}

// NoNameServer makes look-ups of names fail at once in this process, but for those of /etc/hosts: a
// test must not ask the name server of the machine that it runs on.
func NoNameServer() {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("there is no name server in this test")
	}}
}

// Main is Run for tests that start the program, which it builds first.
func Main(m *testing.M, parallel int) int {
	flag.Parse()
	// Without the list of what the tests read, the go command keeps no result of
	// them. It would not notice that the program has changed, since the tests do not
	// import it.
	_ = flag.Set("test.testlogfile", "")
	if testing.Short() {
		return Run(m, parallel)
	}
	if err := os.Mkdir(dir(), 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir()) }()
	if err := Build(context.Background(), program(), Version); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return Run(m, parallel)
}
