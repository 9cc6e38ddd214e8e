package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// image makes an OCI archive with the image for linux on both architectures, of the base image that
// BASE_IMAGE names.
//
// It lays the binary of the release upon the base image and sets what the last stage of the Dockerfile
// sets; a test compares the two. Building by the Dockerfile would need an image with Go, which the
// binary does not depend on, and buildah cannot write a health check into an image in OCI's format.
func (r *release) image() error {
	reference := os.Getenv("BASE_IMAGE")
	if reference != "scratch" && !strings.Contains(reference, "@sha256:") {
		return errors.New("BASE_IMAGE must name the base image of the Dockerfile with its digest, NAME@sha256:…")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, t := range r.targets {
		if t.os != "linux" {
			continue
		}
		platform := v1.Platform{OS: t.os, Architecture: t.arch}
		base, err := baseImage(ctx, reference, platform)
		if err != nil {
			return fmt.Errorf("the base image for %s/%s: %w", t.os, t.arch, err)
		}
		image, err := r.onTopOf(base, t)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &platform}})
	}
	dir := filepath.Join(r.work, "oci")
	store, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	err = store.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": r.version}))
	if err != nil {
		return err
	}
	return tarDirectory(dir, r.file("oci.tar"), r.time)
}

// baseImage gets the base image from its registry, or is empty for "scratch", as in a Dockerfile. It
// gives the registry two minutes for all that is asked of it, the layers included.
func baseImage(ctx context.Context, reference string, platform v1.Platform) (v1.Image, error) {
	if reference == "scratch" {
		image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
		return mutate.ConfigFile(image, &v1.ConfigFile{OS: platform.OS, Architecture: platform.Architecture,
			RootFS: v1.RootFS{Type: "layers"}})
	}
	parsed, err := name.ParseReference(reference)
	if err != nil {
		return nil, err
	}
	remoteImage, err := remote.Image(parsed, remote.WithContext(ctx), remote.WithPlatform(platform),
		remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return nil, err
	}
	config, err := remoteImage.ConfigFile()
	if err != nil {
		return nil, err
	}
	if config.OS != platform.OS || config.Architecture != platform.Architecture {
		return nil, fmt.Errorf("%s is for %s/%s", reference, config.OS, config.Architecture)
	}
	return remoteImage, nil
}

// onTopOf lays the binary for t upon the base image and sets what the Dockerfile sets.
func (r *release) onTopOf(base v1.Image, t target) (v1.Image, error) {
	layer, err := r.layer(base, t)
	if err != nil {
		return nil, err
	}
	image, err := mutate.Append(base, mutate.Addendum{Layer: layer, History: v1.History{
		Created: v1.Time{Time: r.time}, CreatedBy: "COPY token-sidecar /token-sidecar"}})
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Created = v1.Time{Time: r.time}
	r.configure(&file.Config)
	return mutate.ConfigFile(image, file)
}

// configure does what the instructions LABEL, USER, HEALTHCHECK and ENTRYPOINT of the Dockerfile do.
func (r *release) configure(c *v1.Config) {
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	for name, value := range map[string]string{
		"title":       "token-sidecar",
		"description": "Puts OAuth tokens on an app's requests",
		"version":     r.version,
		"revision":    r.revision,
		"created":     r.time.Format(time.RFC3339),
		"source":      os.Getenv("SOURCE"),
	} {
		c.Labels["org.opencontainers.image."+name] = value
	}
	c.User = "65532:65532"
	c.Healthcheck = &v1.HealthConfig{Test: []string{"CMD", "/token-sidecar", "healthcheck"},
		Interval: 10 * time.Second, Timeout: 3 * time.Second, StartPeriod: 5 * time.Second}
	c.Entrypoint, c.Cmd = []string{"/token-sidecar"}, nil
}

// layer has the binary as its only file. It is of the kind of the base image's layers, since an image
// must not mix OCI's kinds with Docker's.
func (r *release) layer(base v1.Image, t target) (v1.Layer, error) {
	content, err := os.ReadFile(r.binary(t))
	if err != nil {
		return nil, err
	}
	kind, err := base.MediaType()
	if err != nil {
		return nil, err
	}
	layerKind := types.DockerLayer
	if kind == types.OCIManifestSchema1 {
		layerKind = types.OCILayer
	}
	var text bytes.Buffer
	if err := writeTar(&text, []entry{{"token-sidecar", 0o755, content}}, r.time); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(layerKind))
}

// tarDirectory writes the files below dir into an archive, sorted by name.
func tarDirectory(dir, path string, mtime time.Time) error {
	var entries []entry
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		entries = append(entries, entry{name, 0o644, content})
		return err
	})
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close() // a second time where all went well
	if err := writeTar(f, entries, mtime); err != nil {
		return err
	}
	return f.Close()
}
