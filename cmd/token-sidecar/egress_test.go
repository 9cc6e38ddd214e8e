package main_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// tinyproxy is a real HTTP proxy on a port of its own, which wants user and password.
type tinyproxy struct {
	t       *testing.T
	port    string
	config  string // path of its configuration
	log     *testkit.Output
	process *testkit.Process
}

// egressAuth is what tinyproxy wants.
const egressAuth = "sidecar:proxy-" + testkit.Canary

// startTinyproxy starts the proxy, which ends with the test.
func startTinyproxy(t *testing.T) *tinyproxy {
	t.Helper()
	testkit.Binary(t) // skips with -short
	p := &tinyproxy{t: t, port: testkit.FreePort(t), config: filepath.Join(t.TempDir(), "tinyproxy.conf"), log: &testkit.Output{}}
	user, password, _ := strings.Cut(egressAuth, ":")
	config := "Port " + p.port + "\nListen 127.0.0.1\nTimeout 600\nLogLevel Connect\nBasicAuth " + user + " " + password + "\n"
	if err := os.WriteFile(p.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	t.Cleanup(func() { p.process.Kill() })
	return p
}

// start starts the proxy, at first or anew, and waits until it accepts connections.
func (p *tinyproxy) start() {
	p.t.Helper()
	cmd := exec.Command("tinyproxy", "-d", "-c", p.config)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	var err error
	if p.process, err = testkit.Start(cmd); err != nil {
		p.t.Fatalf("tinyproxy: %v; it comes with the package tinyproxy", err)
	}
	testkit.Eventually(p.t, "tinyproxy accepts connections", func() error {
		if err := p.process.Ended(); err != nil {
			p.t.Fatalf("tinyproxy: %v: %s", err, p.log)
		}
		conn, err := net.Dial("tcp", "127.0.0.1:"+p.port)
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
}

// settings returns those that lead through the proxy, and more.
func (p *tinyproxy) settings(more ...string) []string {
	return append([]string{"SIDECAR_EGRESS_PROXY=http://127.0.0.1:" + p.port, "SIDECAR_INSECURE_HTTP=true"}, more...)
}

// connected returns how many tunnels to the host of address the proxy was asked for.
func (p *tinyproxy) connected(t *testing.T, address string) int {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(p.log.String(), "CONNECT "+u.Host+" ")
}

// beyondLoopback returns an address of a server on 127.0.0.1 as one that is not a loopback
// address, and is reached on this host all the same.
func beyondLoopback(address string) string {
	return strings.Replace(address, "127.0.0.1", "0.0.0.0", 1)
}

// echoTarget starts a target with a certificate for 0.0.0.0, and returns its address and the
// file of the certificate. It takes uploads at /upload, answers in two parts at /stream, the
// second one when told by next, and sends back what it gets at /upgrade.
func echoTarget(t *testing.T, note func(*http.Request), http2 bool, next chan struct{}) (address, roots string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, r.ProtoMajor, " ", n, " ", err)
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "one\n")
		_ = http.NewResponseController(w).Flush()
		<-next
		_, _ = io.WriteString(w, "two\n")
	})
	mux.HandleFunc("/upgrade", func(w http.ResponseWriter, r *http.Request) {
		conn, in, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, in)
	})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note(r)
		mux.ServeHTTP(w, r)
	}))
	cert, key, _ := upstreamtest.NewCertificate(net.IPv4zero)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.EnableHTTP2 = http2
	s.StartTLS()
	t.Cleanup(s.Close)
	roots = filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	return beyondLoopback(s.URL), roots
}

// TestEverythingGoesThroughTheEgressProxy: tokens, API calls, uploads, streamed answers and
// WebSockets reach https targets through a real proxy, to which the certificates of targets
// are not its own, and which sees neither tokens nor requests.
func TestEverythingGoesThroughTheEgressProxy(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2 %t", http2), func(t *testing.T) {
			t.Parallel()
			proxy := startTinyproxy(t)
			books := newProvider(t, upstreamtest.OAuth2Options{})
			books.secrets.add(egressAuth)
			next := make(chan struct{})
			target, roots := echoTarget(t, books.note, http2, next)
			tokenURL := beyondLoopback(books.TokenURL())
			p := start(t, &books.secrets, books.environ(proxy.settings("SIDECAR_EGRESS_PROXY_AUTH="+egressAuth, "SIDECAR_CA_FILE="+roots,
				"SIDECAR_OAUTH2_0_TARGET="+target, "SIDECAR_OAUTH2_0_TOKEN_URL="+tokenURL)...)...)
			uploadThrough(t, p)
			streamThrough(t, p, next)
			upgradeThrough(t, p)
			if proxy.connected(t, target) == 0 || proxy.connected(t, tokenURL) == 0 {
				t.Errorf("the proxy led to the target %d times, to the token endpoint %d times", proxy.connected(t, target), proxy.connected(t, tokenURL))
			}
			if log := proxy.log.String(); strings.Contains(log, "POST ") || strings.Contains(log, "GET ") {
				t.Error("the proxy got more than CONNECT")
			}
			books.secrets.search(t, "the log of the proxy", proxy.log.String())
		})
	}
}

// uploadThrough sends a small body, which may go the lean way, and a large one.
func uploadThrough(t *testing.T, p *process) {
	t.Helper()
	for _, size := range []int{100, 1 << 20} {
		res, err := p.client.Post("http://"+p.addrs["data"]+"/books/upload", "text/plain", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 200 || !strings.HasSuffix(string(body), fmt.Sprint(" ", size, " <nil>")) {
			t.Errorf("upload of %d bytes: %d, %s", size, res.StatusCode, body)
		}
	}
}

// streamThrough reads the first part of an answer before the target sends the second.
func streamThrough(t *testing.T, p *process, next chan<- struct{}) {
	t.Helper()
	res, err := p.client.Get("http://" + p.addrs["data"] + "/books/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for _, want := range []string{"one\n", "two\n"} {
		if line, err := lines.ReadString('\n'); line != want {
			t.Fatalf("read %q, %v, want %q", line, err, want)
		}
		if want == "one\n" {
			next <- struct{}{}
		}
	}
}

// upgradeThrough opens a WebSocket and has bytes come back.
func upgradeThrough(t *testing.T, p *process) {
	t.Helper()
	conn, err := net.Dial("tcp", p.addrs["data"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(testkit.Patience))
	_, _ = io.WriteString(conn, "GET /books/upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v", res, err)
	}
	for _, word := range []string{"hello\n", "again\n"} {
		_, _ = io.WriteString(conn, word)
		if echo, err := in.ReadString('\n'); echo != word {
			t.Fatalf("%q came back, %v", echo, err)
		}
	}
}

// TestCheckExplainsTheEgressProxy: check says what to mend when the proxy wants credentials,
// or other ones, or when nothing is there; and it names the variables for other programs
// that it ignores.
func TestCheckExplainsTheEgressProxy(t *testing.T) {
	t.Parallel()
	proxy := startTinyproxy(t)
	books := newProvider(t, upstreamtest.OAuth2Options{})
	elsewhere := []string{"SIDECAR_OAUTH2_0_TOKEN_URL=" + beyondLoopback(books.TokenURL())}
	for _, c := range []struct {
		settings []string
		code     int
		says     []string
	}{
		{proxy.settings("SIDECAR_EGRESS_PROXY_AUTH=" + egressAuth), 0, nil},
		{proxy.settings(), 1, []string{"egress_proxy_answered_407", "wants a user and a password", "SIDECAR_EGRESS_PROXY_AUTH"}},
		{proxy.settings("SIDECAR_EGRESS_PROXY_AUTH=" + egressAuth + "x"), 1, []string{"egress_proxy_answered_401", "refuses the user and password", "correct SIDECAR_EGRESS_PROXY_AUTH"}},
		{[]string{"SIDECAR_EGRESS_PROXY=http://127.0.0.1:1", "SIDECAR_INSECURE_HTTP=true"}, 1, []string{"egress_proxy_unreachable", "check host and port of SIDECAR_EGRESS_PROXY"}},
		{proxy.settings("SIDECAR_EGRESS_PROXY_AUTH="+egressAuth, "SIDECAR_OAUTH2_0_TOKEN_URL=http://0.0.0.0:1/token"), 1, []string{"egress_proxy_answered_5", "cannot or may not connect to 0.0.0.0:1"}},
		{[]string{"SIDECAR_INSECURE_HTTP=true", "HTTPS_PROXY=http://h:1", "all_proxy=http://h:1", "no_proxy=x"}, 0, []string{"warning: HTTPS_PROXY, all_proxy in the environment: ignored; set SIDECAR_EGRESS_PROXY"}},
	} {
		out, faults, code := run(t, append(books.environ(elsewhere...), c.settings...), "check")
		flat := strings.Join(strings.Fields(out), " ")
		for _, word := range c.says {
			if !strings.Contains(flat, word) {
				t.Errorf("%q is not said:\n%s%s", word, out, faults)
			}
		}
		if code != c.code {
			t.Errorf("exit code %d, want %d:\n%s%s", code, c.code, out, faults)
		}
		testkit.AssertNoLeak(t, out+faults, egressAuth, "proxy-"+testkit.Canary)
	}
}

// TestRefusalOfTheEgressProxyIsTold: a target that the proxy does not lead to is one that
// cannot be reached, and answer and log say why. A new password in the file of the
// credentials is used without a restart.
func TestRefusalOfTheEgressProxyIsTold(t *testing.T) {
	t.Parallel()
	proxy := startTinyproxy(t)
	books := newProvider(t, upstreamtest.OAuth2Options{})
	books.secrets.add(egressAuth)
	file := filepath.Join(t.TempDir(), "auth")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(egressAuth + "x") // which tinyproxy answers with 401, and no credentials with 407
	p := start(t, &books.secrets, books.environ(proxy.settings("SIDECAR_EGRESS_PROXY_AUTH_FILE="+file, "SIDECAR_OAUTH2_0_TARGET="+beyondLoopback(books.APIURL()))...)...)
	a := p.mustGet(502, "/books/item")
	if !strings.Contains(a.body, `"target_unreachable"`) || !strings.Contains(a.body, "the egress proxy answered 401") ||
		!strings.Contains(a.header.Get("Proxy-Status"), "error=proxy_configuration_error") {
		t.Errorf("%v %s", a.header, a.body)
	}
	testkit.Eventually(t, "the log says why", func() error {
		if !strings.Contains(p.stderr.String(), `"problem":"target_unreachable","cause":"egress_proxy_answered_401"`) {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	write(egressAuth)
	awaitStatus(t, p, 200)
}

// TestSidecarOutlivesTheEgressProxy: while the proxy is gone, targets behind it cannot be
// reached; when it is back they can. Meanwhile tunnels are kept as connections are.
func TestSidecarOutlivesTheEgressProxy(t *testing.T) {
	t.Parallel()
	proxy := startTinyproxy(t)
	books := newProvider(t, upstreamtest.OAuth2Options{})
	p := start(t, &books.secrets, books.environ(proxy.settings("SIDECAR_EGRESS_PROXY_AUTH="+egressAuth,
		"SIDECAR_OAUTH2_0_TARGET="+beyondLoopback(books.APIURL()), "SIDECAR_OAUTH2_0_TOKEN_URL="+beyondLoopback(books.TokenURL()))...)...)
	for range 5 {
		p.mustGet(200, "/books/item")
	}
	if n := proxy.connected(t, beyondLoopback(books.APIURL())); n != 1 {
		t.Errorf("%d tunnels for requests one after the other", n)
	}
	for range 2 {
		proxy.process.Kill()
		awaitStatus(t, p, 502)
		if a := p.mustGet(502, "/books/item"); !strings.Contains(a.body, `"target_unreachable"`) {
			t.Errorf("body %s", a.body)
		}
		proxy.start()
		awaitStatus(t, p, 200)
	}
}

// awaitStatus asks until the answer has the status.
func awaitStatus(t *testing.T, p *process, want int) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("status %d", want), func() error {
		if a, err := p.get("/books/item"); err != nil || a.status != want {
			return fmt.Errorf("status %d, error %v, %s", a.status, err, a.body)
		}
		return nil
	})
}

// TestListedHostsGoPastTheEgressProxy: hosts of the list, and loopback without being listed,
// are reached although the proxy is dead.
func TestListedHostsGoPastTheEgressProxy(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	for _, settings := range [][]string{
		nil,
		{"SIDECAR_EGRESS_DIRECT=.example.org,0.0.0.0/8", "SIDECAR_OAUTH2_0_TARGET=" + beyondLoopback(books.APIURL()),
			"SIDECAR_OAUTH2_0_TOKEN_URL=" + beyondLoopback(books.TokenURL())},
	} {
		environ := append([]string{"SIDECAR_EGRESS_PROXY=http://127.0.0.1:1", "SIDECAR_INSECURE_HTTP=true"}, settings...)
		start(t, &books.secrets, books.environ(environ...)...).mustGet(200, "/books/item")
	}
}
