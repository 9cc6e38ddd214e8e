package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	fencedBlock = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```[ \t]*$")
	codeText    = regexp.MustCompile("`[^`\n]*`")
	// In Markdown [text](target), in HTML src="target" and the like.
	markdownLink = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	htmlLink     = regexp.MustCompile(`(?:src|srcset|href)="([^"\s]+)"`)
	pageHeading  = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	linkInText   = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	// What a forge leaves out of an anchor.
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}\p{M} _-]`)
)

// pages returns the documentation by path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	const root = "../../.."
	all := map[string]string{}
	read := func(path string) {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		all[path] = string(text)
	}
	for _, path := range []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md"} {
		read(path)
	}
	err := fs.WalkDir(os.DirFS(root), "docs", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			read(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// anchors returns the anchors that a forge gives to the headings of a page.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, m := range pageHeading.FindAllStringSubmatch(fencedBlock.ReplaceAllString(text, ""), -1) {
		heading := strings.ToLower(linkInText.ReplaceAllString(strings.TrimSpace(m[1]), "$1"))
		found[strings.ReplaceAll(notInAnchor.ReplaceAllString(heading, ""), " ", "-")] = true
	}
	return found
}

// TestLinksLeadSomewhere follows every relative link of the documentation to its file, and to
// its heading there.
func TestLinksLeadSomewhere(t *testing.T) {
	all, followed := pages(t), 0
	for page, text := range all {
		text = codeText.ReplaceAllString(fencedBlock.ReplaceAllString(text, ""), "")
		for _, m := range slices.Concat(markdownLink.FindAllStringSubmatch(text, -1), htmlLink.FindAllStringSubmatch(text, -1)) {
			link := m[1]
			if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			followed++
			path, anchor, _ := strings.Cut(link, "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			_, err := os.Stat(filepath.Join("../../..", target))
			switch {
			case err != nil:
				t.Errorf("%s links to %s, which is not there", page, link)
			case anchor != "" && !anchors(all[target])[anchor]:
				t.Errorf("%s links to %s, which has no such heading", page, link)
			}
		}
	}
	if followed < 100 {
		t.Errorf("only %d links", followed)
	}
}

// namedPage finds what code, charts and units call a page of the documentation.
var namedPage = regexp.MustCompile(`(?:\bdocs/[a-z/-]+\.md|\b[A-Z]+\.md)(?:#[a-z0-9-]+)?`)

// TestPagesNamedOutsideOfThePagesExist looks at what the code, the charts and the build say
// of the documentation.
func TestPagesNamedOutsideOfThePagesExist(t *testing.T) {
	const root = "../../.."
	all, seen := pages(t), 0
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (name == ".git" || name == "bin" || name == "node_modules"):
			return fs.SkipDir
		case path == "cmd/internal/docs/links_test.go" || entry.IsDir(),
			!slices.Contains([]string{".go", ".yaml", ".tpl", ".txt", ".json", ""}, filepath.Ext(name)):
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return err
		}
		for _, name := range namedPage.FindAllString(string(text), -1) {
			seen++
			page, anchor, _ := strings.Cut(name, "#")
			switch _, ok := all[page]; {
			case !ok:
				t.Errorf("%s names %s, which is not there", path, name)
			case anchor != "" && !anchors(all[page])[anchor]:
				t.Errorf("%s names %s, which has no such heading", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 30 {
		t.Errorf("only %d names", seen)
	}
}
