package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/sidecar"
	"token-sidecar/upstream/upstreamtest"
)

// notRun are the commands and programs of the pages that this test does not run, with the
// reason. A block of code is named by its first line.
var notRun = map[string]string{
	"go run ./cmd/demo": "TestPrintedLinesWork does what a person does with it",
	"make test":         "it runs this test",
	"go build -o token-sidecar ./cmd/token-sidecar":                                                         "the tests of cmd/token-sidecar build it",
	"curl http://127.0.0.1:8080/pdx/api/pds/mam":                                                            "it needs the scope of the settings above it; the row of docs/requests.md with this path runs",
	"curl http://127.0.0.1:8080/billing/v1/invoices":                                                        "it needs the settings above it",
	"hash=$(token-sidecar pdx-connection-hash)":                                                             "it needs a connection at PDX; the tests of the subcommand run it",
	`curl http://127.0.0.1:8080/pdx/api/connection -H 'Content-Type: application/json' -d '{"mydexid":"…",`: "it needs a connection at PDX",
	"// With fetch, which takes no proxy by itself: npm install undici":                                     "it needs a package that would have to be downloaded",
}

// asSidecar is the variable that makes the test binary the program token-sidecar.
const asSidecar = "DEMO_TEST_IS_TOKEN_SIDECAR"

func runAsSidecar() int {
	environ := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, asSidecar) })
	if err := (sidecar.Program{Redis: goredis.Driver{}}).Run(context.Background(), os.Args[1:], environ, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// paged is a running demo under the addresses that the pages speak of.
type paged struct {
	*demo
	addresses *strings.Replacer // from those of the pages to those of the demo
	environ   []string          // of commands
	settings  string            // the help text of all settings
}

func startPaged(t *testing.T) *paged {
	t.Helper()
	p := &paged{demo: started(t, lives{others: time.Hour, ledger: time.Hour})}
	oclc, pdx := p.providers["oclc"], p.providers["pdx"]
	pairs := []string{"127.0.0.1:8080", p.address("data"), "127.0.0.1:8082", p.address("oclc"),
		`"127.0.0.1", port: 8080`, strings.Replace(p.address("data"), "127.0.0.1:", `"127.0.0.1", port: `, 1)}
	for host, base := range map[string]string{"metadata.api.oclc.org": oclc.APIURL(), "americas.discovery.api.oclc.org": oclc.HostURL("discovery"),
		"oauth.oclc.org": oclc.TokenURL(), "api.mydex.org": pdx.APIURL()} {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, "https://"+host, "http://"+u.Host, host, u.Host)
	}
	p.addresses = strings.NewReplacer(pairs...)

	// A program that stands in for token-sidecar, with the settings of one provider.
	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\n" + asSidecar + "=1 exec '" + program + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "token-sidecar"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, s := range os.Environ() { // a proxy of the person's environment is for everything else
		if name, _, _ := strings.Cut(s, "="); !strings.HasSuffix(strings.ToUpper(name), "_PROXY") && name != "PATH" {
			p.environ = append(p.environ, s)
		}
	}
	p.environ = append(p.environ, "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	for _, s := range p.demo.environ(anyPort, anyPort) {
		if strings.HasPrefix(s, "SIDECAR_OCLC_") {
			p.environ = append(p.environ, s)
		}
	}
	var help bytes.Buffer
	if err := (sidecar.Program{Redis: goredis.Driver{}}).Run(t.Context(), []string{"--help", "all"}, nil, &help, &help); err != nil {
		t.Fatal(err)
	}
	p.settings = help.String()
	return p
}

// command runs a program and returns what it prints.
func (p *paged) command(t *testing.T, name string, args ...string) string {
	t.Helper()
	var failed bytes.Buffer
	c := exec.CommandContext(t.Context(), name, args...)
	c.Env, c.Stderr, c.WaitDelay = p.environ, &failed, time.Second
	out, err := c.Output()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, failed.String())
	}
	return string(out)
}

var (
	pageBlock    = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	lineComment  = regexp.MustCompile(`\s+#.*$`)
	settingsLine = regexp.MustCompile(`^(?:export )?SIDECAR_`)
	settingName  = regexp.MustCompile(`\bSIDECAR_[A-Z0-9_]+`)
	curlLine     = regexp.MustCompile(`^(?:http_proxy=\S+ )?curl `)
	namedScope   = regexp.MustCompile(`X-Token-Scope\W+([\w:/]+)`)
	namedSubject = regexp.MustCompile(`X-Token-Subject\W+([\w-]+)`)
)

// TestPagesWork runs every command and every program of README.md, docs/requests.md and
// docs/apis.md against the demo, and compares what comes back with what the page says.
func TestPagesWork(t *testing.T) {
	skipIfShort(t)
	p := startPaged(t)
	unused := maps.Clone(notRun)
	for page, least := range map[string]int{"README.md": 8, "docs/requests.md": 12, "docs/apis.md": 6} {
		text, err := os.ReadFile("../../" + page)
		if err != nil {
			t.Fatal(err)
		}
		ran := 0
		for n, m := range pageBlock.FindAllStringSubmatch(string(text), -1) {
			language, block := m[1], m[2]
			first, _, _ := strings.Cut(block, "\n")
			t.Run(fmt.Sprintf("%s %d %s", filepath.Base(page), n+1, first), func(t *testing.T) {
				if _, ok := notRun[first]; ok && language != "sh" {
					delete(unused, first)
					return
				}
				switch language {
				case "sh":
					ran += p.shell(t, block, unused)
				case "console":
					ran += p.console(t, block)
				case "python", "js", "go":
					ran++
					p.echoes(t, block, p.program(t, language, p.addresses.Replace(block)))
				default:
					t.Errorf("nothing runs a block of %q; if nothing can, name it in notRun", language)
				}
			})
		}
		if ran < least {
			t.Errorf("%s has only %d commands and programs that ran", page, ran)
		}
	}
	for name := range unused {
		t.Errorf("no page has %q, which notRun names", name)
	}
}

// shell runs the requests of a block and looks at its settings.
func (p *paged) shell(t *testing.T, block string, unused map[string]string) (ran int) {
	t.Helper()
	leftOut := false
	for line := range strings.Lines(block) {
		if leftOut = leftOut && strings.HasPrefix(line, " "); leftOut {
			continue // of a command that notRun names
		}
		line = lineComment.ReplaceAllString(strings.TrimSpace(line), "")
		_, known := notRun[line]
		switch {
		case line == "":
		case known:
			leftOut = true
			delete(unused, line)
		case settingsLine.MatchString(line):
			for _, name := range settingName.FindAllString(line, -1) {
				if !strings.Contains(p.settings, "\n  "+strings.Replace(strings.TrimSuffix(name, "_FILE"), "_0_", "_<n>_", 1)) {
					t.Errorf("there is no setting %s", name)
				}
			}
		case curlLine.MatchString(line):
			ran++
			p.echoes(t, line, p.command(t, "sh", "-c", p.addresses.Replace(line)))
		default:
			t.Errorf("nothing runs %q; if nothing can, name it in notRun", line)
		}
	}
	return ran
}

// console runs each command behind a prompt and compares what it prints with what follows.
func (p *paged) console(t *testing.T, block string) (ran int) {
	t.Helper()
	commands := strings.Split("\n"+block, "\n$ ")
	if strings.TrimSpace(commands[0]) != "" {
		t.Errorf("the block does not begin with a command:\n%s", block)
	}
	for _, c := range commands[1:] {
		ran++
		line, want, _ := strings.Cut(c, "\n")
		got := p.command(t, "sh", "-c", p.addresses.Replace(line))
		if a, b := steady(got), steady(p.addresses.Replace(want)); !sameButSkipped(a, b) {
			t.Errorf("%s\nsays\n%s\nand the page has\n%s", line, got, want)
		}
	}
	return ran
}

var unsteady = []struct {
	what *regexp.Regexp
	put  string
}{
	{regexp.MustCompile(`"token":"\d+"`), `"token":"N"`},          // which token of the provider it was
	{regexp.MustCompile(`\b(?:\d+[hm])*\d+s\b`), "LIFE"},          // of a token
	{regexp.MustCompile(`(?m)[ \t]+\d+[ \t]*$`), " MILLISECONDS"}, // in the table of check
	{regexp.MustCompile(`[ \t]+`), " "},
}

// steady takes out of a text what differs from time to time.
func steady(text string) string {
	for _, u := range unsteady {
		text = u.what.ReplaceAllString(text, u.put)
	}
	return strings.TrimSpace(text)
}

// sameButSkipped reports whether got is want, in which a first line … stands for any others.
func sameButSkipped(got, want string) bool {
	if end, skips := strings.CutPrefix(want, "…\n"); skips {
		return strings.HasSuffix(got, "\n"+end)
	}
	return got == want
}

// echoes looks at the answer to one request: the provider got the token of whom the request names.
func (p *paged) echoes(t *testing.T, request, answer string) {
	t.Helper()
	var echo upstreamtest.Echo
	if err := json.Unmarshal([]byte(answer), &echo); err != nil || echo.Token == "" {
		t.Errorf("%s\nis answered %q", request, answer)
		return
	}
	provider, subject := "", ""
	for name, of := range map[string]string{":8080/pdx/": "pdx", ":8080/oclc/": "oclc", ":8080/humanapi": "humanapi", ":8082/": "oclc",
		":8080/mydatahelps":     "mydatahelps",
		"metadata.api.oclc.org": "oclc", "api.mydex.org": "pdx"} {
		if strings.Contains(request, name) {
			provider = of
		}
	}
	if provider == "oclc" {
		subject = homeInstitution
	}
	if m := namedSubject.FindStringSubmatch(request); m != nil {
		subject = m[1]
	}
	if m := namedScope.FindStringSubmatch(request); m != nil && !slices.Contains(strings.Fields(echo.Scope), m[1]) {
		t.Errorf("%s\narrives with the scope %q", request, echo.Scope)
	}
	if echo.Provider != provider || echo.Subject != subject {
		t.Errorf("%s\narrives at %s for %q, not at %s for %q", request, echo.Provider, echo.Subject, provider, subject)
	}
}

// goProgram is what a reader puts around the lines of a page.
const goProgram = `package main

import (
	"io"
	"net/http"
	"net/url"
	"os"
)

var _ = url.Parse

func main() {
	%s
	if err != nil {
		panic(err)
	}
	io.Copy(os.Stdout, res.Body)
}
`

// program runs a block of code and returns what it prints.
func (p *paged) program(t *testing.T, language, code string) string {
	t.Helper()
	if language == "go" {
		code = fmt.Sprintf(goProgram, code)
	}
	file := filepath.Join(t.TempDir(), map[string]string{"python": "page.py", "js": "page.mjs", "go": "page.go"}[language])
	if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	switch language {
	case "python":
		return p.command(t, "python3", file)
	case "js":
		return p.command(t, "node", file)
	}
	return p.command(t, "go", "run", file)
}
