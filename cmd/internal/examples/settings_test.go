package examples

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// settings returns the variables in the table of docs/settings.md, which a test of package config
// compares with the program.
func settings(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(SIDECAR_[^`]+)` \\|[^|]*\\| *(.*?) *\\|").FindAllStringSubmatch(read(t, root+"/docs/settings.md"), -1) {
		known[row[1]] = true
		if row[2] != "" {
			known[row[1]+"_FILE"] = true
		}
	}
	if len(known) < 100 {
		t.Fatalf("docs/settings.md lists %d settings", len(known))
	}
	return known
}

// files calls do with each text file of the examples.
func files(t *testing.T, do func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(examples, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			do(path, read(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestExamplesUseSettingsThatExist(t *testing.T) {
	known, found := settings(t), 0
	number := regexp.MustCompile(`_\d+_`)
	files(t, func(path, text string) {
		for _, name := range regexp.MustCompile(`SIDECAR_[A-Z0-9_]+`).FindAllStringIndex(text, -1) {
			setting := text[name[0]:name[1]]
			if strings.HasSuffix(text[:name[0]], "TOKEN_") || strings.HasSuffix(setting, "_") {
				continue // TOKEN_SIDECAR_URL is the app's
			}
			found++
			if !known[number.ReplaceAllString(setting, "_<n>_")] {
				t.Errorf("%s: there is no setting %s", path, setting)
			}
		}
	})
	if found < 5 {
		t.Errorf("%d settings in all examples", found)
	}
}

func TestLinksOfExamplesLeadSomewhere(t *testing.T) {
	headings := regexp.MustCompile(`(?m)^#+ (.*)$`)
	files(t, func(path, text string) {
		if !strings.HasSuffix(path, ".md") {
			return
		}
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(text, -1) {
			file, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := filepath.Join(filepath.Dir(path), file)
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			if anchor == "" {
				continue
			}
			found := false
			for _, h := range headings.FindAllStringSubmatch(read(t, target), -1) {
				found = found || strings.ReplaceAll(strings.ToLower(h[1]), " ", "-") == anchor
				if found {
					break
				}
			}
			if !found {
				t.Errorf("%s: %s has no heading %s", path, file, anchor)
			}
		}
	})
}
