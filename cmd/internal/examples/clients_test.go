package examples

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// clients are the examples, each with what runs it and its timeout, for which another is put to see it end.
var clients = []struct{ program, file, timeout, shorter string }{
	{"python3", "python/client.py", "TIMEOUT = 20", "TIMEOUT = 1"},
	{"node", "node/client.mjs", "timeout = 20_000", "timeout = 1_000"},
	{"go", "go/main.go", "timeout  = 20", "timeout  = 1"},
}

// python returns a Python that has the package requests: Debian's, if the first one has not.
func python(t *testing.T) string {
	t.Helper()
	for _, path := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(path, "-c", "import requests").Run() == nil {
			return path
		}
	}
	tool(t, "a python3 with requests")
	return ""
}

// library is a simulated OCLC with pages, and a sidecar before it.
type library struct {
	*upstreamtest.Server
	sidecar
	client  []string     // the program, and the file of the client
	refused atomic.Int32 // how many of the next token requests are answered 503
	wait    atomic.Int32 // seconds in their Retry-After
}

const unknown, known = "91475", "128807"

func newLibrary(t *testing.T, program, file string) *library {
	t.Helper()
	lib := &library{client: []string{program, file}}
	if program == "go" {
		lib.client = []string{program, "run", file}
	}
	lib.Server = testkit.Closing(t, upstreamtest.NewOCLC(upstreamtest.Options{Lifetime: time.Hour,
		InstitutionOnKey: func(id string) bool { return id != unknown }}))
	lib.SetAPIFault(lib.page)
	lib.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer {
		if lib.refused.Add(-1) < 0 {
			return nil
		}
		return &upstreamtest.Answer{Status: 503, Header: http.Header{"Retry-After": {strconv.Itoa(int(lib.wait.Load()))}}}
	})
	lib.sidecar = start(t, exec.Command(testkit.Binary(t)),
		testkit.Environ(testkit.OCLC(lib.Server, "LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0")...)...)
	return lib
}

// page serves pages, of which the first names the second by the address of the API itself.
func (l *library) page(r *http.Request, _ int) *upstreamtest.Answer {
	next := map[string]string{"/pages": l.APIURL() + "/pages/2?a=b%20c", "/strays": l.APIURL() + ".example/pages", "/pages/2": ""}
	link, ok := next[r.URL.Path]
	switch {
	case r.URL.Path == "/hangs":
		return &upstreamtest.Answer{Hang: true}
	case r.URL.Path == "/moved":
		return &upstreamtest.Answer{Status: 302, Header: http.Header{"Location": {"https://elsewhere.example/"}}}
	case r.URL.Path == "/busy":
		return &upstreamtest.Answer{Status: 503, Header: http.Header{"Retry-After": {"Fri, 01 Jan 2100 00:00:00 GMT"}}}
	case !ok, r.Header.Get("Authorization") == "":
		return nil // as the provider answers
	}
	header := http.Header{"Content-Type": {"application/json"}}
	return &upstreamtest.Answer{Header: header, Body: `{"at":"` + r.URL.RequestURI() + `","next":"` + link + `"}`}
}

// run runs the client and returns what it prints, what it says on stderr and its exit code.
func (l *library) run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.client[0], append(l.client[1:], args...)...)
	cmd.Env = append(os.Environ(), "TOKEN_SIDECAR_URL=http://"+l.addresses["data"], "http_proxy=http://127.0.0.1:1", "no_proxy=")
	var said testkit.Output
	cmd.Stderr = &said
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), said.String(), cmd.ProcessState.ExitCode()
}

func TestClients(t *testing.T) {
	for _, c := range clients {
		t.Run(c.program, func(t *testing.T) {
			t.Parallel()
			tool(t, c.program)
			program := c.program
			if program == "python3" {
				program = python(t)
			}
			lib := newLibrary(t, program, filepath.Join(examples, "clients", c.file))
			lib.succeeds(t)
			lib.fails(t)
			lib.waits(t)
			lib.timesOut(t, c.timeout, c.shorter)
		})
	}
}

func (l *library) succeeds(t *testing.T) {
	t.Helper()
	const want = `{"at":"/pages","next":"TARGET/pages/2?a=b%20c"}` + "\n" + `{"at":"/pages/2?a=b%20c","next":""}` + "\n"
	out, said, code := l.run(t, "oclc", l.APIURL(), "/pages", known)
	if code != 0 || out != strings.Replace(want, "TARGET", l.APIURL(), 1) || said != "" {
		t.Errorf("pages: exit code %d, %s%s", code, out, said)
	}
	// The target echoes whose token came.
	out, said, code = l.run(t, "oclc", l.APIURL(), "/worldcat/manage/bibs/1", known)
	if code != 0 || !strings.Contains(out, `"subject":"`+known+`"`) {
		t.Errorf("a subject: exit code %d, %s%s", code, out, said)
	}
	if out, said, code = l.run(t, "oclc", l.APIURL(), "/worldcat/manage/bibs/1"); code != 0 || !strings.Contains(out, `"subject":""`) {
		t.Errorf("no subject: exit code %d, %s%s", code, out, said)
	}
}

func (l *library) fails(t *testing.T) {
	t.Helper()
	for _, c := range []struct{ route, path, subject, want string }{
		{"oclc", "/pages", unknown, "subject_refused: "},
		{"books", "/pages", known, "unknown_route: "},
		{"oclc", "/strays", known, "the next page is not at the target\n"},
		{"oclc", "/moved", known, "the API answered 302\n"},
		{"oclc", "/busy", known, "the API answered 503\n"},
	} {
		if _, said, code := l.run(t, c.route, l.APIURL(), c.path, c.subject); code != 1 || !strings.HasPrefix(said, c.want) {
			t.Errorf("/%s%s as %s: exit code %d, %s", c.route, c.path, c.subject, code, said)
		}
	}
}

// waits has the token endpoint fail once, and then for longer than a client has patience.
func (l *library) waits(t *testing.T) {
	t.Helper()
	l.wait.Store(1)
	l.refused.Store(1)
	began := time.Now()
	out, said, code := l.run(t, "oclc", l.APIURL(), "/pages/2", "1001")
	if code != 0 || !strings.Contains(out, `"at":"/pages/2"`) {
		t.Errorf("a token endpoint that works again: exit code %d, %s%s", code, out, said)
	}
	if took, n := time.Since(began), l.TokenRequestsFor("1001"); took < time.Second || n != 2 {
		t.Errorf("%d token requests in %s, want one more after a second", n, took)
	}
	l.wait.Store(3600)
	l.refused.Store(1000)
	if _, said, code := l.run(t, "oclc", l.APIURL(), "/pages/2", "1002"); code != 1 || !strings.HasPrefix(said, "token_unavailable: ") {
		t.Errorf("a token endpoint that is away: exit code %d, %s", code, said)
	}
	if n := l.TokenRequestsFor("1002"); n != 1 {
		t.Errorf("%d token requests of a client that does not wait", n)
	}
}

// timesOut gives a copy of the client less time.
func (l *library) timesOut(t *testing.T, timeout, shorter string) {
	t.Helper()
	file := l.client[len(l.client)-1]
	text := read(t, file)
	if !strings.Contains(text, timeout) {
		t.Fatalf("%s has no %s", file, timeout)
	}
	path := filepath.Join(t.TempDir(), filepath.Base(file))
	write(t, path, strings.Replace(text, timeout, shorter, 1), 0o644)
	l.client[len(l.client)-1] = path
	if _, said, code := l.run(t, "oclc", l.APIURL(), "/hangs", known); code != 1 || !strings.HasPrefix(said, "no usable answer") {
		t.Errorf("a target that hangs: exit code %d, %s", code, said)
	}
}
