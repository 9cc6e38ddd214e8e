package docs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// step is one numbered step of the page: a new file, or lines for an old one.
type step struct {
	path   string
	behind string // how the line begins behind which the code belongs; empty: the code is a new file
	code   string
}

var stepForm = regexp.MustCompile("(?s)^\\*\\* .*?`([^`]+\\.go)`(?:, behind the line that begins with `([^`]+)`)?.*?\n```go\n(.*?)```\n")

// fifthProvider reads the steps of CONTRIBUTING.md.
func fifthProvider(t *testing.T) []step {
	t.Helper()
	text, err := os.ReadFile("../../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## A fifth provider\n")
	var steps []step
	for _, part := range regexp.MustCompile(`(?m)^\*\*\d+\.`).Split(section, -1)[1:] {
		m := stepForm.FindStringSubmatch(part)
		if m == nil {
			t.Fatalf("a step has not the form that this test follows: %.80s", part)
		}
		steps = append(steps, step{m[1], m[2], m[3]})
	}
	return steps
}

// follow does what the step says in the copy of the project at root.
func (s step) follow(t *testing.T, root string) {
	t.Helper()
	path := filepath.Join(root, s.path)
	old, err := os.ReadFile(path)
	switch {
	case s.behind == "" && err == nil:
		t.Fatalf("%s is there already", s.path)
	case s.behind == "":
		old = []byte(s.code)
	case err != nil:
		t.Fatal(err)
	default:
		line := regexp.MustCompile(`(?m)^\s*`+regexp.QuoteMeta(s.behind)+`.*\n`).FindAllIndex(old, -1)
		if len(line) != 1 {
			t.Fatalf("%d lines of %s begin with %s", len(line), s.path, s.behind)
		}
		old = bytes.Join([][]byte{old[:line[0][1]], []byte(s.code), old[line[0][1]:]}, nil)
	}
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
}

// copyProject copies the Go code of the project, without tests, to dir.
func copyProject(t *testing.T, dir string) {
	t.Helper()
	const root = "../../.."
	for _, name := range []string{"go.mod", "go.sum", "cmd/demo", "cmd/internal", "proxy", "cache", "upstream", "metrics"} {
		err := filepath.WalkDir(filepath.Join(root, name), func(path string, entry os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			relative, err := filepath.Rel(root, path)
			if err != nil || strings.HasSuffix(path, "_test.go") {
				return err
			}
			if entry.IsDir() {
				return os.MkdirAll(filepath.Join(dir, relative), 0o700)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			to := filepath.Join(dir, relative)
			if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
				return err
			}
			return os.WriteFile(to, text, 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestFifthProvider follows the page that says how to add a provider, word by
// word, and has the demo play the provider's row.
func TestFifthProvider(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program anew; make test runs it")
	}
	dir := t.TempDir()
	copyProject(t, dir)
	steps := fifthProvider(t)
	if len(steps) != 5 {
		t.Fatalf("the page has %d steps, want three files and two rows", len(steps))
	}
	for _, s := range steps {
		s.follow(t, dir)
	}
	demo := exec.CommandContext(t.Context(), "go", "run", "./cmd/demo", "-once")
	demo.Dir = dir
	out, err := demo.CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^/acme/v1/things .* client .* right$`).Match(out) {
		t.Errorf("the demo plays no row of the new provider, or it is wrong: %v\n%s", err, out)
	}
	format := exec.CommandContext(t.Context(), "gofmt", "-d", dir)
	if out, err := format.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("the code of the page is not formatted: %v\n%s", err, out)
	}
}
