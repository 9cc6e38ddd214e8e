// Package tests holds the tests of what platform teams use: the chart, the
// kustomize component, the rules, the dashboard, the image and docs/kubernetes.md. It is a module of its
// own so that Helm and Kubernetes stay out of the program's go.mod. Below it, podtable is the table of pods
// for injection, and kube, a module of its own too, has the chart judged by a real API server.
package tests

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/klog/v2"
)

// update rewrites what the tests compare with: the golden files, and the parts
// of the chart that are made from the program's settings.
var update = flag.Bool("update", false, "rewrite golden files and generated parts of the chart")

const (
	root     = "../.."
	chartDir = "../token-sidecar"
)

func TestMain(m *testing.M) {
	if os.Getenv(jailVariable) != "" {
		enterJail() // does not return
	}
	flag.Parse()
	klog.SetLogger(klog.Logger{}) // of the API server's admission plugins
	code := m.Run()
	if dir := filepath.Dir(built.path); built.path != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

var built struct {
	once sync.Once
	path string
	err  error
}

// binary builds the program as the Dockerfile does, once, and returns its path.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "token-sidecar")
		if err != nil {
			built.err = err
			return
		}
		// A user without rights runs it from here.
		built.err = os.Chmod(dir, 0o755)
		built.path = filepath.Join(dir, "token-sidecar")
		built.err = build(root, built.path)
	})
	if built.err != nil {
		t.Fatalf("build the program: %v", built.err)
	}
	return built.path
}

// build makes the program from the source in dir with the flags of the Dockerfile.
func build(dir, path string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=1.2.3-test",
		"-o", path, "./cmd/token-sidecar")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// tool returns the path of a program that a Debian package has, and skips the
// test without it: the Makefile installs what is missing.
func tool(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed (Debian package %s)", name, pkg)
		}
		t.Skipf("%s is not installed (Debian package %s)", name, pkg)
	}
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// compare fails unless the file at path holds text, or writes it with -update.
func compare(t *testing.T, path string, text []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test ./... -update writes it", err)
	}
	if string(old) != string(text) {
		t.Errorf("%s differs; see what go test ./... -update changes in it:\n%s", path, firstDifference(string(old), string(text)))
	}
}
