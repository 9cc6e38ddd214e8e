package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var targets = []target{{"darwin", "amd64"}, {"darwin", "arm64"}, {"linux", "amd64"}, {"linux", "arm64"}}

// versionForm is semantic versioning with the v of a tag in front and without build metadata, which
// an image's tag cannot hold.
var versionForm = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(0|[1-9]\d*|\d*[a-zA-Z-][\da-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][\da-zA-Z-]*))*)?$`)

// newRelease checks the version and finds out the time. Nothing is written.
func newRelease(version, out string, targets []target) (*release, error) {
	if !versionForm.MatchString(version) {
		return nil, fmt.Errorf("VERSION is %q, and must be like v1.2.3 or v1.2.3-rc.1", version)
	}
	if out == "" {
		return nil, errors.New("-out is missing")
	}
	r := &release{version: version[1:], revision: "unknown", out: out, targets: targets}
	if commit, err := git("rev-parse", "HEAD"); err == nil {
		r.revision = commit
	}
	seconds := os.Getenv("SOURCE_DATE_EPOCH")
	if seconds == "" {
		var err error
		if seconds, err = git("log", "-1", "--format=%ct"); err != nil {
			return nil, fmt.Errorf("the time of the release: SOURCE_DATE_EPOCH is not set, and %w", err)
		}
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("SOURCE_DATE_EPOCH is %q, and must be a number of seconds", seconds)
	}
	r.time = time.Unix(n, 0).UTC()
	return r, nil
}

func git(args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", root}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// make writes all files. Without an image it goes on, unless needImage.
func (r *release) make(needImage bool) error {
	if changed, err := git("diff", "--name-only", "HEAD"); err == nil && changed != "" {
		fmt.Printf("The source differs from commit %s, so nobody else can make these files:\n%s\n", r.revision, changed)
	}
	if err := r.prepare(); err != nil {
		return err
	}
	defer os.RemoveAll(r.work)
	for _, t := range r.targets {
		if err := r.forTarget(t); err != nil {
			return fmt.Errorf("%s/%s: %w", t.os, t.arch, err)
		}
	}
	if err := r.chart(); err != nil {
		return fmt.Errorf("the chart: %w", err)
	}
	if err := r.image(); err != nil {
		if needImage {
			return fmt.Errorf("the image: %w", err)
		}
		fmt.Println("There is no image among the files:", err)
	}
	return r.sums()
}

// prepare makes the directories, and removes what an earlier run has left.
func (r *release) prepare() error {
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(r.out, "token-sidecar*"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	r.work, err = os.MkdirTemp("", "release")
	return err
}

// forTarget makes all files of one target.
func (r *release) forTarget(t target) error {
	if err := r.build(t); err != nil {
		return err
	}
	if err := r.sbom(t); err != nil {
		return err
	}
	if err := r.archive(t); err != nil {
		return err
	}
	if t.os != "linux" {
		return nil
	}
	for _, format := range []string{"deb", "rpm"} {
		if err := r.linuxPackage(t, format); err != nil {
			return fmt.Errorf("%s: %w", format, err)
		}
	}
	return nil
}

// sums writes the SHA-256 sums of all files, in the form of sha256sum and sorted by name.
func (r *release) sums() error {
	names, err := filepath.Glob(filepath.Join(r.out, "token-sidecar*"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	var text bytes.Buffer
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%x  %s\n", sha256.Sum256(content), filepath.Base(name))
	}
	return os.WriteFile(r.file("SHA256SUMS"), text.Bytes(), 0o644)
}
