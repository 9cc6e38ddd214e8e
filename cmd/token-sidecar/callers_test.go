package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// writeOver puts text in the place of the file at path at once.
func writeOver(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// takes waits until the sidecar has taken a secret's file up again for the nth time.
func (p *process) takes(variable string, nth int) {
	p.t.Helper()
	testkit.Eventually(p.t, variable+" is read again", func() error {
		n := 0
		for line := range strings.Lines(p.stderr.String()) {
			if strings.Contains(line, `"variable":"`+variable+`"`) && strings.Contains(line, "secret file read again") {
				n++
			}
		}
		if n < nth {
			return fmt.Errorf("%d times, not %d", n, nth)
		}
		return nil
	})
}

// underLoad sends requests until during has returned, and fails if one does not succeed.
func underLoad(t *testing.T, send func() error, during func()) {
	t.Helper()
	var stop atomic.Bool
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for !stop.Load() && !t.Failed() {
				if err := send(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	defer all.Wait()
	defer stop.Store(true)
	during()
}

// Callers have names in the access log. A token is replaced without a refused request, by a
// list that has both for a while, and neither is seen anywhere. A faulty list changes nothing.
//
// Case B14.
func TestCallersRotateWithoutARefusedRequest(t *testing.T) {
	t.Parallel()
	const first, second, nightly = "first-t0ken-of-the-app", "second-t0ken-of-the-app", "t0ken-of-the-nightly-job"
	books := newProvider(t, upstreamtest.OAuth2Options{})
	books.secrets.add(first, second, nightly)
	file := filepath.Join(t.TempDir(), "callers")
	writeOver(t, file, "app "+first+"\nnightly "+nightly+"\n")
	p := start(t, &books.secrets, books.environ("SIDECAR_CALLERS_FILE="+file)...)
	p.mustGet(200, "/books/x", "X-Sidecar-Token", nightly)
	p.mustGet(403, "/books/x", "X-Sidecar-Token", second)
	p.mustGet(403, "/books/x")
	with := func(token *atomic.Value) func() error {
		return func() error {
			a, err := p.get("/books/x", "X-Sidecar-Token", token.Load().(string))
			if err == nil && a.status != 200 {
				err = fmt.Errorf("status %d: %s", a.status, a.body)
			}
			return err
		}
	}
	var token atomic.Value
	token.Store(first)
	underLoad(t, with(&token), func() {
		writeOver(t, file, "app "+first+"\napp "+second+"\nnightly "+nightly+"\n")
		p.takes("SIDECAR_CALLERS", 1)
		token.Store(second)
	})
	underLoad(t, with(&token), func() {
		writeOver(t, file, "app "+second+"\nnightly "+nightly+"\n")
		p.takes("SIDECAR_CALLERS", 2)
	})
	p.mustGet(403, "/books/x", "X-Sidecar-Token", first)
	writeOver(t, file, "app "+second+"\napp "+second+"\n")
	testkit.Eventually(t, "the faulty list is told", func() error {
		if !strings.Contains(p.stderr.String(), "line 2 has the token of line 1") {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	p.mustGet(200, "/books/x", "X-Sidecar-Token", nightly)
	for _, name := range []string{"app", "nightly"} {
		if !strings.Contains(p.stderr.String(), `"caller":"`+name+`"`) {
			t.Errorf("the access log does not name %s", name)
		}
		for _, path := range []string{"/metrics", "/"} {
			if a, err := p.admin(path); err != nil || strings.Contains(a.body, name+`"`) {
				t.Errorf("%s names the caller %s (%v)", path, name, err)
			}
		}
	}
}
