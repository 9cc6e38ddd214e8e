package docs

import (
	"os/exec"
	"strings"
	"testing"
)

// TestImportsGoDown holds the plan of the house: cmd → proxy → cache → upstream,
// and metrics a leaf.
func TestImportsGoDown(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "token-sidecar/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	floor := map[string]int{"cmd": 4, "proxy": 3, "cache": 2, "upstream": 1, "metrics": 0}
	room := func(path string) string {
		path, ours := strings.CutPrefix(path, "token-sidecar/")
		if !ours {
			return ""
		}
		name, _, _ := strings.Cut(path, "/")
		return name
	}
	for line := range strings.Lines(string(out)) {
		packages := strings.Fields(line)
		from := room(packages[0])
		if _, ok := floor[from]; !ok {
			t.Errorf("%s is in no room", packages[0])
		}
		for _, imported := range packages[1:] {
			if to := room(imported); to != "" && to != from && floor[to] >= floor[from] {
				t.Errorf("%s imports %s", packages[0], imported)
			}
		}
	}
}
