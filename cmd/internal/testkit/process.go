package testkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait for something that must happen. It is there to find
// what hangs, and judges no speed: it is long enough for a machine that is busy with
// other things, and costs nothing where all goes well.
const Patience = 90 * time.Second

// Eventually calls check until it returns nil.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	const longestPause = 100 * time.Millisecond
	pause := 5 * time.Millisecond
	for deadline := time.Now().Add(Patience); ; pause = min(pause*3/2, longestPause) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, Patience, err)
		}
		time.Sleep(pause)
	}
}

// Process is a program that was started. Its methods are safe for concurrent use.
type Process struct {
	PID  int
	cmd  *exec.Cmd
	done chan struct{}
}

// Start starts cmd. The caller must end it.
func Start(cmd *exec.Cmd) (*Process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd.Process.Pid, cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Signal sends s. It fails if the process has ended.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Freeze stops the process until Thaw.
func (p *Process) Freeze() { _ = p.Signal(syscall.SIGSTOP) }

// Thaw lets the process go on after Freeze.
func (p *Process) Thaw() { _ = p.Signal(syscall.SIGCONT) }

// Kill ends the process with SIGKILL, and waits for its end.
func (p *Process) Kill() {
	_ = p.Signal(syscall.SIGKILL) // it may have ended
	<-p.done
}

// Ended returns an error with the exit code if the process has ended.
func (p *Process) Ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("it has ended with exit code %d", p.cmd.ProcessState.ExitCode())
	default:
		return nil
	}
}

// AwaitExit waits for the end of the process and returns its exit code.
func (p *Process) AwaitExit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(Patience):
		t.Fatalf("%s still runs after %s", p.cmd.Path, Patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Listeners returns the addresses of a sidecar by listener, which it logs before
// it says that it is ready.
func Listeners(log string) (map[string]string, error) {
	addresses := map[string]string{}
	for line := range strings.Lines(log) {
		var entry struct{ Message, Listener, Address string }
		if json.Unmarshal([]byte(line), &entry) != nil {
			continue
		}
		if entry.Listener != "" {
			addresses[entry.Listener] = entry.Address
		}
		if entry.Message == "ready" {
			return addresses, nil
		}
	}
	return nil, errors.New("the log does not say that it is ready")
}

// AwaitReady waits for the sidecar p, whose log is log, and returns the
// addresses of its listeners.
func (p *Process) AwaitReady(t testing.TB, log fmt.Stringer) (addresses map[string]string) {
	t.Helper()
	Eventually(t, "the sidecar is ready", func() (err error) {
		if err := p.Ended(); err != nil {
			t.Fatalf("%v: %s", err, log)
		}
		addresses, err = Listeners(log.String())
		return err
	})
	return addresses
}

// Output collects what a process writes. It is safe for concurrent use.
type Output struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
