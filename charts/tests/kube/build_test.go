package kube

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// controllerGen is the program by which the Prometheus operator makes its CRDs from its Go types.
const controllerGen = "sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0"

// serverBinary returns the path of kube-apiserver in the user's cache directory. Where it is not
// there yet it is built, which takes minutes.
func serverBinary(ctx context.Context, version string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "token-sidecar")
	path := filepath.Join(dir, "kube-apiserver-"+version)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	fmt.Printf("building kube-apiserver %s, once; this takes minutes\n", version)
	// An interrupted build leaves nothing that a later run would take for the program.
	built := path + ".unfinished"
	if _, err := output(ctx, ".", "go", "build", "-ldflags", "-s -w -X k8s.io/component-base/version.gitVersion="+version,
		"-o", built, "k8s.io/kubernetes/cmd/kube-apiserver"); err != nil {
		return "", err
	}
	return path, os.Rename(built, path)
}

// render has charts/tests write all manifests into dir, and makes sure that they are for version.
func render(ctx context.Context, dir, version string) error {
	if _, err := output(ctx, "..", "go", "test", "-count", "1", "-timeout", "10m", "-run", "^TestRenderedForKube$", ".", "-write", dir); err != nil {
		return err
	}
	of, err := os.ReadFile(filepath.Join(dir, "kube-version"))
	if err == nil && string(of) != version {
		err = fmt.Errorf("charts/tests renders for Kubernetes %s, and go.mod has %s", of, version)
	}
	return err
}

// writeDefinitions writes the CRDs of the Prometheus operator into dir, from the version of its
// types that charts/tests decodes the chart's objects into.
func writeDefinitions(ctx context.Context, dir string) error {
	_, err := output(ctx, "..", "go", "run", controllerGen, "crd",
		"paths=github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1", "output:crd:dir="+dir)
	return err
}

// output runs a command in dir and returns what it prints, without the white space around it.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	// Each of these commands belongs to the module of its folder.
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", cmd, err, out, &errors)
	}
	return strings.TrimSpace(string(out)), nil
}
