package proxy

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestBoundsAreAsDocumented holds the numbers that docs/problems.md and docs/security.md give.
func TestBoundsAreAsDocumented(t *testing.T) {
	eitherWay(t)
	slots := newSide(t, setup{}).proxy.routes["alpha"].connections.slots
	for file, sentences := range map[string][]string{
		"../docs/problems.md": {
			fmt.Sprintf("there may be: %s, %d uploads, %s WebSockets", apart(cap(slots.requests)), cap(slots.uploads), apart(cap(slots.upgrades))),
			fmt.Sprintf("the request body stood still for %d s,", bodyTime/time.Second),
			fmt.Sprintf("after %d minutes if its length is known, after %d hours if it is", bodyIdle/time.Minute, streamIdle/time.Hour),
		},
		"../docs/security.md": {
			fmt.Sprintf("bodies that are kept (%d MiB in all)", bodyBudget>>20),
			fmt.Sprintf("a body that stands still for %d s, an answer that does for %d minutes (a stream: %d hours)", bodyTime/time.Second, bodyIdle/time.Minute, streamIdle/time.Hour),
		},
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, sentence := range sentences {
			if !strings.Contains(string(text), sentence) {
				t.Errorf("%s does not say %q", file, sentence)
			}
		}
	}
}

// apart writes n with a comma before its last three digits.
func apart(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }
