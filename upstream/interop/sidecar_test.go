package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v3"
)

// api is one generic upstream: its name, and its settings without their prefix.
type api struct {
	name string
	set  settings
}

type settings map[string]string

// with returns the settings of all, those of the later ones over those of the earlier.
func with(all ...settings) settings {
	merged := settings{}
	for _, s := range all {
		for name, value := range s {
			merged[name] = value
		}
	}
	return merged
}

// environ returns the settings of apis, whose requests go to target, for the program.
func environ(target string, apis []api) []string {
	env := append(os.Environ(), "SIDECAR_LISTEN=127.0.0.1:0", "SIDECAR_ADMIN_LISTEN=127.0.0.1:0")
	for n, a := range apis {
		prefix := fmt.Sprintf("SIDECAR_OAUTH2_%d_", n)
		env = append(env, prefix+"NAME="+a.name, prefix+"TARGET="+target)
		for name, value := range a.set {
			env = append(env, prefix+name+"="+value)
		}
	}
	return env
}

// sidecar is a running program.
type sidecar struct {
	url string // of the data listener

	mu  sync.Mutex // guards log
	log bytes.Buffer
}

// startSidecar starts the program with apis, whose requests go to target, and further
// settings, and waits until it is ready.
func startSidecar(t *testing.T, target string, apis []api, further ...string) *sidecar {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	s := &sidecar{}
	cmd := exec.Command(path)
	cmd.Env = append(environ(target, apis), further...)
	cmd.Stderr = s
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("log of the sidecar:\n%s", s.logged())
		}
	})
	eventually(t, func() error {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the sidecar has ended: %v", err)
		default:
		}
		return s.ready()
	})
	return s
}

// Write takes what the program logs.
func (s *sidecar) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

func (s *sidecar) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// ready returns nil once the log says that the program is ready, and where it listens.
func (s *sidecar) ready() error {
	for line := range strings.Lines(s.logged()) {
		var entry struct{ Message, Listener, Address string }
		_ = json.Unmarshal([]byte(line), &entry)
		switch {
		case entry.Listener == "data":
			s.url = "http://" + entry.Address
		case entry.Message == "ready":
			return nil
		}
	}
	return errors.New("the sidecar is not ready")
}

// answer is what comes back of a request through the sidecar.
type answer struct {
	status int
	body   string
	code   string // of a problem document
}

// get sends a request through the sidecar with further header fields name, value, ...
func (s *sidecar) get(t *testing.T, path string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var problem struct{ Code string }
	if res.Header.Get("Content-Type") == "application/problem+json" {
		_ = json.Unmarshal(body, &problem)
	}
	return answer{res.StatusCode, string(body), problem.Code}
}

// jwks returns the JWK Set that the program prints for apis.
func jwks(t *testing.T, apis ...api) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "jwks")
	cmd.Env = environ("http://127.0.0.1:9", apis)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("token-sidecar jwks: %v\n%s", err, stderr.String())
	}
	return string(out)
}

// publishes reports whether the JWK Set at url has a key with that id.
func publishes(t *testing.T, url, id string) bool {
	t.Helper()
	res, err := (&http.Client{Timeout: patience}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(res.Body).Decode(&set); err != nil {
		t.Fatal(err)
	}
	return len(set.Key(id)) == 1
}

// freeAddress returns a loopback address that is free now. Its port is below those that
// the kernel gives to outgoing connections and to listeners without a port of their own,
// so that hardly anything takes it before it is used.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000)))
		if err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}
