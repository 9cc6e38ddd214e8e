package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestProblemsPageListsEveryCode compares the codes of problem documents with docs/problems.md.
func TestProblemsPageListsEveryCode(t *testing.T) {
	source, err := os.ReadFile("../../../proxy/problem.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../../docs/problems.md")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`problem\{[\w.]+, "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	if len(codes) < 20 {
		t.Fatalf("found only %d codes in problem.go", len(codes))
	}
	for _, code := range codes {
		if code[1] != "client_closed" && !strings.Contains(string(page), "`"+code[1]+"`") {
			t.Errorf("docs/problems.md does not say what %s means", code[1])
		}
	}
}
