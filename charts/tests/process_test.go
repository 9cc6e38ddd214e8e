package tests

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come. It only bounds how long a test
// hangs that fails.
const patience = time.Minute

// process is a running program.
type process struct {
	cmd         *exec.Cmd
	data, admin string // base URLs

	mu  sync.Mutex // guards log
	log strings.Builder
}

// start runs cmd, which ends up as the program, and waits until it listens.
func start(t *testing.T, cmd *exec.Cmd, env map[string]string) *process {
	t.Helper()
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.note(lines.Bytes(), ready)
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of the program:\n%s", p.logged())
		}
	})
	select {
	case <-ready:
	case <-ended:
		t.Fatalf("the program ended:\n%s", p.logged())
	case <-time.After(patience):
		t.Fatalf("the program does not get ready:\n%s", p.logged())
	}
	return p
}

func (p *process) note(line []byte, ready chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log.Len() < 1<<20 {
		p.log.Write(line)
		p.log.WriteByte('\n')
	}
	var entry struct{ Listener, Address, Message string }
	if json.Unmarshal(line, &entry) != nil {
		return
	}
	switch {
	case entry.Listener == "data":
		p.data = "http://" + entry.Address
	case entry.Listener == "admin":
		p.admin = "http://" + strings.Replace(entry.Address, "[::]", "127.0.0.1", 1)
	case entry.Message == "ready":
		close(ready)
	}
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// stop sends SIGTERM and fails unless the program ends well.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if !strings.Contains(p.logged(), `"stopped"`) {
			return errors.New("not stopped")
		}
		return nil
	})
}

// get returns status and body.
func get(url string) (int, string, error) {
	client := &http.Client{Timeout: patience}
	res, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

// provider is a token endpoint and an API of its own making.
type provider struct {
	life   int           // of tokens, in seconds
	delay  time.Duration // of token requests
	status int           // of a failing token endpoint; 0: it works
	scope  string        // granted; empty: not said
	deaf   bool          // the API answers 401 whatever comes

	mu     sync.Mutex // guards secret and issued
	secret string     // that it takes; empty: any
	issued map[string]time.Time
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		p.token(w, r)
		return
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	p.mu.Lock()
	ends, known := p.issued[token]
	p.mu.Unlock()
	if p.deaf || !known || time.Now().After(ends) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_, _ = fmt.Fprintf(w, "answer to %s", r.URL.Path)
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	time.Sleep(p.delay)
	w.Header().Set("Content-Type", "application/json")
	_, secret, _ := r.BasicAuth()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.status != 0:
		w.WriteHeader(p.status)
		return
	case p.secret != "" && secret != p.secret:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
		return
	}
	if p.issued == nil {
		p.issued = map[string]time.Time{}
	}
	token := fmt.Sprintf("token-%d", len(p.issued))
	p.issued[token] = time.Now().Add(time.Duration(p.life) * time.Second)
	answer := map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": p.life}
	if p.scope != "" {
		answer["scope"] = p.scope
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// setSecret has the provider take no other secret from now on.
func (p *provider) setSecret(secret string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.secret = secret
}

// revoke has the API answer 401 to all tokens there are.
func (p *provider) revoke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for token := range p.issued {
		p.issued[token] = time.Time{}
	}
}

// providerEnv is the environment that makes the provider at url the nth API.
func providerEnv(n int, name, url string) map[string]string {
	prefix := fmt.Sprintf("SIDECAR_OAUTH2_%d_", n)
	return map[string]string{prefix + "NAME": name, prefix + "TARGET": url, prefix + "TOKEN_URL": url + "/token",
		prefix + "CLIENT_ID": "client"}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until f returns nil.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %v", patience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
