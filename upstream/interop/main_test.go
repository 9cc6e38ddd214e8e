// Package interop holds tests of the program against authorization servers that others
// wrote: oidc-provider, which runs in Node.js, and Ory Fosite, which is a library. It is a
// module of its own so that Fosite stays out of the program's go.mod.
//
// oidcprovider_test.go, rotation_test.go and fosite_test.go are the tests. server_test.go starts
// oidc-provider from testdata/oidc-provider; target_test.go is an API that asks the
// authorization server whether a token is good; sidecar_test.go starts the program and
// sends requests through it; keys_test.go has secrets, and keys in the forms that settings take. This file
// builds the program and installs oidc-provider.
package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// patience bounds each wait for something that must happen. It judges no speed: it only
// ends what hangs.
const patience = 90 * time.Second

// work is a directory for what the tests build and install. It is removed at their end.
var work string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "token-sidecar-interop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	work = dir
	code := m.Run()
	_ = os.RemoveAll(work)
	os.Exit(code)
}

// binary builds the program and returns its path. The flags are those of other tests, so that
// the go command has most of it compiled already.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(work, "token-sidecar")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "./cmd/token-sidecar")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	return path, run(build)
})

// oidcProvider installs oidc-provider at the versions of package-lock.json, outside of the
// source tree, and returns the directory with the server. Another version is chosen with
// npm install --package-lock-only --omit-lockfile-registry-resolved, so that the file does
// not say from which registry packages came. 8.8.1 runs on Node.js 18, which Debian 12 has;
// the versions from 9 on ask for Node.js 22.
var oidcProvider = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(work, "oidc-provider")
	if err := os.CopyFS(dir, os.DirFS("testdata/oidc-provider")); err != nil {
		return "", err
	}
	install := exec.Command("npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
	install.Dir = dir
	return dir, run(install)
})

// run runs cmd. Its error holds what cmd has printed.
func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// need skips the test if a program is missing that a Debian package has. With CI set it
// fails instead: there the packages of .ci/tools are installed.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("%s is not installed; make tools installs it", name)
	}
}

// eventually waits until check returns nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for err := check(); err != nil; err = check() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
