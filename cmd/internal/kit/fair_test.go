package kit

import (
	"fmt"
	"os"
	"slices"
	"testing"
)

// TestSecondChance has tests fail, on a machine that is ours or is not, and
// looks which run again.
func TestSecondChance(t *testing.T) {
	stdout := os.Stdout
	defer func() { os.Stdout = stdout }()
	os.Stdout, _ = os.OpenFile(os.DevNull, os.O_WRONLY, 0) // else who reads ours takes these for failures
	for _, c := range []struct {
		name   string
		stolen float64 // of 1000 ticks for each run
		passes int     // in which run the tests pass; 0: in none
		runs   int
		code   int
	}{
		{"a good run", 500, 1, 1, 0},
		{"a bad run on a machine of ours", 0, 0, 1, 1},
		{"a bad run on a machine that was hardly taken away", 99, 2, 1, 1},
		{"a bad run on a machine that was taken away", 101, 2, 2, 0},
		{"bad at last", 101, 3, 3, 0},
		{"bad for ever", 500, 0, 3, 1},
	} {
		var now ticks
		var runs, waits int
		one := func(want []string) func([]string) int {
			return func(failed []string) int {
				if !slices.Equal(failed, want) {
					t.Errorf("%s: run %d is for %q", c.name, runs+1, failed)
				}
				runs++
				now.wanted, now.stolen = now.wanted+1000, now.stolen+c.stolen
				if runs == c.passes {
					return 0
				}
				// As the testing package prints it, with -json and without; a
				// subtest fails with its test.
				fmt.Println("\x16--- FAIL: TestOne (0.10s)\n    --- FAIL: TestOne/part (0.00s)\n--- PASS: TestTwo (0.00s)\n--- FAIL: TestThree (1.00s)")
				return 1
			}
		}
		code := runFairly(func() int { return one(nil)(nil) },
			fairness{func() ticks { return now }, func() { waits++ }, one([]string{"TestOne", "TestThree"})})
		if code != c.code || runs != c.runs || waits != runs-1 {
			t.Errorf("%s: code %d after %d runs and %d waits, want %d after %d", c.name, code, runs, waits, c.code, c.runs)
		}
	}
}

func TestReadTicks(t *testing.T) {
	before := readTicks()
	if before == (ticks{}) {
		t.Skip("no /proc/stat")
	}
	if before.wanted <= before.stolen || readTicks().stolenSince(before) < 0 {
		t.Errorf("%+v", before)
	}
}
