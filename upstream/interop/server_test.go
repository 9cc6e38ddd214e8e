package interop

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// client is the metadata of a client, by the names of RFC 7591.
type client map[string]any

// record is what oidc-provider tells of a token request, or of a JWK Set that it fetched.
type record struct {
	Client, Proof, Alg, Kid string
	Error, Detail           string // empty: a token was issued
	Fetched                 string // URL of the JWK Set; then all else is empty
}

// server is a running oidc-provider.
type server struct {
	issuer string

	mu      sync.Mutex // guards records
	records []record
}

// introspector is the client as which the target asks whether a token is good.
const introspector, introspectorSecret = "target", "secret-of-the-target"

// startOIDCProvider starts oidc-provider with clients, and with tokens that live for so many
// seconds.
func startOIDCProvider(t *testing.T, lifetime int, clients ...client) *server {
	t.Helper()
	need(t, "node", "npm")
	dir, err := oidcProvider()
	if err != nil {
		t.Fatal(err)
	}
	clients = append(clients, client{"client_id": introspector, "client_secret": introspectorSecret,
		"token_endpoint_auth_method": "client_secret_basic"})
	config, err := json.Marshal(map[string]any{"clients": clients, "lifetime": lifetime})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "server.mjs", string(config))
	cmd.Dir = dir
	var warnings strings.Builder
	cmd.Stderr = &warnings
	stdin, err := cmd.StdinPipe() // it ends the server if this process is killed
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			s.note(lines.Bytes())
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		<-ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("oidc-provider: %s\n%+v", warnings.String(), s.noted())
		}
	})
	eventually(t, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.issuer == "" {
			return errors.New("oidc-provider does not say that it listens")
		}
		return nil
	})
	return s
}

// note takes a line that the server prints.
func (s *server) note(line []byte) {
	var entry struct {
		Issuer string
		record
	}
	if err := json.Unmarshal(line, &entry); err != nil {
		fmt.Fprintf(os.Stderr, "oidc-provider prints %q\n", line)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if entry.Issuer != "" {
		s.issuer = entry.Issuer
		return
	}
	s.records = append(s.records, entry.record)
}

// noted returns all records until now.
func (s *server) noted() []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]record(nil), s.records...)
}

// last waits for a record of a token request of a client and returns the last one.
func (s *server) last(t *testing.T, client string) record {
	t.Helper()
	var found record
	eventually(t, func() error {
		for _, r := range s.noted() {
			if r.Client == client {
				found = r
			}
		}
		if found.Client == "" {
			return fmt.Errorf("no token request of %s", client)
		}
		return nil
	})
	return found
}

// whose asks the server whether a token is good (RFC 7662), and returns the client to which
// it was issued, with the audience if it has one, or nothing if it is not good.
func (s *server) whose(token string) string {
	req, err := http.NewRequest(http.MethodPost, s.issuer+"/token/introspection",
		strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		return ""
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(introspector, introspectorSecret)
	res, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		return ""
	}
	defer func() { _ = res.Body.Close() }()
	var said struct {
		Active   bool   `json:"active"`
		ClientID string `json:"client_id"`
		Audience string `json:"aud"`
	}
	if json.NewDecoder(res.Body).Decode(&said) != nil || !said.Active {
		return ""
	}
	return strings.TrimSpace(said.ClientID + " " + said.Audience)
}
