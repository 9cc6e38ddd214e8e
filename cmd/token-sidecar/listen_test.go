package main_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"token-sidecar/upstream/upstreamtest"
)

// overSocket makes the client of p reach everything through a socket.
func (p *process) overSocket(path string) {
	p.client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	p.addrs["data"] = "localhost"
}

// Case B14.
func TestUnixSocketIsForItsOwner(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	path := filepath.Join(t.TempDir(), "data.sock")
	environ := books.environ("SIDECAR_LISTEN=unix:"+path, "SIDECAR_ADMIN_LISTEN=127.0.0.1:0")

	killed := start(t, &books.secrets, environ...)
	killed.Kill()
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSocket {
		t.Fatalf("a killed process leaves no socket to be replaced: %v", err)
	}

	p := start(t, &books.secrets, environ...)
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode of the socket %v, error %v, want 0660", info.Mode(), err)
	}
	admin := p.addrs["admin"]
	p.overSocket(path)
	p.mustGet(200, "/books/item")
	if curl, err := exec.LookPath("curl"); err == nil {
		out, err := exec.Command(curl, "-sS", "--unix-socket", path, "http://localhost/books/item").CombinedOutput()
		if err != nil || !strings.Contains(string(out), `"path":"/item"`) {
			t.Errorf("curl: %v, %s", err, out)
		}
	}

	_, stderr, code := run(t, append(environ, "SIDECAR_ADMIN_LISTEN="+freeAddress(t)))
	if code != 1 || !strings.Contains(stderr, "another process serves it") {
		t.Errorf("second sidecar at the same socket: code %d, %s", code, stderr)
	}
	p.mustGet(200, "/books/item") // the first one is unharmed

	p.addrs["admin"] = "" // the client no longer reaches it
	p.signal(syscall.SIGTERM)
	if code := p.AwaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
	refused(t, admin)
}

// TestSocketOfAnotherProcessIsLeftAlone takes the path from a sidecar, as who starts its
// successor early may do.
func TestSocketOfAnotherProcessIsLeftAlone(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	path := filepath.Join(t.TempDir(), "data.sock")
	p := start(t, &books.secrets, books.environ("SIDECAR_LISTEN=unix:"+path)...)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	successor, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = successor.Close() }()
	p.signal(syscall.SIGTERM)
	if code := p.AwaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the successor is cut off: %v", err)
	}
	_ = conn.Close()
}

// As on the data listener, a Unix socket needs no guard
// against names that resolve to loopback.
//
// Case P14.
func TestAdminSocketTakesAnyHost(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	path := filepath.Join(t.TempDir(), "admin.sock")
	p := start(t, &books.secrets, books.environ("SIDECAR_ADMIN_LISTEN=unix:"+path)...)
	p.overSocket(path)
	p.addrs["admin"] = "any.example"
	if a, err := p.admin("/readyz"); err != nil || a.status != 200 {
		t.Errorf("%d, %v", a.status, err)
	}
}

func TestDedicatedListenerServesItsRoute(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	p := start(t, &books.secrets, books.environ("SIDECAR_OAUTH2_0_LISTEN=127.0.0.1:0")...)
	a, err := p.ask("books", "/v1/item?a=b%20c")
	if err != nil {
		t.Fatal(err)
	}
	var echo upstreamtest.Echo
	if err := json.Unmarshal([]byte(a.body), &echo); err != nil || echo.Path != "/v1/item" || echo.Query != "a=b%20c" {
		t.Errorf("the target saw %s, error %v", a.body, err)
	}
	// On this port even a path that looks like a route belongs to the target.
	if a, err := p.ask("books", "/books/item"); err != nil || !strings.Contains(a.body, `"path":"/books/item"`) {
		t.Errorf("GET /books/item: %d %s, error %v", a.status, a.body, err)
	}
	for _, listener := range []string{"data", "books"} {
		for _, path := range []string{"/metrics", "/livez", "/readyz"} {
			a, err := p.ask(listener, path)
			if err != nil || strings.Contains(a.body, "token_sidecar_") || strings.TrimSpace(a.body) == "ok" {
				t.Errorf("admin's %s on the listener %s: %d %s, error %v", path, listener, a.status, a.body, err)
			}
		}
	}
	p.signal(syscall.SIGTERM)
	if code := p.AwaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	refused(t, p.addrs["books"])
}

func TestPortsTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	address := taken.Addr().String()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	for listener, variable := range map[string]string{
		"data": "SIDECAR_LISTEN", "admin": "SIDECAR_ADMIN_LISTEN", "books": "SIDECAR_OAUTH2_0_LISTEN",
	} {
		environ := books.environ("SIDECAR_LISTEN=127.0.0.1:0", "SIDECAR_ADMIN_LISTEN=127.0.0.1:0", variable+"="+address)
		_, stderr, code := run(t, environ)
		last := stderr[strings.LastIndexByte(strings.TrimSpace(stderr), '\n')+1:]
		if code != 1 || !strings.Contains(last, address) || !strings.Contains(last, "in use") || !strings.Contains(last, listener) {
			t.Errorf("port of %s taken: code %d, last line %q", listener, code, last)
		}
		books.secrets.search(t, "stderr", stderr)
	}
}
