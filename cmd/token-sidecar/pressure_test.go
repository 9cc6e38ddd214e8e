package main_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// A reader of stderr that has stopped costs log lines, never a request, and
// does not hold up the end.
//
// Case J8.
func TestStderrThatNobodyReadsBlocksNothing(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	p, r := startOnPipe(t, books, "SIDECAR_DRAIN_TIMEOUT=10m")
	p.overflowLog()
	p.signal(syscall.SIGTERM)
	if code := p.AwaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	_ = r.Close()
}

// Once the log is read again it goes on, and the lost lines are counted.
func TestLogGoesOnWhenItIsReadAgain(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	p, r := startOnPipe(t, books)
	p.overflowLog()
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(p.stderr, r) })
	testkit.Eventually(t, "lost lines are counted", func() error {
		if n := p.metric("token_sidecar_log_lines_dropped_total"); n == 0 {
			return errors.New("none is")
		}
		return nil
	})
	p.signal(syscall.SIGTERM)
	if code := p.AwaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	reading.Wait()
	if !strings.Contains(p.stderr.String(), `"message":"stopped"`) {
		t.Error("the last line is lost")
	}
}

// startOnPipe starts a sidecar whose stderr is a pipe that is read up to the
// line that says ready.
func startOnPipe(t *testing.T, books *provider, environ ...string) (*process, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	p := prepare(t, &books.secrets, exec.Command(testkit.Binary(t)), books.environ(environ...)...)
	p.cmd.Stderr = w
	p.run()
	_ = w.Close()
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		if err != nil {
			t.Fatalf("stderr ended: %v, it said %s", err, p.stderr)
		}
		_, _ = p.stderr.Write(buf[:n])
		if p.addrs, err = testkit.Listeners(p.stderr.String()); err == nil {
			return p, r
		}
	}
}

// TestReaderOfStderrMayLeave has whoever reads the log go away for good.
//
// Case J8.
func TestReaderOfStderrMayLeave(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	p, r := startOnPipe(t, books)
	if !strings.Contains(p.stderr.String(), `"version":"`+testkit.Version+`"`) {
		t.Errorf("the first lines do not tell the version: %s", p.stderr)
	}
	_ = r.Close()
	lines := p.metric("token_sidecar_requests_total")
	for n := range 20 {
		p.mustGet(200, fmt.Sprint("/books/", n))
		time.Sleep(2 * time.Millisecond) // lines are written in between
	}
	if err := p.Ended(); err != nil || p.metric("token_sidecar_requests_total") != lines+20 {
		t.Error("it does not live on", err)
	}
}

// overflowLog makes more requests than a pipe of 64 KiB and the 4,096 lines
// that wait for it can hold. One that waits for a reader of the log waits for ever.
func (p *process) overflowLog() {
	p.t.Helper()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 750 {
				if err := p.expectOK("/books/item"); err != nil {
					p.t.Errorf("with a full pipe: %v", err)
					return
				}
			}
		})
	}
	all.Wait()
}

// More clients than file descriptors: it survives and serves again after.
//
// Case J4.
func TestSidecarOutlivesALackOfFileDescriptors(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	p := launch(t, &books.secrets, exec.Command("/bin/sh", "-c", "ulimit -n 256 && exec "+testkit.Binary(t)), books.environ()...)
	p.addrs = p.AwaitReady(t, p.stderr)
	p.mustGet(200, "/books/first")
	var clients []net.Conn
	defer func() {
		for _, c := range clients {
			_ = c.Close()
		}
	}()
	for range 1000 {
		c, err := net.DialTimeout("tcp", p.addrs["data"], 10*time.Second)
		if err != nil {
			break // the backlog is full too
		}
		clients = append(clients, c)
		if _, err := io.WriteString(c, "GET /books/crowd HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	if len(clients) < 300 {
		t.Fatalf("only %d clients could connect", len(clients))
	}
	time.Sleep(500 * time.Millisecond)
	if p.Ended() != nil {
		t.Fatal("the sidecar died")
	}
	for _, c := range clients {
		_ = c.Close()
	}
	clients = nil
	p.client.CloseIdleConnections()
	testkit.Eventually(t, "requests are served again", func() error { return p.expectOK("/books/after") })
	if a, err := p.admin("/readyz"); err != nil || a.status != 200 {
		t.Errorf("readyz afterwards: %d, %v", a.status, err)
	}
}

// A flood of requests that fail, with every word logged: the tokens stay and
// requests that should succeed do.
//
// Cases I5, J5.
func TestFloodOfRefusalsMakesNoSeries(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	p := start(t, &books.secrets, books.environ()...)
	p.mustGet(200, "/books/first")
	lines := strings.Count(p.adminText("/metrics"), "\n")
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 100 {
				path := fmt.Sprintf("/nowhere-%d-%d/x", worker, i)
				req, _ := http.NewRequest(fmt.Sprintf("METHOD%d", i), "http://"+p.addrs["data"]+path, nil)
				res, err := p.client.Do(req)
				if err != nil || res.StatusCode != http.StatusNotFound {
					t.Errorf("%s: %v, %v", path, res, err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
	all.Wait()
	p.mustGet(200, "/books/after")
	if n := strings.Count(p.adminText("/metrics"), "\n"); n > lines+20 {
		t.Errorf("/metrics grew from %d to %d lines", lines, n)
	}
	if n := books.TokenRequests(); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}

func (p *process) adminText(path string) string {
	p.t.Helper()
	a, err := p.admin(path)
	if err != nil || a.status != 200 {
		p.t.Fatalf("GET %s: %d, %v", path, a.status, err)
	}
	return a.body
}
