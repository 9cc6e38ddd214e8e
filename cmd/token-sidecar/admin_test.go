package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// rawAsk sends a request as it is written and returns the answer. The status
// is 0 if the connection was closed instead.
func (p *process) rawAsk(listener, request string) answer {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.addrs[listener])
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(testkit.Patience))
	if _, err := io.WriteString(conn, request); err != nil {
		return answer{err: err}
	}
	method, _, _ := strings.Cut(request, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return answer{err: err}
	}
	body, err := io.ReadAll(res.Body)
	a := answer{res.StatusCode, res.Header, string(body), err}
	p.secret.search(p.t, "an answer of "+listener, fmt.Sprint(a))
	return a
}

// adminSigns are texts of which each page of the admin listener has one.
var adminSigns = []string{"token_sidecar_", "go_goroutines", "ok\n", "draining", "<html", "goroutine", "cmdline"}

func showsAdmin(a answer) bool {
	return slices.ContainsFunc(adminSigns, func(sign string) bool { return strings.Contains(a.body, sign) })
}

var manyMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PURGE"}

// adminPaths are those that such programs have and ours must not have.
var adminPaths = []string{"/quitquitquit", "/shutdown", "/-/quit", "/reload", "/-/reload", "/config", "/config_dump", "/cache",
	"/cache/flush", "/tokens", "/token", "/secrets", "/env", "/logging", "/debug", "/debug/pprof/", "/debug/pprof/heap",
	"/debug/pprof/goroutine?debug=2", "/debug/vars", "/healthz", "/status", "/api/v1/status"}

// ownPages are those of the admin listener.
var ownPages = []string{"/", "/metrics", "/livez", "/readyz"}

// TestAdminPathsAreOnTheAdminListenerOnly asks both listeners for what changes or shows a program's
// state. Nothing does the one, and the data listener does neither.
//
// Case H6.
func TestAdminPathsAreOnTheAdminListenerOnly(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	p := start(t, &books.secrets, books.environ()...)
	before := p.mustGet(200, "/books/item")
	requests := books.APIRequests()
	t.Run("data", p.adminThroughData)
	t.Run("admin", p.adminItself)
	t.Run("browser", p.adminFromBrowser)
	if n := books.APIRequests(); n != requests {
		t.Errorf("%d of these requests reached the target", n-requests)
	}
	after := p.mustGet(200, "/books/item")
	if after.body != before.body || books.TokenRequests() != 1 {
		t.Errorf("before: %s\nafter: %s\n%d token requests", before.body, after.body, books.TokenRequests())
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if a, err := p.admin(path); err != nil || a.status != 200 || a.body != "ok\n" {
			t.Errorf("%s afterwards: %v, %v", path, a, err)
		}
	}
}

// adminThroughData must get errors of the data listener and nothing else.
func (p *process) adminThroughData(t *testing.T) {
	tricks := slices.Concat(adminPaths, ownPages)
	for _, page := range append(ownPages[1:], "/debug/pprof/") {
		for _, before := range []string{"/", "/.", "/..", "/%2e%2e", "/%252e%252e", "/..;", "/;", "/\\..", "/%5c..", "/books/..", "/books/%2e%2e",
			"/books/..;", "/books/..%2f", "/books/~x", "/books/", "/admin", "/:" + p.addrs["admin"], "http://" + p.addrs["admin"],
			"http://localhost", "http:", "http://books", "/http://" + p.addrs["admin"]} {
			tricks = append(tricks, before+page)
		}
	}
	hosts := []string{"localhost", p.addrs["admin"]}
	for _, target := range tricks {
		for _, method := range manyMethods {
			for _, host := range hosts {
				a := p.rawAsk("data", method+" "+target+" HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				if (a.status != 0 && a.status < 400) || showsAdmin(a) {
					t.Errorf("%s %s at host %s: %d %s", method, target, host, a.status, a.body)
				}
			}
		}
	}
}

// adminItself serves its few pages to those who read, whatever the path.
func (p *process) adminItself(t *testing.T) {
	ask := func(method, target, host string) answer {
		return p.rawAsk("admin", method+" "+target+" HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	}
	for _, method := range manyMethods {
		reads := method == "GET" || method == "HEAD"
		for _, path := range ownPages {
			want := http.StatusMethodNotAllowed
			if reads {
				want = http.StatusOK
			}
			if a := ask(method, path, "localhost"); a.status != want {
				t.Errorf("%s %s: %d %s, want %d", method, path, a.status, a.body, want)
			}
			for _, host := range []string{"attacker.example", "127.0.0.1.attacker.example", "localhost.", "0x7f000001", "169.254.169.254", ""} {
				if a := ask(method, path, host); a.status != 0 && a.status != http.StatusForbidden && a.status != http.StatusBadRequest {
					t.Errorf("%s %s at host %q: %d", method, path, host, a.status)
				}
			}
		}
		for _, path := range append(slices.Clone(adminPaths), "/books/item", "/token/books", "//", "/%2e%2e/metrics", "/..;/metrics", "/../metrics",
			"//metrics", "/metrics/", "/metrics/../livez", "/metrics%00", "/METRICS", "*", "http://127.0.0.1:1/books/item", "/?x=/metrics/") {
			if a := ask(method, path, "localhost"); a.status == http.StatusOK && path != "/?x=/metrics/" || elsewhere(a.header.Get("Location")) {
				t.Errorf("%s %s: %d to %q: %s", method, path, a.status, a.header.Get("Location"), a.body)
			}
		}
	}
}

// elsewhere reports whether a redirect leads to more than a page of our own.
func elsewhere(location string) bool { return location != "" && !slices.Contains(ownPages, location) }

// adminFromBrowser must get nothing that a page of another site could use.
func (p *process) adminFromBrowser(t *testing.T) {
	for _, line := range []string{"Origin: https://attacker.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site",
		"Origin: http://localhost:1\r\nAccess-Control-Request-Method: GET"} {
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			for _, path := range ownPages {
				a := p.rawAsk("admin", method+" "+path+" HTTP/1.1\r\nHost: localhost\r\n"+line+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				if a.status != http.StatusForbidden || showsAdmin(a) {
					t.Errorf("%s %s with %q: %d %s", method, path, line, a.status, a.body)
				}
				for name := range a.header {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s %s with %q is answered with %s", method, path, line, name)
					}
				}
			}
		}
	}
}

// Many who never finish their requests to the admin listener hold up neither
// it nor the app, and are shown the door.
//
// Case J10.
func TestSlowAdminClientsAreCutOff(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	p := start(t, &books.secrets, books.environ("SIDECAR_LOG_LEVEL=info")...)
	p.mustGet(200, "/books/first")
	var slow []net.Conn
	for i := range 500 {
		conn, err := net.Dial("tcp", p.addrs["admin"])
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		slow = append(slow, conn)
		if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX"[:1+i%40]); err != nil {
			t.Fatal(err)
		}
	}
	if faults := p.load(200, 200, "/books/item"); len(faults) > 0 {
		t.Errorf("faults %q", faults)
	}
	if a, err := p.admin("/livez"); err != nil || a.status != 200 {
		t.Errorf("livez: %v, %v", a, err)
	}
	for i, conn := range slow {
		_ = conn.SetReadDeadline(time.Now().Add(testkit.Patience))
		if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatalf("slow client %d is still connected", i)
		}
	}
}
