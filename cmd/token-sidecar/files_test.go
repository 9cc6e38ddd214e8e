package main_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
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

// TestTargetsLeaveFilesToOthers has apps ask one target and then another one, all at once, so that each
// request needs a connection of its own. With those that are kept to the first there would be more than
// files. The answers come all the same, and the admin listener answers.
func TestTargetsLeaveFilesToOthers(t *testing.T) {
	t.Parallel()
	const apps = 85
	provider := newProvider(t, upstreamtest.OAuth2Options{})
	var targets [2]*httptest.Server
	for i := range targets {
		var came atomic.Int64
		whole := make(chan struct{})
		targets[i] = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if came.Add(1) == apps {
				close(whole)
			}
			select {
			case <-whole:
			case <-r.Context().Done():
			}
		}))
		t.Cleanup(targets[i].Close)
	}
	p := launch(t, &provider.secrets, exec.Command("sh", "-c", `ulimit -n 256; exec "$0"`, testkit.Binary(t)),
		append(books(targets[0].URL, provider.TokenURL()), "SIDECAR_OAUTH2_1_NAME=maps", "SIDECAR_OAUTH2_1_TARGET="+targets[1].URL,
			"SIDECAR_OAUTH2_1_TOKEN_URL="+provider.TokenURL(), "SIDECAR_OAUTH2_1_CLIENT_ID="+clientID, "SIDECAR_OAUTH2_1_CLIENT_SECRET="+clientSecret)...)
	p.addrs = p.AwaitReady(t, p.stderr)
	var conns [apps]net.Conn
	for i := range conns {
		conn, err := net.Dial("tcp", p.addrs["data"])
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = conn
		defer func() { _ = conn.Close() }()
	}
	for _, name := range []string{"books", "maps"} {
		var all sync.WaitGroup
		for _, conn := range conns {
			all.Go(func() {
				if !ask(conn, "/"+name+"/item") {
					t.Errorf("no answer of %s", name)
				}
			})
		}
		all.Wait()
		if a, err := p.admin("/livez"); err != nil || a.status != http.StatusOK {
			t.Errorf("/livez after %s: %d %v", name, a.status, err)
		}
	}
}

// ask asks for a path over conn and reports whether the answer is 200.
func ask(conn net.Conn, path string) bool {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	return err == nil && res.StatusCode == http.StatusOK
}
