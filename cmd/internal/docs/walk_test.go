package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// codeSpan finds what a page names in code: files, and functions with parentheses.
var codeSpan = regexp.MustCompile("`([\\w./-]+\\.go|[\\w.]+\\(\\))`")

// TestWalksNameWhatExists reads the pages that lead through the code. Each file that they
// name with its folder exists, and each function that is named after a file is declared
// in that file.
func TestWalksNameWhatExists(t *testing.T) {
	const root = "../../.."
	for page, least := range map[string]int{"docs/design.md": 60, "CONTRIBUTING.md": 10} {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		declared, file, functions := map[string]bool{}, "", 0
		for n, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "```") || strings.HasPrefix(line, "## ") {
				file, declared = "", nil
			}
			for _, span := range codeSpan.FindAllStringSubmatch(line, -1) {
				name, isFunction := strings.CutSuffix(span[1], "()")
				switch {
				case isFunction && file != "":
					functions++
					if !declared[name] {
						t.Errorf("%s:%d: %s declares no %s()", page, n+1, file, name)
					}
				case !isFunction && strings.Contains(name, "/") && !strings.Contains(name, "acme"):
					file, declared = name, declaredIn(t, filepath.Join(root, name))
				}
			}
		}
		if functions < least {
			t.Errorf("%s leads through %d functions, want %d at least", page, functions, least)
		}
	}
}

// declaredIn returns the functions and methods that a file declares.
func declaredIn(t *testing.T, path string) map[string]bool {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return nil
	}
	names := map[string]bool{}
	for _, d := range parsed.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			names[f.Name.Name] = true
		}
	}
	return names
}

// TestRoomsTableNamesWhatExists checks each file in the table of rooms against its room.
func TestRoomsTableNamesWhatExists(t *testing.T) {
	const root = "../../.."
	text, err := os.ReadFile(filepath.Join(root, "docs/design.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([\\w/-]+)` \\|.*$").FindAllStringSubmatch(string(text), -1)
	if len(rows) < 12 {
		t.Fatalf("the table has %d rows", len(rows))
	}
	for _, row := range rows {
		for _, span := range codeSpan.FindAllStringSubmatch(row[0], -1) {
			if !strings.HasSuffix(span[1], ".go") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, row[1], span[1])); err != nil {
				t.Errorf("%s: %v", row[1], err)
			}
		}
	}
}
