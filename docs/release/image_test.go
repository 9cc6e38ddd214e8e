package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// images are those of an OCI archive, by architecture. They are checked against their digests.
func images(t *testing.T, archive string) map[string]v1.Image {
	t.Helper()
	dir := t.TempDir()
	for _, f := range untar(t, bytes.NewReader(read(t, archive))) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f.Name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := outer.IndexManifest()
	if err != nil || len(list.Manifests) != 1 || list.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "1.0.0" {
		t.Fatalf("the archive has %+v, %v", list, err)
	}
	index, err := outer.ImageIndex(list.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]v1.Image{}
	for _, m := range manifest.Manifests {
		image, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil || config.OS != "linux" || config.Architecture != m.Platform.Architecture || m.Platform.OS != "linux" {
			t.Errorf("the image for %v is for %+v, %v", m.Platform, config, err)
		}
		found[m.Platform.Architecture] = image
	}
	return found
}

// lastStage is what the Dockerfile does after the program is built, with the binary taken from the
// directory of the build in place of the first stage.
func lastStage(t *testing.T) string {
	t.Helper()
	text := string(read(t, root+"/Dockerfile"))
	text = "ARG BASE_IMAGE\n" + text[strings.LastIndex(text, "\nFROM ")+1:]
	return strings.Replace(text, "COPY --from=build /out/token-sidecar ", "COPY token-sidecar ", 1)
}

// TestImageIsThatOfTheDockerfile has buildah build the last stage of the Dockerfile, in Docker's format,
// since OCI's has no health check for it.
func TestImageIsThatOfTheDockerfile(t *testing.T) {
	buildah := need(t, "buildah", "buildah")
	needRoot(t)
	r, err := newRelease("v1.0.0", made, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir, binary := t.TempDir(), read(t, program(t))
	for name, text := range map[string][]byte{"Dockerfile": []byte(lastStage(t)), "token-sidecar": binary} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	store := t.TempDir()
	buildahRun := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command(buildah, append([]string{"--root", store + "/root", "--runroot", store + "/run", "--storage-driver", "vfs"}, args...)...)
		cmd.Env = append(os.Environ(), "BUILDAH_ISOLATION=chroot")
		var faults bytes.Buffer
		cmd.Stderr = &faults
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("buildah %s: %v\n%s", args[0], err, faults.Bytes())
		}
		return out
	}
	buildahRun("bud", "-q", "--format", "docker", "-t", "localhost/built", "--build-arg", "BASE_IMAGE=scratch",
		"--build-arg", "VERSION=1.0.0", "--build-arg", "REVISION="+r.revision, "--build-arg", "CREATED="+r.time.Format(time.RFC3339),
		"-f", dir+"/Dockerfile", dir)
	var built struct {
		Docker struct{ Config v1.Config }
	}
	if err := json.Unmarshal(buildahRun("inspect", "--type", "image", "localhost/built"), &built); err != nil {
		t.Fatal(err)
	}
	want := built.Docker.Config
	delete(want.Labels, "io.buildah.version")
	// It is that of the container that buildah has made for the build.
	want.Hostname = ""
	// Without a base image buildah sets one.
	want.Env = slices.DeleteFunc(want.Env, func(s string) bool { return strings.HasPrefix(s, "PATH=") })

	image := images(t, releaseFile("oci.tar"))[host.arch]
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := asJSON(t, config.Config), asJSON(t, want); got != want {
		t.Errorf("the image has\n%s, the Dockerfile gives\n%s", got, want)
	}
	files := untar(t, mutate.Extract(image))
	if len(files) != 1 || files[0].Name != "token-sidecar" || files[0].Mode != 0o755 || !bytes.Equal(files[0].content, binary) {
		t.Errorf("the image has %d files, or another binary than the archive", len(files))
	}
	// Others can read the archive, too.
	buildahRun("pull", "-q", "oci-archive:"+releaseFile("oci.tar"))
}

// asJSON leaves out what is empty.
func asJSON(t *testing.T, c v1.Config) string {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestImageKeepsItsBase takes the base images from a registry in this process.
func TestImageKeepsItsBase(t *testing.T) {
	for _, kind := range []struct{ manifest, layer types.MediaType }{
		{types.OCIManifestSchema1, types.OCILayer}, {types.DockerManifestSchema2, types.DockerLayer},
	} {
		server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
		defer server.Close()
		var index v1.ImageIndex = empty.Index
		for _, arch := range []string{"amd64", "arm64"} {
			layer, err := random.Layer(100, kind.layer)
			if err != nil {
				t.Fatal(err)
			}
			base, err := mutate.AppendLayers(mutate.MediaType(empty.Image, kind.manifest), layer)
			if err != nil {
				t.Fatal(err)
			}
			base, err = mutate.ConfigFile(base, &v1.ConfigFile{OS: "linux", Architecture: arch, RootFS: rootFS(t, base),
				Config: v1.Config{Env: []string{"ARCH=" + arch}, Cmd: []string{"gone"}, User: "0"}})
			if err != nil {
				t.Fatal(err)
			}
			index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: base,
				Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		}
		digest, err := index.Digest()
		if err != nil {
			t.Fatal(err)
		}
		reference, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/base@" + digest.String())
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.WriteIndex(reference, index); err != nil {
			t.Fatal(err)
		}
		t.Setenv("BASE_IMAGE", reference.Name())
		r := &release{version: "1.0.0", revision: "r", time: time.Unix(1, 0).UTC(), out: t.TempDir(), work: t.TempDir(),
			targets: []target{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "arm64"}}}
		for _, target := range r.targets {
			if err := os.WriteFile(r.binary(target), []byte(target.arch), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.image(); err != nil {
			t.Fatal(err)
		}
		for arch, image := range images(t, r.file("oci.tar")) {
			config, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			c := config.Config
			if !slices.Equal(c.Env, []string{"ARCH=" + arch}) || c.Cmd != nil || c.User != "65532:65532" {
				t.Errorf("the image for %s has %+v", arch, c)
			}
			manifest, err := image.Manifest()
			if err != nil || len(manifest.Layers) != 2 || manifest.MediaType != kind.manifest ||
				manifest.Layers[0].MediaType != kind.layer || manifest.Layers[1].MediaType != kind.layer {
				t.Errorf("the image for %s has %+v, %v", arch, manifest, err)
			}
		}
	}
}

func rootFS(t *testing.T, image v1.Image) v1.RootFS {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config.RootFS
}

// TestReleaseWithoutImageIsMadeUnlessItIsNeeded has no base image, one without a digest, and one whose
// registry does not answer.
func TestReleaseWithoutImageIsMadeUnlessItIsNeeded(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, base := range []string{"", "example.test/base:nonroot", strings.TrimPrefix(closed.URL, "http://") + "/base@sha256:" + strings.Repeat("0", 64)} {
		t.Setenv("BASE_IMAGE", base)
		r, err := newRelease("v1.0.0", t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.targets = []target{host}
		r.work = t.TempDir()
		if err := r.image(); err == nil {
			t.Errorf("an image upon %q", base)
		}
		if _, err := os.Stat(r.file("oci.tar")); err == nil {
			t.Error("a file is left of an image that could not be made")
		}
		r.targets = nil
		if base != "" {
			continue
		}
		if err := r.make(false); err != nil {
			t.Error(err)
		}
		if text := string(read(t, r.file("SHA256SUMS"))); !regexp.MustCompile(`^[0-9a-f]{64}  token-sidecar-1.0.0.tgz\n$`).MatchString(text) {
			t.Errorf("the sums are %q", text)
		}
		if err := r.make(true); err == nil {
			t.Error("a release that needs an image was made without one")
		}
	}
}
