// Package kube runs the chart against a real API server: kube-apiserver, built from the version
// of Kubernetes in go.mod, with etcd, both on loopback and only for these tests. No other part of
// a cluster runs, so pods are created and judged, but never started.
//
// It is a module of its own, since it pins what Kubernetes pins. Whatever it creates was written
// by TestRenderedForKube of charts/tests, which renders the chart as Helm does.
package kube

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// api is the API server that all tests of a run share.
var api *server

// rendered is the folder with the manifests, as {namespace}/{release}.yaml.
var rendered string

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run prepares everything, runs the tests, and leaves nothing behind but the built kube-apiserver.
func run(m *testing.M) (code int, err error) {
	// The kernel ends a child process together with the thread that started it.
	runtime.LockOSThread()
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "token-sidecar-kube")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	took := func(what string) {
		fmt.Printf("%7.1f s  %s\n", time.Since(began).Seconds(), what)
		began = time.Now()
	}

	version, err := output(ctx, ".", "go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
	if err != nil {
		return 0, err
	}
	binary, err := serverBinary(ctx, version)
	if err != nil {
		return 0, err
	}
	took("build of kube-apiserver " + version + ", " + binary)

	rendered = filepath.Join(dir, "rendered")
	if err := render(ctx, rendered, version); err != nil {
		return 0, err
	}
	definitions := filepath.Join(dir, "definitions")
	if err := writeDefinitions(ctx, definitions); err != nil {
		return 0, err
	}
	took("manifests and definitions of custom resources")

	api, err = startServer(ctx, binary, dir)
	if err != nil {
		return 0, err
	}
	defer api.stop()
	if err := api.define(ctx, definitions); err != nil {
		return 0, err
	}
	took("start of etcd and kube-apiserver")

	code = m.Run()
	took("tests")
	return code, nil
}
