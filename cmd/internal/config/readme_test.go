package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the settings table of the README")

// TestReadmeListsEverySetting compares the table in the README with the struct.
func TestReadmeListsEverySetting(t *testing.T) {
	const file, begin, end = "../../../README.md", "<!-- settings: begin -->\n", "<!-- settings: end -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("README.md has no marks around the settings table")
	}
	var want strings.Builder
	if err := writeSettingsTable(&want); err != nil {
		t.Fatal(err)
	}
	if got == want.String() {
		return
	}
	if !*update {
		t.Fatal("the settings table of README.md is out of date; run: go test ./cmd/internal/config -run Readme -update")
	}
	if err := os.WriteFile(file, []byte(before+begin+want.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
