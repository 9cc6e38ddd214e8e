package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// A goroutine dump, with requests and token requests under way, shows what
// runs but no secret and no subject.
//
// Case I3.
func TestDumpHoldsNoSecret(t *testing.T) {
	t.Parallel()
	const subject = "c4nary-subject-of-a-person"
	human := upstreamtest.NewHumanAPI(upstreamtest.Options{ClientID: clientID, ClientSecret: clientSecret})
	t.Cleanup(human.Close)
	hidden := &secrets{}
	hidden.add(clientSecret, subject)
	human.SetAPIFault(func(r *http.Request, _ int) *upstreamtest.Answer {
		hidden.add(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		return &upstreamtest.Answer{Hang: true}
	})
	p := start(t, hidden, "GOTRACEBACK=all", "SIDECAR_HUMANAPI_CLIENT_ID="+clientID, "SIDECAR_HUMANAPI_CLIENT_SECRET="+clientSecret,
		"SIDECAR_HUMANAPI_TARGET="+human.APIURL(), "SIDECAR_HUMANAPI_TOKEN_URL="+human.TokenURL())
	for range 3 {
		go func() { _, _ = p.get("/humanapi/v1/hang?q=c4nary-query", "X-Token-Subject", subject) }()
	}
	testkit.Eventually(t, "a request hangs at the target", func() error {
		if n := human.APIRequests(); n < 3 {
			return fmt.Errorf("%d came", n)
		}
		return nil
	})
	human.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer { return &upstreamtest.Answer{Hang: true} })
	go func() { _, _ = p.get("/humanapi/v1/wait", "X-Token-Subject", subject+"-2") }()
	testkit.Eventually(t, "a token request hangs", func() error {
		if n := human.TokenRequests(); n < 2 {
			return fmt.Errorf("%d came", n)
		}
		return nil
	})
	hidden.add("c4nary-query")
	if n := len(hidden.list()); n < 4 {
		t.Fatalf("%d secrets are known, the token is not among them", n)
	}
	p.signal(syscall.SIGQUIT)
	_ = p.AwaitExit(t)
	if dump := p.stderr.String(); strings.Count(dump, "goroutine ") < 5 || !strings.Contains(dump, "RoundTrip") {
		t.Errorf("no dump of the goroutines came: %s", tail(dump, 500))
	}
	// What was written is searched when the test ends.
}

// Case I8.
func TestCommandLineHoldsNoSecret(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(clientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const name = "SIDECAR_OAUTH2_0_CLIENT_SECRET"
	p := start(t, &books.secrets, append(without(books.environ(), name), name+"_FILE="+file)...)
	p.mustGet(200, "/books/item")
	for _, what := range []string{"cmdline", "environ"} { // a secret from a file is in neither
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.PID, what))
		if err != nil {
			t.Skip("no /proc: ", err)
		}
		books.secrets.search(t, what, string(text))
	}
}

// Every way of failing, with every word logged, tells the app a stable code
// and nobody a secret.
//
// Case I1.
func TestFailuresTellNoSecret(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{Lifetime: time.Second})
	books.secrets.add("c4nary-path", "c4nary-query-v", "c4nary-foreign-text")
	p := start(t, &books.secrets, books.environ()...)
	for _, path := range []string{
		"/c4nary-path/x", "/books/../c4nary-path", "/books/a?access_token=c4nary-query-v", "/books/~c4nary-path/x",
	} {
		if a, err := p.get(path); err != nil || a.status < 400 {
			t.Errorf("GET %s: %d, %v", path, a.status, err)
		}
	}
	foreign := &upstreamtest.Answer{Status: 401, Header: http.Header{"Content-Type": {"application/json"}},
		Body: `{"error":"invalid_client","error_description":"c4nary-foreign-text ` + clientSecret + `"}`}
	for _, fault := range []*upstreamtest.Answer{
		{Status: 500, Body: foreign.Body}, {Status: 200, Body: "<html>c4nary-foreign-text"}, {Reset: true}, foreign,
	} {
		books.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer { return fault })
		testkit.Eventually(t, "the token is refused", func() error {
			a, err := p.get("/books/item")
			if err != nil || a.status < 500 {
				return fmt.Errorf("status %d, error %v", a.status, err)
			}
			if !strings.Contains(a.body, `"code":"token_unavailable"`) && !strings.Contains(a.body, `"code":"credential_refused"`) {
				t.Errorf("body %s", a.body)
			}
			return nil
		})
	}
}

// A secret file with the right secret heals a refused credential, at once and
// without a restart.
//
// Cases F8, H7.
func TestRotatedSecretHeals(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	books.secrets.add("c4nary-0ld-secret")
	dir := t.TempDir()
	put := func(text string) { // as an atomic writer does
		t.Helper()
		next, path := filepath.Join(dir, ".next"), filepath.Join(dir, "secret")
		if err := os.WriteFile(next, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
	}
	put("c4nary-0ld-secret")
	const name = "SIDECAR_OAUTH2_0_CLIENT_SECRET"
	environ := append(without(books.environ(), name), name+"_FILE="+filepath.Join(dir, "secret"))
	p := start(t, &books.secrets, environ...)
	a := p.mustGet(502, "/books/item")
	if !strings.Contains(a.body, `"code":"credential_refused"`) {
		t.Fatalf("body %s", a.body)
	}
	for range 20 { // the endpoint is not asked again with the same secret
		p.mustGet(502, "/books/item")
	}
	if n := books.TokenRequests(); n > 2 {
		t.Errorf("%d token requests with a refused credential", n)
	}
	put(clientSecret)
	testkit.Eventually(t, "the new secret is in use", func() error {
		if a, err := p.get("/books/item"); err != nil || a.status != 200 {
			return fmt.Errorf("status %d, error %v", a.status, err)
		}
		return nil
	})
	if n := p.metric("token_sidecar_secret_reloads_total", `outcome="ok"`); n == 0 {
		t.Error("the reload is not counted")
	}
}

// The proxy settings of the environment must not take tokens elsewhere.
//
// Case B7.
func TestProxyEnvironmentIsIgnored(t *testing.T) {
	t.Parallel()
	evil := upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{})
	t.Cleanup(evil.Close)
	books := newProvider(t, upstreamtest.OAuth2Options{})
	// net/http itself exempts loopback names, but not this address of the same host.
	elsewhere := func(u string) string { return strings.Replace(u, "127.0.0.1", "0.0.0.0", 1) }
	environ := books.environ("SIDECAR_INSECURE_HTTP=true",
		"SIDECAR_OAUTH2_0_TARGET="+elsewhere(books.APIURL()), "SIDECAR_OAUTH2_0_TOKEN_URL="+elsewhere(books.TokenURL()))
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		environ = append(environ, name+"="+evil.APIURL())
	}
	p := start(t, &books.secrets, environ...)
	p.mustGet(200, "/books/item")
	if n := evil.APIRequests(); n != 0 {
		t.Errorf("%d requests went through the proxy of the environment", n)
	}
}

// No privilege and no writable directory is needed.
//
// Case I10.
func TestUnprivilegedProcessNeedsNoWritableDisk(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	cmd := exec.Command(testkit.Binary(t))
	cmd.Dir = "/"
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	}
	p := launch(t, &books.secrets, cmd, books.environ()...)
	p.addrs = p.AwaitReady(t, p.stderr)
	p.mustGet(200, "/books/item")
	p.signal(syscall.SIGTERM)
	if code := p.AwaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
