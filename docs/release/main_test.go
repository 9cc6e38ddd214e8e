package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// host is the only target of these tests, since building for others takes minutes and goes the same way.
var host = target{"linux", runtime.GOARCH}

// made is the directory of a release that all tests look at.
var made string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "release-test")
		if err == nil {
			defer os.RemoveAll(dir)
			made = dir
			os.Setenv("BASE_IMAGE", "scratch")
			err = makeRelease(dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func makeRelease(out string) error {
	r, err := newRelease("v1.0.0", out, []target{host})
	if err != nil {
		return err
	}
	return r.make(true)
}

func releaseFile(rest string) string { return filepath.Join(made, "token-sidecar_1.0.0_"+rest) }

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// need returns the path of a program that a Debian package has, and skips the test without it, but not in CI.
func need(t *testing.T, name, pkg string) string {
	t.Helper()
	found, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed (Debian package %s)", name, pkg)
	}
	if err != nil {
		t.Skipf("%s is not installed (Debian package %s)", name, pkg)
	}
	return found
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

type tarFile struct {
	tar.Header
	content []byte
}

func untar(t *testing.T, r io.Reader) []tarFile {
	t.Helper()
	var files []tarFile
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, tarFile{*header, content})
	}
}

func untarGz(t *testing.T, path string) []tarFile {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(read(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	return untar(t, z)
}

// program is the binary of the archive, written to a file.
func program(t *testing.T) string {
	t.Helper()
	for _, f := range untarGz(t, releaseFile("linux_"+host.arch+".tar.gz")) {
		if f.Name == "token-sidecar" {
			name := filepath.Join(t.TempDir(), "token-sidecar")
			if err := os.WriteFile(name, f.content, 0o755); err != nil {
				t.Fatal(err)
			}
			return name
		}
	}
	t.Fatal("the archive has no program")
	return ""
}

func TestASecondReleaseElsewhereIsTheSame(t *testing.T) {
	t.Setenv("TZ", "Asia/Tokyo")
	t.Setenv("GOFLAGS", "-tags=other")
	t.Setenv("GOAMD64", "v3")
	t.Setenv("GOARM64", "v9.0")
	defer syscall.Umask(syscall.Umask(0o077))
	again := t.TempDir()
	if err := makeRelease(again); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(again)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
		if !bytes.Equal(read(t, filepath.Join(made, f.Name())), read(t, filepath.Join(again, f.Name()))) {
			t.Errorf("%s differs", f.Name())
		}
	}
	arch := host.arch
	want := []string{"token-sidecar-1.0.0.tgz", "token-sidecar_1.0.0_SHA256SUMS", "token-sidecar_1.0.0_" + arch + ".deb",
		"token-sidecar_1.0.0_" + arch + ".rpm", "token-sidecar_1.0.0_linux_" + arch + ".cdx.json",
		"token-sidecar_1.0.0_linux_" + arch + ".tar.gz", "token-sidecar_1.0.0_oci.tar"}
	if !slices.Equal(names, want) {
		t.Errorf("the release has %v, want %v", names, want)
	}
}

func TestSumsAreThoseOfAllFilesInOrder(t *testing.T) {
	files, err := os.ReadDir(made)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, f := range files { // sorted by name
		if f.Name() != "token-sidecar_1.0.0_SHA256SUMS" {
			sum := sha256.Sum256(read(t, filepath.Join(made, f.Name())))
			fmt.Fprintf(&want, "%s  %s\n", hex.EncodeToString(sum[:]), f.Name())
		}
	}
	if got := string(read(t, releaseFile("SHA256SUMS"))); got != want.String() {
		t.Errorf("the sums are\n%s, want\n%s", got, want.String())
	}
}

func TestWrongVersionIsRefused(t *testing.T) {
	for _, version := range []string{"", "1.0.0", "v1", "v1.0", "v1.0.0.0", "v01.0.0", "v1.0.0-", "v1.0.0-01", "v1.0.0+build",
		"v1.0.0-a..b", "v1.0.0/..", "v1.0.0 ", "v1.0.0\n", "V1.0.0"} {
		err := run(version, t.TempDir(), false)
		if err == nil || !strings.Contains(err.Error(), "must be like v1.2.3") {
			t.Errorf("version %q: %v", version, err)
		}
	}
	for _, version := range []string{"v0.0.1", "v1.0.0-rc.1", "v10.20.30-0.a-b"} {
		if _, err := newRelease(version, t.TempDir(), nil); err != nil {
			t.Error(err)
		}
	}
}

func TestTimeIsTheOneThatIsAskedFor(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	r, err := newRelease("v1.0.0", t.TempDir(), nil)
	if err != nil || r.time.Unix() != 1700000000 {
		t.Errorf("the release is of %v, %v", r, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := newRelease("v1.0.0", t.TempDir(), nil); err == nil {
		t.Error("a time that is no number was taken")
	}
}
