package main_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// sightings says when each client certificate, by its thumbprint, was presented last.
type sightings struct {
	mu   sync.Mutex // guards last
	last map[string]time.Time
}

// see notes that a certificate was presented now.
func (s *sightings) see(thumbprint string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[thumbprint] = time.Now()
	return true
}

// of returns when a certificate was presented last.
func (s *sightings) of(thumbprint string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[thumbprint]
}

// put writes a file and returns its path.
func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Error(err)
	}
	return path
}

// The certificate of a client and its key are two files that are replaced one after the
// other, under load that has POSTs with small and with large bodies in it. Until both are
// there the old pair is used; within 5 s after that only the new one, with tokens that are
// bound to it. No request fails.
func TestClientCertificateRotatesWithoutAFailedRequest(t *testing.T) {
	t.Parallel()
	seen := &sightings{last: map[string]time.Time{}}
	s := testkit.Closing(t, upstreamtest.NewEndpoint(upstreamtest.EndpointRules{Auth: upstreamtest.AuthTLS, Lifetime: time.Hour, ClientCertificate: seen.see}))
	oldCertificate, oldKey, oldPrint := upstreamtest.NewCertificate()
	newCertificate, newKey, newPrint := upstreamtest.NewCertificate()
	dir := t.TempDir()
	certFile, keyFile := put(t, filepath.Join(dir, "tls.crt"), oldCertificate), put(t, filepath.Join(dir, "tls.key"), oldKey)
	secret := &secrets{}
	for _, key := range []string{oldKey, newKey} {
		secret.add(strings.Split(key, "\n")[1])
	}
	p := start(t, secret, testkit.Environ(testkit.OAuth2(s, "-OAUTH2_0_CLIENT_SECRET", "OAUTH2_0_AUTH=tls",
		"OAUTH2_0_CERT_FILE="+certFile, "OAUTH2_0_CERT_KEY_FILE="+keyFile,
		"CA_FILE="+put(t, filepath.Join(dir, "ca.crt"), s.CA()), "LOG_LEVEL=info")...)...)
	done, failed := make(chan struct{}), make(chan string, 100)
	var load sync.WaitGroup
	for n := range 6 {
		load.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if err := p.send([]string{http.MethodGet, http.MethodPost, http.MethodPost}[n%3], []int{0, 100, 200_000}[n%3]); err != nil {
					select {
					case failed <- err.Error():
					default:
					}
				}
			}
		})
	}
	testkit.Eventually(t, "requests under the old certificate", func() error { return presentedSince(seen, oldPrint, time.Time{}) })
	put(t, certFile, newCertificate)
	testkit.Eventually(t, "the new certificate alone is noticed", func() error {
		if !strings.Contains(p.stderr.String(), "OAUTH2_0_CERT") {
			return errors.New("nothing is logged")
		}
		return nil
	})
	half := time.Now()
	testkit.Eventually(t, "requests go on under the old certificate", func() error { return presentedSince(seen, oldPrint, half) })
	if !seen.of(newPrint).IsZero() {
		t.Error("the new certificate was presented without its key")
	}
	put(t, keyFile, newKey)
	complete := time.Now()
	testkit.Eventually(t, "a second of requests later than 5 s after that", func() error { return presentedSince(seen, newPrint, complete.Add(6*time.Second)) })
	close(done)
	load.Wait()
	if late := seen.of(oldPrint).Sub(complete); late > 5*time.Second {
		t.Errorf("the old certificate was presented %v after the new pair was there", late)
	}
	close(failed)
	for f := range failed {
		t.Error(f)
	}
	if n := len(s.IssuedTokens()); n != 2 {
		t.Errorf("%d tokens were issued, want one for each certificate", n)
	}
}

// presentedSince returns an error unless a certificate was presented after since.
func presentedSince(s *sightings, thumbprint string, since time.Time) error {
	if last := s.of(thumbprint); !last.After(since) {
		return fmt.Errorf("it was presented last at %v", last)
	}
	return nil
}

// send makes a request of the route books, whose body has so many bytes, and returns an
// error unless the answer is good.
func (p *process) send(method string, bytes int) error {
	req, err := http.NewRequest(method, "http://"+p.addrs["data"]+"/books/x", strings.NewReader(strings.Repeat("x", bytes)))
	if err != nil {
		return err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s with %d bytes: status %d", method, bytes, res.StatusCode)
	}
	return nil
}
