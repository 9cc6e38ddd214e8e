package main_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"token-sidecar/cmd/internal/testkit"
)

// indiscreet is a token endpoint that repeats all it was sent in its error answers, as some
// do when they are asked to be helpful, and a target.
type indiscreet struct {
	*httptest.Server
	secrets secrets
}

func newIndiscreet(t *testing.T) *indiscreet {
	s := &indiscreet{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fields, _ := url.ParseQuery(string(body) + "&" + r.URL.RawQuery)
		for _, name := range []string{"assertion", "client_assertion", "client_secret"} {
			s.secrets.add(fields.Get(name))
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": "invalid_client", "error_description": string(body), "header": r.Header, "query": r.URL.RawQuery})
	}))
	t.Cleanup(s.Close)
	return s
}

// replaceFile writes text to path as an atomic writer does.
func replaceFile(t *testing.T, path, text string) {
	t.Helper()
	next := filepath.Join(filepath.Dir(path), ".next")
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// assertedBy returns an assertion as Kubernetes projects them, number n.
func assertedBy(t *testing.T, n int) string {
	t.Helper()
	claims := jwt.MapClaims{"iss": "cluster", "sub": "system:serviceaccount:shop:app", "aud": "provider", "n": n, "exp": time.Now().Add(time.Hour).Unix()}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte("the key of the cluster"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Whatever proves the client, and whatever the endpoint says of it, nobody else sees it.
//
// Case I1.
func TestProofsOfEveryKindStaySecret(t *testing.T) {
	t.Parallel()
	const secret = "c4nary-client-s3cret-of-32-bytes-or-more"
	file := filepath.Join(t.TempDir(), "assertion")
	replaceFile(t, file, assertedBy(t, 1))
	key := strings.ReplaceAll(testkit.PrivateKey(), "\n", `\n`)
	for name, settings := range map[string][]string{
		"private_key_jwt":      {"AUTH=private_key_jwt", "CLIENT_ID=id", "PRIVATE_KEY=" + key, `CLAIMS={"canary":"c4nary-claim"}`},
		"client_secret_jwt":    {"AUTH=client_secret_jwt", "CLIENT_ID=id", "CLIENT_SECRET=" + secret},
		"jwt_bearer":           {"GRANT=jwt_bearer", "CLIENT_ID=id", "PRIVATE_KEY=" + key, "SUBJECT=optional claim:sub"},
		"assertion_file":       {"AUTH=assertion_file", "ASSERTION_FILE=" + file},
		"parameters":           {"AUTH=none", "PARAMS=api_key=" + secret, "SUBJECT=optional param:user"},
		"header fields, a GET": {"AUTH=none", "METHOD=get", "BODY=none", "HEADERS=Client-Secret=" + secret, "ANSWER=text"},
		"query":                {"AUTH=post", "BODY=query", "CLIENT_ID=id", "CLIENT_SECRET=" + secret},
		"JSON":                 {"AUTH=post", "BODY=json", "CLIENT_ID=id", "CLIENT_SECRET=" + secret},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newIndiscreet(t)
			s.secrets.add(secret, "c4nary-claim", "c4nary-subject", testkit.PrivateKey()[60:120])
			environ := []string{"SIDECAR_OAUTH2_0_NAME=books", "SIDECAR_OAUTH2_0_TOKEN_URL=" + s.URL, "SIDECAR_OAUTH2_0_TARGET=" + s.URL}
			for _, setting := range settings {
				environ = append(environ, "SIDECAR_OAUTH2_0_"+setting)
			}
			p := start(t, &s.secrets, environ...)
			var subject []string
			if strings.Contains(strings.Join(settings, " "), "SUBJECT=") {
				subject = []string{"X-Token-Subject", "c4nary-subject"}
			}
			for range 3 {
				if a, err := p.get("/books/x", subject...); err != nil || a.status < 400 || !strings.Contains(a.body, `"code":`) {
					t.Errorf("status %d, body %s, error %v", a.status, a.body, err)
				}
			}
			stdout, stderr, _ := run(t, environ, "check")
			s.secrets.search(t, "check", stdout+stderr)
			if strings.Contains(name, "_") && name != "client_secret_jwt" && len(s.secrets.list()) < 5 {
				t.Error("no assertion was seen")
			}
		})
	}
}

// Keys and assertions that are replaced in their files are used without a restart, and no
// request fails meanwhile, though every token lives for a second only.
//
// Case H7.
func TestReplacedProofsTakeEffectWithoutAFailedRequest(t *testing.T) {
	t.Parallel()
	numberOf := func(assertion string) string { // what tells one proof from another
		parts := strings.Split(assertion, ".")
		header, _ := base64.RawURLEncoding.DecodeString(parts[0])
		var h struct{ Kid string }
		_ = json.Unmarshal(header, &h)
		claims, _ := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)])
		var c struct{ N int }
		_ = json.Unmarshal(claims, &c)
		return fmt.Sprint(h.Kid, c.N)
	}
	for _, way := range []string{"private_key_jwt", "assertion_file"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex // guards seen
			seen := map[string]bool{}
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if assertion := r.FormValue("client_assertion"); assertion != "" {
					mu.Lock()
					seen[numberOf(assertion)] = true
					mu.Unlock()
					w.Header().Set("Content-Type", "application/json")
					_, _ = io.WriteString(w, `{"access_token":"t","token_type":"bearer","expires_in":1}`)
				}
			}))
			t.Cleanup(s.Close)
			file := filepath.Join(t.TempDir(), "proof")
			proofs := []string{testkit.NewPrivateKey(2048), testkit.NewPrivateKey(2048)}
			settings := []string{"AUTH=private_key_jwt", "CLIENT_ID=id", "KEY_ID=thumbprint", "PRIVATE_KEY_FILE=" + file}
			if way == "assertion_file" {
				proofs = []string{assertedBy(t, 1), assertedBy(t, 2)}
				settings = []string{"AUTH=assertion_file", "ASSERTION_FILE=" + file}
			}
			replaceFile(t, file, proofs[0])
			environ := []string{"SIDECAR_OAUTH2_0_NAME=books", "SIDECAR_OAUTH2_0_TOKEN_URL=" + s.URL, "SIDECAR_OAUTH2_0_TARGET=" + s.URL}
			for _, setting := range settings {
				environ = append(environ, "SIDECAR_OAUTH2_0_"+setting)
			}
			hidden := &secrets{}
			hidden.add(proofs...)
			p := start(t, hidden, environ...)
			p.mustGet(200, "/books/x")
			ctx, stop := context.WithCancel(t.Context())
			var asking sync.WaitGroup
			asking.Go(func() {
				for ctx.Err() == nil {
					if a, err := p.get("/books/x"); err != nil || a.status != 200 {
						t.Errorf("status %d, error %v: %s", a.status, err, a.body)
					}
				}
			})
			replaceFile(t, file, proofs[1])
			testkit.Eventually(t, "the new proof is used", func() error {
				mu.Lock()
				defer mu.Unlock()
				if len(seen) < 2 {
					return fmt.Errorf("%d proofs were seen", len(seen))
				}
				return nil
			})
			stop()
			asking.Wait()
		})
	}
}
