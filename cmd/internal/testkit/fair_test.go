package testkit

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSecondChance has tests fail, on a machine that is ours or is not, and
// looks which run again.
func TestSecondChance(t *testing.T) {
	t.Setenv(chancesVariable, "") // these are no real ones
	failing := []string{"TestOne", "TestThree"}
	for _, c := range []struct {
		name   string
		stolen float64 // in each run
		took   time.Duration
		failed []string
		codes  []int // of the runs that there are to be
	}{
		{"a good run", 0.5, time.Minute, nil, []int{0}},
		{"a bad run on a machine of ours", 0, time.Minute, failing, []int{1}},
		{"a bad run on a machine that was hardly taken away", 0.049, time.Minute, failing, []int{1}},
		{"a bad run on a machine that was taken away", 0.051, time.Minute, failing, []int{1, 0}},
		{"good at last", 0.051, time.Minute, failing, []int{1, 1, 1, 1, 0}},
		{"bad for ever", 0.5, 3 * time.Minute, failing, []int{1, 1, 1, 1}}, // and a minute before each
		{"too long", 0.5, 12 * time.Minute, failing, []int{1}},
		{"a panic", 0.5, time.Minute, failing, []int{died}},
		{"a panic at last", 0.5, time.Minute, failing, []int{1, died}},
		{"a failure without a name", 0.5, time.Minute, nil, []int{1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, runs := time.Now(), 0
				watch := func() func() float64 { return func() float64 { return c.stolen } }
				code := fairness{watch, func() { time.Sleep(time.Minute) }, func(only string) ([]string, int) {
					if want := map[bool]string{true: "", false: "^(TestOne|TestThree)$"}[runs == 0]; only != want {
						t.Errorf("run %d is for %q", runs+1, only)
					}
					if want := time.Duration(runs) * (c.took + time.Minute); time.Since(began) != want {
						t.Errorf("run %d begins after %s, want %s", runs+1, time.Since(began), want)
					}
					time.Sleep(c.took)
					runs++
					return c.failed, c.codes[min(runs, len(c.codes))-1]
				}}.run()
				if code != c.codes[len(c.codes)-1] || runs != len(c.codes) {
					t.Errorf("code %d after %d runs, want those of %v", code, runs, c.codes)
				}
			})
		})
	}
}

func TestFailuresAreRead(t *testing.T) {
	var names []string
	for _, match := range failure.FindAllStringSubmatch("\x16--- FAIL: TestOne (0.10s)\n    --- FAIL: TestOne/part (0.00s)\n"+
		"--- PASS: TestTwo (0.00s)\n--- FAIL: TestThree (1.00s)\n", -1) {
		names = append(names, match[1])
	}
	if len(names) != 2 || names[0] != "TestOne" || names[1] != "TestThree" {
		t.Errorf("%q", names)
	}
}

func TestTicks(t *testing.T) {
	got := parseTicks("cpu  1 2 4 8 16 32 64 128 256 512\ncpu0 1 1 1 1\n")
	if want := (ticks{all: 255, stolen: 128}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := parseTicks(""); got != (ticks{}) {
		t.Errorf("%+v where there is nothing to read", got)
	}
}

func TestWorstWindow(t *testing.T) {
	samples := []ticks{{0, 0}, {100, 0}, {200, 30}, {300, 40}, {400, 40}, {500, 40}}
	for n, want := range map[int]float64{1: 0.3, 2: 0.2, 3: 40.0 / 300, 5: 0.08, 9: 0.08} {
		if got := worstOf(samples, n); got != want {
			t.Errorf("in %d steps %v, want %v", n, got, want)
		}
	}
	if got := worstOf([]ticks{{}, {}}, 1); got != 0 {
		t.Errorf("%v of nothing", got)
	}
}
