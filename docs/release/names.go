package main

import (
	"path/filepath"
	"time"
)

// root is the top of the source, as seen from the directory that the go command runs this in.
const root = "../.."

// target is what a binary is built for, in the words of the go command.
type target struct{ os, arch string }

// release is one release that is being made.
type release struct {
	version  string // without the v
	revision string // the commit, or "unknown" outside of a clone
	time     time.Time
	out      string // where the files go
	work     string // where the binaries are; removed at the end
	targets  []target
}

// file is the path of a file of the release: token-sidecar_1.2.3_ with the rest of its name.
func (r *release) file(rest string) string {
	return filepath.Join(r.out, "token-sidecar_"+r.version+"_"+rest)
}

// binary is the path of the program that is built for t.
func (r *release) binary(t target) string {
	return filepath.Join(r.work, t.os+"_"+t.arch)
}
