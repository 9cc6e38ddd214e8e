package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// otherWords are the words with an underscore in docs/upgrade.md that are neither settings, series nor problem codes.
var otherWords = []string{"access_token", "http_status", "insufficient_scope", "trace_id", "unauthorized_client"}

// TestUpgradePageNamesWhatThereIs looks up each setting, series, alert and problem code that docs/upgrade.md names.
// One in a line that says "is gone" must not exist.
func TestUpgradePageNamesWhatThereIs(t *testing.T) {
	page := text(t, "docs/upgrade.md")
	for _, kind := range []struct {
		what  string
		named string // its names in the page
		exist []string
		least int
	}{
		{"setting", "SIDECAR_[A-Z0-9_]+[A-Z0-9]", found(t, "docs/settings.md", "(?m)^\\| `(SIDECAR_[A-Z0-9_<>n]+)`"), 5},
		{"series", "token_sidecar_[a-z_]+", found(t, "metrics/*.go", `(?:counters|gauges|histograms|desc)\("(\w+)"`), 12},
		{"alert", "TokenSidecar[A-Za-z]+", found(t, "charts/token-sidecar/files/rules.yaml", `alert: (\w+)`), 5},
		{"problem code", "[a-z]+(?:_[a-z]+)+", found(t, "proxy/problem.go", `\{http\.Status\w+, "(\w+)"|code\w+ = "(\w+)"`), 15},
	} {
		names := 0
		for _, line := range strings.Split(page, "\n") {
			for _, name := range regexp.MustCompile("`("+kind.named+")`").FindAllStringSubmatch(line, -1) {
				name := strings.TrimPrefix(name[1], "token_sidecar_")
				if kind.what == "problem code" && (strings.Contains(line, "`token_sidecar_"+name+"`") || slices.Contains(otherWords, name)) {
					continue
				}
				names++
				if exists, gone := slices.Contains(kind.exist, name), strings.Contains(line, "is gone"); exists == gone {
					t.Errorf("%s %s: it exists: %v; the page says that it is gone: %v", kind.what, name, exists, gone)
				}
			}
		}
		if names < kind.least {
			t.Errorf("the page names only %d of kind %s", names, kind.what)
		}
	}
}

// found are the first submatches of a pattern in files of the project.
func found(t *testing.T, files, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob("../../../" + files)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, path := range paths {
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text(t, strings.TrimPrefix(path, "../../../")), -1) {
			all = append(all, strings.Join(match[1:], ""))
		}
	}
	if len(all) < 5 {
		t.Fatalf("found only %d in %s", len(all), files)
	}
	return all
}

// text is a file of the project.
func text(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile("../../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
