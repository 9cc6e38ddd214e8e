package tests

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// instructions are those of the Dockerfile, continued lines joined, by stage.
func instructions(t *testing.T) (all []string, last []string) {
	t.Helper()
	text := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(string(read(t, root+"/Dockerfile")), "")
	text = regexp.MustCompile(`\\\n\s*`).ReplaceAllString(text, "")
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if strings.HasPrefix(line, "FROM ") {
			last = nil
		}
		all, last = append(all, line), append(last, line)
	}
	return all, last
}

func TestDockerfileHasWhatItMust(t *testing.T) {
	all, last := instructions(t)
	for _, want := range []string{
		"ARG GO_IMAGE=docker.io/library/golang:1.26",
		"ARG BASE_IMAGE=gcr.io/distroless/static:nonroot",
		"FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build",
	} {
		if !slices.Contains(all, want) {
			t.Errorf("no line %q", want)
		}
	}
	for _, want := range []string{"FROM ${BASE_IMAGE}", "USER 65532:65532", `ENTRYPOINT ["/token-sidecar"]`,
		"COPY --from=build /out/token-sidecar /token-sidecar"} {
		if !slices.Contains(last, want) {
			t.Errorf("the last stage has no line %q", want)
		}
	}
	known := regexp.MustCompile(`^(FROM|ARG|LABEL|COPY|USER|HEALTHCHECK|ENTRYPOINT) `)
	for _, line := range last {
		// No shell is there to RUN with, and no instruction may bring secrets or files along.
		if !known.MatchString(line) {
			t.Errorf("the last stage has %q", line)
		}
		if strings.HasPrefix(line, "HEALTHCHECK") && !strings.HasSuffix(line, `CMD ["/token-sidecar", "healthcheck"]`) {
			t.Errorf("the health check needs a shell: %s", line)
		}
	}
	build := strings.Join(all, "\n")
	for _, flag := range []string{"CGO_ENABLED=0", "-trimpath", "-buildvcs=false", `-s -w -X main.version=$VERSION`} {
		if !strings.Contains(build, flag) {
			t.Errorf("the build has no %s", flag)
		}
	}
}

// TestBuildContextHasTheWholeProgram makes sure that .dockerignore lets in all that the program
// is built from.
func TestBuildContextHasTheWholeProgram(t *testing.T) {
	var allowed []string
	for _, line := range strings.Split(string(read(t, root+"/.dockerignore")), "\n") {
		if name, ok := strings.CutPrefix(line, "!"); ok {
			allowed = append(allowed, name)
		}
	}
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{if .Module.Main}}{{.ImportPath}}{{end}}{{end}}", "./cmd/token-sidecar")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]bool{"go.mod": true, "go.sum": true}
	for _, path := range strings.Fields(string(out)) {
		folders[strings.Split(path, "/")[1]] = true
	}
	slices.Sort(allowed)
	if needed := slices.Sorted(maps.Keys(folders)); !slices.Equal(allowed, needed) {
		t.Errorf(".dockerignore lets in %v, the program needs %v", allowed, needed)
	}
}

func TestBinaryIsStaticAndSmall(t *testing.T) {
	path := binary(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	// The base image has about 2 MiB; 20 are allowed in all. What makes it jump
	// by 8 MiB is text/template or html/template: with them the linker keeps every
	// exported method of every package, which are many in go-redis.
	if info.Size() > 18<<20 {
		t.Errorf("the binary has %.1f MiB, more than 18", float64(info.Size())/(1<<20))
	}
	text := read(t, path)
	if bytes.Contains(text, []byte("ld-linux")) || bytes.Contains(text, []byte("ld-musl")) {
		t.Error("the binary needs a dynamic loader")
	}
	if dir, err := filepath.Abs(root); err == nil && bytes.Contains(text, []byte(dir)) {
		t.Error("the binary tells where it was built")
	}
}

// TestImageBuildsWithoutARegistry builds the Dockerfile with buildah. No registry may be in
// reach, so two stand-ins take the place of the base images: a shell with this
// machine's Go, and nothing at all.
func TestImageBuildsWithoutARegistry(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	t.Parallel() // it mostly waits for other programs
	buildah, busybox := tool(t, "buildah", "buildah"), tool(t, "busybox", "busybox-static")
	if os.Getuid() != 0 {
		t.Skip("needs root to build without user namespaces")
	}
	store := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(buildah, append([]string{"--root", store + "/root", "--runroot", store + "/run",
			"--storage-driver", "vfs"}, args...)...)
		cmd.Env = append(os.Environ(), "BUILDAH_ISOLATION=chroot")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("buildah %s: %v\n%s", args[0], err, out)
		}
		return strings.TrimSpace(string(out))
	}
	goEnv := func(name string) string {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	write(t, store+"/Dockerfile.go", `FROM scratch
COPY busybox /bin/sh
WORKDIR /tmp
ENV PATH=/usr/local/go/bin:/bin GOPATH=/go GOPROXY=off GOFLAGS=-mod=readonly GOTOOLCHAIN=local GOCACHE=/gocache HOME=/tmp
`)
	write(t, store+"/Dockerfile.base", "FROM scratch\nLABEL stand-in=yes\n")
	if err := os.WriteFile(store+"/busybox", read(t, busybox), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go", "base"} {
		run("bud", "-q", "-t", "localhost/stand-in-"+name, "-f", store+"/Dockerfile."+name, store)
	}
	// A copy in another place, so that a file saved meanwhile makes no difference
	// and a path in the binary would.
	source := store + "/source"
	for _, name := range []string{"Dockerfile", ".dockerignore", "go.mod", "go.sum", "cmd", "proxy", "cache", "upstream", "metrics"} {
		if err := copyTree(root+"/"+name, source+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	// The image has no network. Its step "go mod download" wants more of the module cache than
	// a build that has filled it until now.
	download := exec.Command("go", "mod", "download")
	download.Dir = source
	if out, err := download.CombinedOutput(); err != nil {
		t.Fatalf("go mod download: %v\n%s", err, out)
	}
	run("bud", "-q", "--format", "docker", "--network", "host", "-t", "localhost/token-sidecar", "-f", source+"/Dockerfile",
		"-v", goEnv("GOROOT")+":/usr/local/go:ro", "-v", goEnv("GOMODCACHE")+":/go/pkg/mod:ro",
		"-v", goEnv("GOCACHE")+":/gocache", "-v", "/dev/null:/dev/null",
		"--build-arg", "GO_IMAGE=localhost/stand-in-go", "--build-arg", "BASE_IMAGE=localhost/stand-in-base",
		"--build-arg", "VERSION=1.2.3-test", source)

	var image struct {
		Docker struct {
			Config struct {
				User, WorkingDir string
				Env, Entrypoint  []string
				Labels           map[string]string
				Healthcheck      struct{ Test []string }
			} `json:"config"`
		}
	}
	if err := json.Unmarshal([]byte(run("inspect", "--type", "image", "localhost/token-sidecar")), &image); err != nil {
		t.Fatal(err)
	}
	c := image.Docker.Config
	if c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/token-sidecar"}) ||
		!slices.Equal(c.Healthcheck.Test, []string{"CMD", "/token-sidecar", "healthcheck"}) {
		t.Errorf("the image has %+v", c)
	}
	if c.Labels["org.opencontainers.image.version"] != "1.2.3-test" || c.Labels["org.opencontainers.image.title"] != "token-sidecar" {
		t.Errorf("the image has labels %v", c.Labels)
	}
	container := run("from", "localhost/token-sidecar")
	mount := run("mount", container)
	if files := onlyFiles(t, mount); !slices.Equal(files, []string{"token-sidecar"}) {
		t.Errorf("the image holds %v beside its base", files)
	}
	if err := build(source, store+"/again"); err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(read(t, mount+"/token-sidecar")) != sha256.Sum256(read(t, store+"/again")) {
		t.Error("the image's binary is not the one that is built here from the same source")
	}
	run("umount", container)
}

// copyTree copies a file or a directory.
func copyTree(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, text, 0o644)
	}
	return err
}

func onlyFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			name, _ := filepath.Rel(dir, path)
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
