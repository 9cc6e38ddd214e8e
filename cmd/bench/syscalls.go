package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// measureSystemCalls prints the system calls of the sidecar for a plain request of 1 KiB over one
// connection, as strace counts them, and how many of them failed: reads that had to wait.
func (b *bench) measureSystemCalls(ctx context.Context, out io.Writer) error {
	strace, err := exec.LookPath("strace")
	if err != nil {
		fmt.Fprintln(out, "Not installed, so system calls are not counted: strace.")
		return nil
	}
	const few, many = 200, 1200 // the difference leaves out what the start takes
	before, err := b.systemCalls(ctx, strace, few)
	if err != nil {
		fmt.Fprintln(out, "strace may not trace here, so system calls are not counted:", err)
		return nil
	}
	after, err := b.systemCalls(ctx, strace, many)
	if err != nil {
		return err
	}
	var names []string
	per := map[string]calls{}
	for name, n := range after {
		per[name] = calls{(n.all - before[name].all) / (many - few), (n.failed - before[name].failed) / (many - few)}
		if per[name].all >= 0.05 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return int(1000 * (per[b].all - per[a].all)) })
	fmt.Fprint(out, "System calls per plain request over one connection:")
	for _, name := range names {
		fmt.Fprintf(out, " %s %.2f", name, per[name].all)
		if failed := per[name].failed; failed >= 0.05 {
			fmt.Fprintf(out, " (%.2f of them in vain)", failed)
		}
	}
	fmt.Fprintln(out)
	return nil
}

// calls are how often a system call was made, and how often in vain.
type calls struct{ all, failed float64 }

// systemCalls runs a sidecar under strace for n requests.
func (b *bench) systemCalls(ctx context.Context, strace string, n int) (map[string]calls, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	counted := filepath.Join(b.dir, "strace")
	cmd := exec.CommandContext(ctx, strace, "-f", "-c", "-o", counted, b.sidecar)
	cmd.Env = b.environ(address, plain, b.tokens)
	proxy, err := startProxy(ctx, cmd, address, "/bench")
	if err != nil {
		return nil, err
	}
	err = ask(address, n)
	for _, pid := range tree(cmd.Process.Pid)[1:] {
		_ = syscall.Kill(pid, syscall.SIGTERM) // strace ends with the sidecar, and has counted all
	}
	<-proxy.done
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(counted)
	if err != nil {
		return nil, err
	}
	return readCounts(string(text))
}

// ask sends n requests, one after the other.
func ask(address string, n int) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for range n {
		if _, err := io.WriteString(conn, "GET /bench/bytes/1024 HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return err
		}
		if err := readAnswer(in); err != nil {
			return err
		}
	}
	return nil
}

// readCounts reads the table of strace -c: of a row the fourth column counts the calls, the last
// but one those in vain, if there are six, and the last is the name.
func readCounts(table string) (map[string]calls, error) {
	all := map[string]calls{}
	for line := range strings.Lines(table) {
		columns := strings.Fields(line)
		if len(columns) < 5 || columns[len(columns)-1] == "total" {
			continue
		}
		n, err := strconv.ParseFloat(columns[3], 64)
		if err != nil {
			continue // a heading
		}
		c := calls{all: n}
		if len(columns) == 6 {
			c.failed, _ = strconv.ParseFloat(columns[4], 64)
		}
		all[columns[len(columns)-1]] = c
	}
	if len(all) == 0 {
		return nil, errors.New("strace has counted nothing")
	}
	return all, nil
}
