package main

import (
	"embed"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

//go:embed scripts
var scripts embed.FS

// linuxPackage makes the .deb or the .rpm for t.
func (r *release) linuxPackage(t target, format string) error {
	own := filepath.Join(r.work, "scripts")
	if err := r.unpackScripts(own); err != nil {
		return err
	}
	info := &nfpm.Info{
		Name: "token-sidecar", Arch: t.arch, Platform: "linux", Version: r.version, MTime: r.time,
		Section: "net", Priority: "optional", License: "MIT",
		Maintainer:  "The token-sidecar authors",
		Description: "Puts OAuth tokens on an app's requests\nA caching token proxy that runs beside an app, which never holds a secret or a token.",
		Overridables: nfpm.Overridables{
			Contents: r.contents(t, own),
			Scripts: nfpm.Scripts{
				PreInstall: own + "/preinstall.sh", PostInstall: own + "/postinstall.sh",
				PreRemove: own + "/preremove.sh", PostRemove: own + "/postremove.sh",
			},
			RPM: nfpm.RPM{BuildHost: "localhost"},
		},
	}
	// What creates the user must be there before the files are unpacked.
	if format == "deb" {
		info.Deb.Predepends = []string{"passwd"}
	} else {
		info.Depends = []string{"/usr/sbin/useradd"}
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return err
	}
	f, err := os.Create(r.file(t.arch + "." + format))
	if err != nil {
		return err
	}
	if err := packager.Package(nfpm.WithDefaults(info), f); err != nil {
		return err
	}
	return f.Close()
}

// unpackScripts writes the scripts into a directory, since nfpm wants files.
func (r *release) unpackScripts(dir string) error {
	inside, err := fs.Sub(scripts, "scripts")
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.CopyFS(dir, inside)
}

// contents are the files and directories of a package.
func (r *release) contents(t target, own string) files.Contents {
	docs, examples := "/usr/share/doc/token-sidecar/", root+"/docs/examples/systemd/"
	file := func(source, destination string, mode fs.FileMode) *files.Content {
		return &files.Content{Source: source, Destination: destination, FileInfo: &files.ContentFileInfo{Mode: mode}}
	}
	directory := func(destination, owner string, mode fs.FileMode) *files.Content {
		return &files.Content{Destination: destination, Type: files.TypeDir, FileInfo: &files.ContentFileInfo{Mode: mode, Owner: owner}}
	}
	settings := file(examples+"token-sidecar.env", "/etc/token-sidecar/token-sidecar.env", 0o640)
	settings.Type = files.TypeConfigNoReplace
	return files.Contents{
		file(r.binary(t), "/usr/bin/token-sidecar", 0o755),
		file(examples+"token-sidecar.service", "/usr/lib/systemd/system/token-sidecar.service", 0o644),
		file(own+"/sysusers.conf", "/usr/lib/sysusers.d/token-sidecar.conf", 0o644),
		directory("/etc/token-sidecar", "root", 0o755),
		settings,
		// Not for the group token-sidecar: an app that uses a Unix socket is in it.
		directory("/etc/token-sidecar/secrets", "token-sidecar", 0o500),
		directory("/usr/share/doc/token-sidecar", "root", 0o755),
		file(root+"/LICENSE", docs+"copyright", 0o644),
		file(root+"/README.md", docs+"README.md", 0o644),
		file(root+"/CHANGELOG.md", docs+"CHANGELOG.md", 0o644),
	}
}
