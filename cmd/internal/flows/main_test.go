package flows

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/cmd/internal/sidecar"
	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/metrics"
	"token-sidecar/upstream/upstreamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a running sidecar and an app that uses it.
type rig struct {
	sidecar *sidecar.Sidecar
	stop    func() // done at the end of the test, too
	client  *http.Client
	log     *logBuffer
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements [io.Writer].
func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(line)
}

// String returns all that was logged so far.
func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start runs a sidecar with the given settings, each without its prefix.
func start(t *testing.T, settings ...string) *rig {
	t.Helper()
	settings = append(settings, "LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0")
	parsed, err := config.Parse(testkit.Environ(settings...), goredis.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	log := new(logBuffer)
	s, err := sidecar.Start(parsed, zerolog.New(log), metrics.New("test"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{s, sync.OnceFunc(s.Stop), &http.Client{Timeout: testkit.Patience, Transport: &http.Transport{MaxIdleConnsPerHost: 128}}, log}
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		r.stop()
	})
	return r
}

// answer is what the app got.
type answer struct {
	status     int
	code       string // of a problem document
	header     http.Header
	retryAfter int
	echo       upstreamtest.Echo
}

// get sends one request on behalf of subject, of nobody if it is empty.
func (r *rig) get(route, subject string) (answer, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+r.sidecar.Addr("data").String()+"/"+route+"/v1/x", nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Accept", "application/json")
	if subject != "" {
		req.Header.Set("X-Token-Subject", subject)
	}
	return r.do(req)
}

// do sends a request and reads the answer to it.
func (r *rig) do(req *http.Request) (answer, error) {
	res, err := r.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, header: res.Header}
	a.retryAfter, _ = strconv.Atoi(res.Header.Get("Retry-After"))
	if res.StatusCode == http.StatusOK {
		return a, json.Unmarshal(body, &a.echo)
	}
	var problem struct{ Code string }
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") {
		err = json.Unmarshal(body, &problem)
	}
	a.code = problem.Code
	return a, err
}

// mine returns an error unless a is a good answer to a request for subject.
func (a answer) mine(subject string) error {
	if a.status != http.StatusOK || a.echo.Subject != subject {
		return fmt.Errorf("asked for %q: status %d %s, token of %q", subject, a.status, a.code, a.echo.Subject)
	}
	return nil
}

// total adds up the values of the series whose line begins with name and holds label.
func (r *rig) total(t *testing.T, name, label string) float64 {
	t.Helper()
	res, err := r.client.Get("http://" + r.sidecar.Addr("admin").String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	sum := 0.0
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		series, value, _ := strings.Cut(lines.Text(), "} ")
		if strings.HasPrefix(series, name+"{") && strings.Contains(series, label) {
			n, _ := strconv.ParseFloat(value, 64)
			sum += n
		}
	}
	return sum
}

// humanAPI returns the settings for a simulated Human API under the contract HIP.
func humanAPI(s *upstreamtest.Server, more ...string) []string {
	return testkit.HumanAPI(s, append(more, "HUMANAPI_HIP=true", "HUMANAPI_TARGETS=admin="+s.HostURL("admin"))...)
}

// shop returns the settings for a generic upstream of that name.
func shop(s *upstreamtest.Server) []string { return testkit.OAuth2(s, "OAUTH2_0_NAME=shop") }
