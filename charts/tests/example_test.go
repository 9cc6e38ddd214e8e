package tests

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// lockedBuffer can be read while a process writes to it.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestExampleRuns runs the two containers of the example with the very
// environment that the chart gives them, save for the ports.
func TestExampleRuns(t *testing.T) {
	python := tool(t, "python3", "python3")
	objects, err := render(t, valueSets(t)["example"])
	if err != nil {
		t.Fatal(err)
	}
	pod := onlyPod(t, objects)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()

	env := environ(t, objects, pod, t.TempDir())
	for name, value := range env {
		env[name] = strings.Replace(value, "127.0.0.1:8000", address, 1)
	}
	env["SIDECAR_LISTEN"], env["SIDECAR_ADMIN_LISTEN"] = "127.0.0.1:0", "127.0.0.1:0"
	p := start(t, exec.Command(binary(t)), env)

	app := pod.Spec.Containers[0]
	cmd := exec.Command(python, app.Command[1], chartDir+"/files/example.py")
	for _, e := range app.Env {
		value := strings.Replace(e.Value, "http://127.0.0.1:8080", p.data, 1)
		if e.Name == "PROVIDER_PORT" {
			_, value, _ = net.SplitHostPort(address)
		}
		cmd.Env = append(cmd.Env, e.Name+"="+value)
	}
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}()
	answer := regexp.MustCompile(`(?m)^200 .*"token_ends_in_seconds": \d+`)
	eventually(t, func() error {
		if !answer.MatchString(out.String()) {
			return fmt.Errorf("the app says:\n%s", out.String())
		}
		return nil
	})
}
