package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// TestWrongSecretIsSaidAndHeals has a provider answer 401 to a wrong secret, in
// each form that providers have: the app and the operator are told that the
// credential is refused, the alert on it fires, and the right secret in the file
// is enough.
//
// Case U1.
func TestWrongSecretIsSaidAndHeals(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]*upstreamtest.Answer{
		"unauthorized_client": upstreamtest.OAuthError(401, "unauthorized_client"),
		"access_denied":       upstreamtest.OAuthError(401, "access_denied"),
		"invalid_client":      upstreamtest.OAuthError(401, "invalid_client"),
		"no code":             {Status: 401, Body: `{"message":"no"}`},
		"page":                {Status: 401, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<!doctype html><title>no</title>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			books := newProvider(t, upstreamtest.OAuth2Options{})
			books.secrets.add("c4nary-0ld-secret")
			books.SetTokenFault(func(r *http.Request, _ int) *upstreamtest.Answer {
				if _, secret, _ := r.BasicAuth(); secret == "c4nary-0ld-secret" {
					return answer
				}
				return nil
			})
			file := filepath.Join(t.TempDir(), "secret")
			put := func(secret string) {
				if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			put("c4nary-0ld-secret")
			const setting = "SIDECAR_OAUTH2_0_CLIENT_SECRET"
			environ := append(without(books.environ(), setting), setting+"_FILE="+file)
			checkSaysCredential(t, environ)

			p := start(t, &books.secrets, environ...)
			if a := p.mustGet(502, "/books/item"); !strings.Contains(a.body, `"code":"credential_refused"`) {
				t.Errorf("body %s", a.body)
			}
			// What TokenSidecarCredentialRefused watches, see charts/token-sidecar/files/rules.yaml.
			if n := p.metric("token_sidecar_token_requests_total", `outcome="credential"`); n == 0 {
				t.Error("the series of the alert does not move")
			}
			put(clientSecret)
			written := time.Now()
			testkit.Eventually(t, "the right secret is in use", func() error {
				if a, err := p.get("/books/item"); err != nil || a.status != 200 {
					return fmt.Errorf("status %d, error %v", a.status, err)
				}
				return nil
			})
			if took := time.Since(written); took > 3*time.Second {
				t.Errorf("requests were served %s after the secret was written, want 3 s at most", took)
			}
		})
	}
}

// checkSaysCredential runs check, which must blame the credential and exit with 1.
func checkSaysCredential(t *testing.T, environ []string) {
	t.Helper()
	stdout, _, code := run(t, environ, "check", "--json")
	var report struct {
		Requests []struct{ Class, Cause, Mend string }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || len(report.Requests) != 1 {
		t.Fatalf("check printed %q: %v", stdout, err)
	}
	r := report.Requests[0]
	if code != 1 || r.Class != "credential" || r.Cause == "" || !strings.Contains(r.Mend, "SIDECAR_OAUTH2_0_CLIENT_SECRET") {
		t.Errorf("check: exit code %d, %+v", code, r)
	}
}
