package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"time"

	"token-sidecar/cmd/internal/sidecar"
)

// runProfile loads the sidecar with each kind of target and writes to path where
// its time goes, for the compiler: see "go help build" on -pgo.
func runProfile(ctx context.Context, path string) error {
	b, err := newBench(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	merge := []string{"tool", "pprof", "-proto", "-output", filepath.Join(b.dir, "all")}
	for _, target := range []string{plain, tlsH1, tlsH2} {
		part := filepath.Join(b.dir, target)
		if err := b.profile(ctx, target, part); err != nil {
			return fmt.Errorf("profile with target %s: %w", target, err)
		}
		merge = append(merge, part)
	}
	if out, err := exec.CommandContext(ctx, "go", merge...).CombinedOutput(); err != nil {
		return fmt.Errorf("merge of the profiles: %w\n%s", err, out)
	}
	return withoutPaths(filepath.Join(b.dir, "all"), path)
}

func (b *bench) profile(ctx context.Context, target, path string) error {
	data, err := freeAddress()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.self, "-mode", "sidecar", "-profile", path)
	cmd.Env = append(b.environ(data, target, b.tokens), "GOGC=200") // as in the sidecar's own main
	proxy, err := startProxy(ctx, cmd, data, "/bench")
	if err != nil {
		return err
	}
	defer proxy.stop()
	for _, s := range []scenario{{target, 1 << 10, 32, 0, 0}, {target, 100 << 10, 32, 0, 0}} {
		if _, err := b.round(ctx, s, proxy, pace{warmup: time.Second, length: 5 * time.Second}); err != nil {
			return err
		}
	}
	return nil
}

// runProfiled is the sidecar in this process, until ctx ends.
func runProfiled(ctx context.Context, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = sidecar.Program{Version: "bench"}.Run(ctx, nil, os.Environ(), io.Discard, io.Discard)
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

// withoutPaths copies a profile, a gzipped protocol buffer, and leaves out what
// names files of this machine.
func withoutPaths(from, to string) error {
	packed, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	unzip, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	message, err := io.ReadAll(unzip)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	if _, err := zip.Write(clearPaths(message)); err != nil {
		return err
	}
	if err := zip.Close(); err != nil {
		return err
	}
	return os.WriteFile(to, out.Bytes(), 0o644)
}

// clearPaths empties the strings of a profile that begin with a slash. Strings
// are field 6 of the message, each behind its length; other fields are numbers
// or have a length too (pprof's proto/profile.proto).
func clearPaths(message []byte) []byte {
	const strings, bytesType = 6, 2
	var out []byte
	for len(message) > 0 {
		key, n := binary.Uvarint(message)
		head, rest := message[:n], message[n:]
		value, n := binary.Uvarint(rest)
		if key&7 != bytesType {
			out = append(append(out, head...), rest[:n]...)
			message = rest[n:]
			continue
		}
		body := rest[n : n+int(value)]
		if key>>3 == strings && len(body) > 0 && body[0] == '/' {
			body = nil
		}
		out = append(binary.AppendUvarint(append(out, head...), uint64(len(body))), body...)
		message = rest[n+int(value):]
	}
	return out
}
