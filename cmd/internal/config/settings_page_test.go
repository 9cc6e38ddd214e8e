package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the settings table of docs/settings.md")

// TestSettingsPageListsEverySetting compares the table in docs/settings.md with the struct.
func TestSettingsPageListsEverySetting(t *testing.T) {
	const file, begin, end = "../../../docs/settings.md", "<!-- settings: begin -->\n", "<!-- settings: end -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/settings.md has no marks around the settings table")
	}
	var want strings.Builder
	if err := writeSettingsTable(&want); err != nil {
		t.Fatal(err)
	}
	if got == want.String() {
		return
	}
	if !*update {
		t.Fatal("the settings table of docs/settings.md is out of date; run: go test ./cmd/internal/config -run SettingsPage -update")
	}
	if err := os.WriteFile(file, []byte(before+begin+want.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
