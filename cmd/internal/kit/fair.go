package kit

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Many tests of the whole program hold it to times, which a virtual machine can
// only keep while its host lets it run. Their bounds are for a machine that may
// run; so a test that fails while a good part of the machine is taken away is run
// again when it is quieter. Where nothing is taken away there is no second try.
const (
	unfair   = 0.10 // of the processors' time that was wanted, taken away by the host
	chances  = 3
	fairWait = 2 * time.Minute // at most, before another chance
)

// fairness is how runFairly sees the machine.
type fairness struct {
	ticks func() ticks
	wait  func()                    // until the host lets the machine run
	again func(failed []string) int // runs those tests and returns the exit code
}

var thisMachine = fairness{readTicks, awaitFair, func(failed []string) int {
	return Run(os.Args[0], "-test.run=^("+strings.Join(failed, "|")+")$")
}}

// runFairly calls run, and gives the tests that fail more chances if the host
// took the machine away.
func runFairly(run func() int, f fairness) int {
	before := f.ticks()
	failed, code := watched(run)
	for chance := 2; chance <= chances && code != 0 && len(failed) > 0; chance++ {
		stolen := f.ticks().stolenSince(before)
		if stolen < unfair {
			break
		}
		fmt.Printf("the host took %.0f %% of the machine away; chance %d of %d for %s\n", 100*stolen, chance, chances, strings.Join(failed, ", "))
		f.wait()
		before = f.ticks()
		failed, code = watched(func() int { return f.again(failed) })
	}
	return code
}

// watched calls run and returns which tests failed, by what was printed.
func watched(run func() int) (failed []string, code int) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, run()
	}
	stdout := os.Stdout
	var printed bytes.Buffer
	var copying sync.WaitGroup
	copying.Go(func() { _, _ = io.Copy(io.MultiWriter(stdout, &printed), r) })
	os.Stdout = w
	code = run()
	os.Stdout = stdout
	_ = w.Close()
	copying.Wait()
	_ = r.Close()
	for _, match := range failure.FindAllSubmatch(printed.Bytes(), -1) {
		failed = append(failed, string(match[1]))
	}
	return failed, code
}

var failure = regexp.MustCompile(`(?m)^\x16?--- FAIL: (\w+) `) // \x16 is in front with -json

// ticks are times of all processors since the start, in the unit of /proc/stat.
type ticks struct{ wanted, stolen float64 }

// readTicks returns zero where there is no /proc/stat.
func readTicks() (t ticks) {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line) {
		n, _ := strconv.ParseFloat(field, 64)
		switch i {
		case 1, 2, 3, 6, 7: // user, nice, system, irq, softirq
			t.wanted += n
		case 8:
			t.wanted, t.stolen = t.wanted+n, n
		}
	}
	return t
}

// stolenSince returns which part of the time that was wanted was not had.
func (t ticks) stolenSince(before ticks) float64 {
	return (t.stolen - before.stolen) / max(t.wanted-before.wanted, 1)
}

// awaitFair waits until the host lets all processors run, for a bounded time.
func awaitFair() {
	for deadline := time.Now().Add(fairWait); time.Now().Before(deadline); {
		before := readTicks()
		var all sync.WaitGroup
		for range runtime.NumCPU() {
			all.Go(func() {
				for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
				}
			})
		}
		all.Wait()
		if readTicks().stolenSince(before) < unfair {
			return
		}
		time.Sleep(5 * time.Second)
	}
}
