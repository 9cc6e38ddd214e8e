package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeListsEveryCode compares the codes of problem documents with the README.
func TestReadmeListsEveryCode(t *testing.T) {
	source, err := os.ReadFile("../../../proxy/problem.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`problem\{[\w.]+, "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	if len(codes) < 20 {
		t.Fatalf("found only %d codes in problem.go", len(codes))
	}
	for _, code := range codes {
		if code[1] != "client_closed" && !strings.Contains(string(readme), "`"+code[1]+"`") {
			t.Errorf("README.md does not say what %s means", code[1])
		}
	}
}
