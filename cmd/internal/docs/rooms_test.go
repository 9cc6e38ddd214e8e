package docs

import (
	"os/exec"
	"strings"
	"testing"
)

// floors is the plan of the house: a package may import those below it, and none
// on its own floor.
var floors = map[string]int{
	"metrics":                   0,
	"proxy/internal/http1":      0,
	"proxy/internal/peek":       0,
	"proxy/internal/targetconn": 1,
	"upstream/egress":           0,
	"upstream":                  1,
	"upstream/upstreamtest":     2,
	"cache/internal/redistest":  0,
	"cache/shared":              2,
	"cache/shared/goredis":      3,
	"cache/shared/model":        0, // the protocol without its code, for its own tests
	"cache":                     3,
	"proxy":                     4,
	"cmd/internal/config":       5,
	"cmd/internal/check":        6,
	"cmd/internal/status":       6,
	"cmd/internal/testkit":      6,
	"cmd/internal/sidecar":      7,
	"cmd/token-sidecar":         8,
	"cmd/demo":                  8,
	"cmd/bench":                 8,
	"cmd/internal/docs":         8, // tests only, as are the next four
	"cmd/internal/examples":     8,
	"cmd/internal/fleet":        8,
	"cmd/internal/flows":        8,
	"cmd/internal/soak":         8,
	"docs/examples/clients/go":  0, // it knows nothing of ours
}

// notInTheProgram are the packages that tests, the demo and the bench share; the
// program itself must not know them.
var notInTheProgram = []string{"upstream/upstreamtest", "cache/internal/redistest", "cache/shared/model", "cmd/internal/testkit"}

// TestImportsGoDown holds the plan: cmd → proxy → cache → upstream, and metrics a
// leaf.
func TestImportsGoDown(t *testing.T) {
	seen := map[string]bool{}
	for importer, imported := range importsOf(t, ".Imports", "./...") {
		seen[importer] = true
		floor, ok := floors[importer]
		if !ok {
			t.Errorf("%s has no place in the plan", importer)
		}
		for _, path := range imported {
			if floors[path] >= floor {
				t.Errorf("%s imports %s", importer, path)
			}
		}
	}
	for path := range floors {
		if !seen[path] {
			t.Errorf("%s is in the plan and not there", path)
		}
	}
}

// TestProgramHoldsNoTestCode looks at all that the program is linked from.
func TestProgramHoldsNoTestCode(t *testing.T) {
	linked := importsOf(t, ".Deps", "./cmd/token-sidecar")["cmd/token-sidecar"]
	if len(linked) < 8 {
		t.Fatalf("the program is linked from %q only", linked)
	}
	for _, path := range linked {
		for _, other := range notInTheProgram {
			if path == other {
				t.Errorf("the program is linked with %s", path)
			}
		}
	}
}

// TestDemoDoesWithoutGoRedis looks at all that is compiled before the demo runs for the first
// time. With go-redis that would be nearly twice the work, since each package above it would
// have to read the exports of that.
func TestDemoDoesWithoutGoRedis(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "./cmd/demo")
	list.Dir = "../../.."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "\ntoken-sidecar/cache/shared\n") {
		t.Error("the demo shares no tokens")
	}
	if strings.Contains(string(out), "github.com/redis/") {
		t.Error("the demo is compiled with go-redis; only package goredis may import that")
	}
}

// importsOf asks the go command for a list of our packages that is a field of
// each package that the pattern names.
func importsOf(t *testing.T, field, pattern string) map[string][]string {
	t.Helper()
	const module = "token-sidecar/"
	list := exec.Command("go", "list", "-f", "{{.ImportPath}}{{range "+field+"}} {{.}}{{end}}", pattern)
	list.Dir = "../../.."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		paths := strings.Fields(line)
		importer := strings.TrimPrefix(paths[0], module)
		all[importer] = nil
		for _, path := range paths[1:] {
			if ours, ok := strings.CutPrefix(path, module); ok {
				all[importer] = append(all[importer], ours)
			}
		}
	}
	return all
}
