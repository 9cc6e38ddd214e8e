package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// A token endpoint that is down at the start keeps nobody from starting: the
// probes are fine, requests fail with a clear answer, and it heals by itself.
//
// Case H5.
func TestSidecarStartsDuringAnOutage(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	books.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer { return &upstreamtest.Answer{Status: 503} })
	began := time.Now()
	p := start(t, &books.secrets, books.environ()...)
	for _, path := range []string{"/livez", "/readyz"} {
		if a, err := p.admin(path); err != nil || a.status != 200 {
			t.Errorf("%s: %d, %v", path, a.status, err)
		}
	}
	a := p.mustGet(503, "/books/item")
	if !strings.Contains(a.body, `"code":"token_unavailable"`) || a.header.Get("Retry-After") == "" ||
		a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("header %v, body %s", a.header, a.body)
	}
	for range 50 {
		p.mustGet(503, "/books/item")
	}
	// The pauses are a second and more from the third failure on.
	if n, most := books.TokenRequests(), 4+int(time.Since(began)/time.Second); n > most {
		t.Errorf("%d token requests in an outage of %s, want at most %d", n, time.Since(began), most)
	}
	books.SetTokenFault(nil)
	testkit.Eventually(t, "it heals", func() error {
		if a, err := p.get("/books/item"); err != nil || a.status != 200 {
			return fmt.Errorf("status %d, error %v", a.status, err)
		}
		return nil
	})
}

// Killed and started again and again, it comes back each time, and asks for
// one token per life of a process.
//
// Case H4.
func TestRestartedReplicasStartFromSharedTokens(t *testing.T) {
	t.Parallel()
	const restarts = 15
	books := newProvider(t, upstreamtest.OAuth2Options{})
	data := freeAddress(t)
	for range restarts {
		p := start(t, &books.secrets, books.environ("SIDECAR_LISTEN="+data)...)
		p.mustGet(200, "/books/item")
		p.Kill()
	}
	if n := books.TokenRequests(); n != restarts {
		t.Errorf("%d token requests in %d lives", n, restarts)
	}
}
