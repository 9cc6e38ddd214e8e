package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// errand is what a client is sent to get, following redirects.
type errand struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Proxy   string            `json:"proxy"`   // value of http_proxy
	Foreign string            `json:"foreign"` // address that foreignHost is at
	leadsTo string            // the target of the last request, if that is to be ours
}

// fetched is what a client has to show for an errand.
type fetched struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

// foreignHost is a name that no resolver knows.
const foreignHost = "foreign.example"

// run runs a client without the proxies of this process. Where the client is
// missing it skips the test; make test installs them all, and skips none.
func run(t *testing.T, env string, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(strings.ToLower(v), "=")
		return strings.HasSuffix(name, "_proxy")
	}), env)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	missing := errors.Is(err, exec.ErrNotFound) || strings.Contains(said.String(), "No module named 'requests'")
	if missing && os.Getenv("CI") == "" {
		t.Skipf("not here: %v", err)
	}
	if err != nil {
		t.Fatalf("%s: %v: %s", command[0], err, said.String())
	}
	return string(out)
}

func curlGet(t *testing.T, errands []errand) []fetched {
	var all []fetched
	for _, e := range errands {
		command := []string{"curl", "-q", "-sS", "-L", "--max-redirs", "5", "-w", "\n%{http_code}"}
		for name, value := range e.Headers {
			command = append(command, "-H", name+": "+value)
		}
		if host, port, err := net.SplitHostPort(e.Foreign); err == nil {
			command = append(command, "--resolve", foreignHost+":"+port+":"+host)
		}
		body, status, _ := strings.Cut(run(t, "http_proxy="+e.Proxy, append(command, e.URL)...), "\n")
		n, _ := strconv.Atoi(status)
		all = append(all, fetched{n, body})
	}
	return all
}

// scripted runs a script once for all errands: it reads them from its argument, and
// prints what it fetched, both as JSON.
func scripted(script string, command ...string) func(*testing.T, []errand) []fetched {
	return func(t *testing.T, errands []errand) []fetched {
		argument, err := json.Marshal(errands)
		if err != nil {
			t.Fatal(err)
		}
		var all []fetched
		out := run(t, "PYTHONDONTWRITEBYTECODE=1", append(slices.Clone(command), script, string(argument))...)
		if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != len(errands) {
			t.Fatalf("%d errands, %v: %s", len(errands), err, out)
		}
		return all
	}
}

const (
	// Python's clients look names up by this function, and read http_proxy anew for
	// each session or opener.
	pythonScript = `
import json, os, socket, sys
look_up = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **named: look_up("127.0.0.1" if host == "foreign.example" else host, *more, **named)
fetched = []
for e in json.loads(sys.argv[1]):
    os.environ["http_proxy"] = e["proxy"]
    status, body = get(e["url"], e["headers"])
    fetched.append({"status": status, "body": body})
print(json.dumps(fetched))
`
	urllibScript = `
import urllib.error, urllib.request
def get(url, headers):
    try:
        answer = urllib.request.build_opener().open(urllib.request.Request(url, headers=headers))
    except urllib.error.HTTPError as failed:
        answer = failed
    return answer.status, answer.read().decode()
` + pythonScript
	requestsScript = `
import os, sys
try:
    import requests
except ImportError: # another Python than the one that Debian's package is for
    if sys.executable == "/usr/bin/python3":
        raise
    os.execv("/usr/bin/python3", ["/usr/bin/python3"] + sys.orig_argv[1:])
def get(url, headers):
    answer = requests.get(url, headers=headers)
    return answer.status_code, answer.text
` + pythonScript
	fetchScript = `
import dns from "node:dns";
const lookUp = dns.lookup;
dns.lookup = (host, ...more) => lookUp(host === "foreign.example" ? "127.0.0.1" : host, ...more);
const fetched = [];
for (const e of JSON.parse(process.argv[1])) {
	const answer = await fetch(e.url, { headers: e.headers });
	fetched.push({ status: answer.status, body: await answer.text() });
}
console.log(JSON.stringify(fetched));
`
)

func goGet(t *testing.T, errands []errand) []fetched {
	var all []fetched
	for _, e := range errands {
		transport := &http.Transport{DisableKeepAlives: true}
		if e.Proxy != "" { // what ProxyFromEnvironment would make of http_proxy, if that were not loopback
			transport.Proxy = http.ProxyURL(mustURL(e.Proxy))
		}
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, foreignHost+":") {
				address = e.Foreign
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		req, err := http.NewRequest(http.MethodGet, e.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range e.Headers {
			req.Header.Set(name, value)
		}
		res, err := (&http.Client{Transport: transport, Timeout: 2 * patience}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fetched{res.StatusCode, string(body)})
	}
	return all
}
