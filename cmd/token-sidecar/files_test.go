package main_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// TestAppsLeaveFilesToOthers has apps keep more connections open than the program may have files. Of 256
// files they get 96, which is half of all but 64 where there is one API, at all listeners together. The admin listener answers,
// connections that are open serve on, and the log says that others are refused.
func TestAppsLeaveFilesToOthers(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	p := launch(t, &books.secrets, exec.Command("sh", "-c", `ulimit -n 256; exec "$0"`, testkit.Binary(t)),
		books.environ("SIDECAR_OAUTH2_0_LISTEN=127.0.0.1:0")...)
	p.addrs = p.AwaitReady(t, p.stderr)
	ask := func(conn net.Conn, path string) bool {
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		return err == nil && res.StatusCode == http.StatusOK
	}
	var first net.Conn
	served := 0
	for i := range 300 {
		listener, path := "data", "/books/item"
		if i%2 == 1 {
			listener, path = "books", "/item"
		}
		conn, err := net.Dial("tcp", p.addrs[listener])
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if ask(conn, path) {
			served++
		}
		if i == 0 {
			first = conn
		}
	}
	if served != 96 {
		t.Errorf("%d connections are served, want 96", served)
	}
	if a, err := p.admin("/livez"); err != nil || a.status != http.StatusOK {
		t.Errorf("/livez: %d %v", a.status, err)
	}
	if !ask(first, "/books/item") {
		t.Error("a connection that is open is not served on")
	}
	testkit.Eventually(t, "the log says once that connections are refused", func() error {
		if n := strings.Count(p.stderr.String(), "96 are open, which is the limit"); n != 1 {
			return fmt.Errorf("it says so %d times", n)
		}
		return nil
	})
}
