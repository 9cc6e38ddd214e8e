package main

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"time"
)

// entry is a file of an archive.
type entry struct {
	name    string
	mode    int64
	content []byte
}

// archive makes the .tar.gz for t.
func (r *release) archive(t target) error {
	var entries []entry
	for _, e := range []struct {
		path, name string
		mode       int64
	}{
		{root + "/CHANGELOG.md", "CHANGELOG.md", 0o644},
		{root + "/LICENSE", "LICENSE", 0o644},
		{root + "/README.md", "README.md", 0o644},
		{r.binary(t), "token-sidecar", 0o755},
	} {
		content, err := os.ReadFile(e.path)
		if err != nil {
			return err
		}
		entries = append(entries, entry{e.name, e.mode, content})
	}
	return writeTarGz(r.file(t.os+"_"+t.arch+".tar.gz"), entries, r.time)
}

func writeTarGz(path string, entries []entry, mtime time.Time) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close() // a second time where all went well
	z := gzip.NewWriter(f)
	if err := writeTar(z, entries, mtime); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return f.Close()
}

// writeTar writes a tar archive in which all files belong to root and have one time.
func writeTar(w io.Writer, entries []entry, mtime time.Time) error {
	archive := tar.NewWriter(w)
	for _, e := range entries {
		err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Size: int64(len(e.content)),
			ModTime: mtime, Format: tar.FormatUSTAR})
		if err != nil {
			return err
		}
		if _, err := archive.Write(e.content); err != nil {
			return err
		}
	}
	return archive.Close()
}
