package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// measureSubjects compares requests for one subject with requests for a thousand in turn,
// over a route that takes them: what a request costs, with and without an audit, and how many
// connections to the target it takes.
func (b *bench) measureSubjects(ctx context.Context, p pace, out io.Writer) error {
	tokens := upstreamtest.NewOCLC(upstreamtest.Options{})
	defer tokens.Close()
	starter := func(program string, more ...string) func(context.Context, string) (*proxyProcess, error) {
		return func(ctx context.Context, target string) (*proxyProcess, error) {
			data, err := freeAddress()
			if err != nil {
				return nil, err
			}
			cmd := exec.CommandContext(ctx, program)
			cmd.Env = []string{"SIDECAR_LISTEN=" + data, "SIDECAR_ADMIN_LISTEN=127.0.0.1:0", "SIDECAR_CA_FILE=" + b.targets.roots,
				"SIDECAR_TOKEN_RATE=10000", "SIDECAR_OCLC_TARGET=" + b.targets.url(target), "SIDECAR_OCLC_TOKEN_URL=" + tokens.TokenURL(),
				"SIDECAR_OCLC_WSKEY=" + tokens.ClientID(), "SIDECAR_OCLC_SECRET=" + tokens.ClientSecret()}
			cmd.Env = append(cmd.Env, more...)
			return startProxy(ctx, cmd, data, "/oclc")
		}
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	audit := []string{"SIDECAR_AUDIT=" + filepath.Join(filepath.Dir(b.targets.roots), "audit"), "SIDECAR_AUDIT_KEY=bench:" + base64.StdEncoding.EncodeToString(key)}
	all := []contender{{name: "sidecar", start: starter(b.sidecar)}, {name: "audited", start: starter(b.sidecar, audit...)}}
	if b.against != "" {
		all = append(all, contender{name: againstName, start: starter(b.against)})
	}
	p.warmup = max(p.warmup, 4*time.Second) // each subject gets its token
	p.rounds = min(p.rounds, 3)             // which therefore take long
	fmt.Fprintln(out, "A route that takes a subject, 1 KiB over 32 connections:")
	for _, target := range []string{plain, tlsH1, tlsH2} {
		for _, subjects := range []int{1, 1000} {
			medians, err := b.measure(ctx, scenario{target, 1 << 10, 32, 0, subjects}, all, p)
			if err != nil {
				return err
			}
			for _, c := range all {
				m := medians[c.name]
				fmt.Fprintf(out, "  %-7s %4d subjects  %-8s %6.0f requests/s, %6.1f µs CPU each, %7.2f connections per 1,000, p99 %s µs, peak %.1f MiB\n",
					target, subjects, c.name, m.perSecond, m.cpu, m.opened, micros(m.p99), float64(m.peakKiB)/1024)
			}
		}
	}
	fmt.Fprintln(out)
	return nil
}
