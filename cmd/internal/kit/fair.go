package kit

import (
	"fmt"
	"os"
	"path/filepath"
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
	unfair   = 0.05 // of the processors' time that was wanted, taken away by the host
	chances  = 3
	fairWait = 2 * time.Minute // at most, before another chance
)

// fairness is how tests are run, and run again.
type fairness struct {
	ticks func() ticks
	wait  func()                                        // until the host lets the machine run
	tests func(only string) (failed []string, code int) // runs those that match the pattern; empty: all
}

// run runs the tests and gives those that fail more chances if the host took the
// machine away. What ended in another way than by failing tests has none: not all
// tests may have run.
func (f fairness) run() int {
	before := f.ticks()
	failed, code := f.tests("")
	for chance := 2; chance <= chances && code == 1 && len(failed) > 0; chance++ {
		stolen := f.ticks().stolenSince(before)
		if stolen < unfair {
			break
		}
		tell("the host took %.0f %% of the machine away; chance %d of %d for %s", 100*stolen, chance, chances, strings.Join(failed, ", "))
		f.wait()
		before = f.ticks()
		failed, code = f.tests("^(" + strings.Join(failed, "|") + ")$")
	}
	return code
}

// tell prints a line, and adds it to the file that the environment names: the go
// command prints nothing of a package that passes.
func tell(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	fmt.Println(line)
	if name := os.Getenv(chancesVariable); name != "" {
		_ = os.MkdirAll(filepath.Dir(name), 0o755)
		if file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
			_, _ = fmt.Fprintln(file, line)
			_ = file.Close()
		}
	}
}

const chancesVariable = "TOKEN_SIDECAR_CHANCES"

// Fair begins to watch the machine. The returned function reports whether the
// host let it run since then: if not, it is no use to judge how long things took.
func Fair() func() bool {
	before := readTicks()
	return func() bool { return readTicks().stolenSince(before) < unfair }
}

// ticks are times of all processors since the start, in the unit of /proc/stat.
type ticks struct{ wanted, stolen float64 }

// readTicks returns zero where there is no /proc/stat.
func readTicks() ticks {
	text, _ := os.ReadFile("/proc/stat")
	return parseTicks(string(text))
}

// parseTicks reads the first line of /proc/stat.
func parseTicks(text string) (t ticks) {
	line, _, _ := strings.Cut(text, "\n")
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
