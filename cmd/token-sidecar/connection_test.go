package main_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// connect sends a First Time Connection as an app does that holds no token.
func (p *process) connect(hash string) (answer, error) {
	body := `{"mydexid":"m","connection_nid":"4711","connection_token_hash":"` + hash + `","return_to":"https://app.example/"}`
	res, err := p.client.Post("http://"+p.addrs["data"]+"/pdx/api/connection", "application/json", strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	a := answer{res.StatusCode, res.Header, string(text), err}
	p.secret.search(p.t, "an answer to a First Time Connection", fmt.Sprint(a))
	return a, nil
}

// The app makes a First Time Connection with what pdx-connection-hash prints. Neither
// the connection token nor a short access token is shown by anything, a new connection token
// takes effect when its file has it, and a short access token that cannot be had has a code.
//
// Cases FTC4, FTC5.
func TestFirstTimeConnection(t *testing.T) {
	t.Parallel()
	const token = "c4nary-connection/t0ken"
	pdx := testkit.Closing(t, upstreamtest.NewPDX(upstreamtest.Options{ConnectionNID: "4711", ConnectionToken: token}))
	hidden := &secrets{}
	hidden.add(token, "c4nary-0ld-token", pdx.ClientSecret())
	file := filepath.Join(t.TempDir(), "token")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".next", []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".next", file); err != nil {
			t.Fatal(err)
		}
	}
	put(token)
	environ := testkit.Environ(testkit.PDX(pdx, "PDX_CONNECTION_NID=4711", "PDX_CONNECTION_TOKEN_FILE="+file)...)
	hash, stderr, code := run(t, environ, "pdx-connection-hash")
	if code != 0 || stderr != "" || len(hash) != 129 {
		t.Fatalf("pdx-connection-hash: code %d, stdout %q, stderr %q", code, hash, stderr)
	}
	hash = strings.TrimSuffix(hash, "\n")
	hidden.search(t, "pdx-connection-hash", hash)
	if stdout, stderr, code := run(t, testkit.Environ(testkit.PDX(pdx)...), "pdx-connection-hash"); code != 2 || stdout != "" || !strings.Contains(stderr, "SIDECAR_PDX_CONNECTION_TOKEN") {
		t.Errorf("without a token: code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	put("c4nary-0ld-token")
	p := start(t, hidden, environ...)
	if a, err := p.connect(hash); err != nil || a.status != 401 {
		t.Fatalf("with another token: %d, %v", a.status, err)
	}
	put(token)
	testkit.Eventually(t, "the new connection token is in use", func() error {
		a, err := p.connect(hash)
		hidden.add(pdx.ShortTokens()...)
		if err != nil || a.status != 200 {
			return fmt.Errorf("status %d, error %v, %s", a.status, err, a.body)
		}
		return nil
	})
	pdx.SetAPIFault(func(r *http.Request, _ int) *upstreamtest.Answer {
		return &upstreamtest.Answer{Status: 500, Body: "c4nary-foreign-text"}
	})
	hidden.add("c4nary-foreign-text")
	if a, err := p.connect(hash); err != nil || a.status != 503 || !strings.Contains(a.body, `"code":"header_unavailable"`) {
		t.Errorf("without a short access token: %d, %v, %s", a.status, err, a.body)
	}
	if n := pdx.ConnectionsMade(); n != 1 {
		t.Errorf("%d connections were made", n)
	}
	testkit.Eventually(t, "the log says what is wrong", func() error {
		if !strings.Contains(p.stderr.String(), "no short access token is given, status 500") {
			return errors.New("it does not")
		}
		return nil
	})
	stdout, stderr, _ := run(t, environ, "check")
	hidden.add(pdx.ShortTokens()...)
	hidden.search(t, "check", stdout+stderr)
	// What was written is searched when the test ends.
}
