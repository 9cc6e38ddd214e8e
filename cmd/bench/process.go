package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// proxyProcess is a proxy that runs as a child process.
type proxyProcess struct {
	cmd     *exec.Cmd
	address string
	prefix  string // of the path, before that of the target
	done    chan struct{}
}

// startProxy runs cmd and waits until address accepts connections. Everything
// the process writes goes to /dev/null.
func startProxy(ctx context.Context, cmd *exec.Cmd, address, prefix string) (*proxyProcess, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &proxyProcess{cmd, address, prefix, make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return p, nil
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("%s ended at once; its command is %q", cmd.Path, cmd.Args)
		case <-ctx.Done():
			p.stop()
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.stop()
			return nil, fmt.Errorf("%s does not listen at %s", cmd.Path, address)
		}
	}
}

// stop ends the process and waits for it.
func (p *proxyProcess) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(3 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// freeAddress returns a loopback address at which nothing listens just now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// tree returns the process and its children: nginx works in those.
func tree(pid int) []int {
	all := []int{pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(all, tree(child)...)
			}
		}
	}
	return all
}

// userHZ is the unit of times in /proc, the same on every Linux.
const userHZ = 100

// cpuTime returns the processor time that the process and its children have used.
func (p *proxyProcess) cpuTime() (time.Duration, error) {
	ticks := 0
	for _, pid := range tree(p.cmd.Process.Pid) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		// The name in parentheses may hold spaces; state is the first field behind it.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 13 {
			return 0, errors.New("/proc stat is too short")
		}
		user, err := strconv.Atoi(fields[11])
		system, err2 := strconv.Atoi(fields[12])
		if err := errors.Join(err, err2); err != nil {
			return 0, err
		}
		ticks += user + system
	}
	return time.Duration(ticks) * time.Second / userHZ, nil
}

// memory returns the sum of a field of /proc/PID/status over the process and
// its children, in KiB.
func (p *proxyProcess) memory(field string) (int, error) {
	sum := 0
	for _, pid := range tree(p.cmd.Process.Pid) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		_, rest, ok := strings.Cut(string(status), field+":")
		if !ok {
			return 0, fmt.Errorf("/proc has no %s", field)
		}
		kib, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			return 0, err
		}
		sum += kib
	}
	return sum, nil
}

// resetPeak makes VmHWM count from now on. Where that is not allowed it goes
// on counting from the start of the process.
func (p *proxyProcess) resetPeak() {
	for _, pid := range tree(p.cmd.Process.Pid) {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
	}
}
