package testkit

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
	unfair   = 0.05             // of the processors' time, taken away by the host
	window   = 20 * time.Second // in which it was: what is taken comes in bursts
	fairWait = time.Minute      // at most, before another chance
	patience = 12 * time.Minute // from the start: no chance begins later
)

// fairness is how tests are run, and run again.
type fairness struct {
	watch func() (worst func() float64)                 // the share that the host took, in the worst window
	wait  func()                                        // until the host lets the machine run
	tests func(only string) (failed []string, code int) // runs those that match the pattern; empty: all
}

// run runs the tests and gives those that fail more chances if the host took the
// machine away. What ended in another way than by failing tests has none: not all
// tests may have run.
func (f fairness) run() int {
	began, worst := time.Now(), f.watch()
	failed, code := f.tests("")
	stolen := worst()
	for chance := 2; code == 1 && len(failed) > 0 && stolen >= unfair; chance++ {
		f.wait()
		if time.Since(began) > patience {
			break
		}
		tell("the host took %.0f %% of the machine away; chance %d for %s", 100*stolen, chance, strings.Join(failed, ", "))
		worst = f.watch()
		failed, code = f.tests("^(" + strings.Join(failed, "|") + ")$")
		stolen = worst()
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

// ticks are times of all processors since the start, in the unit of /proc/stat.
type ticks struct{ all, stolen float64 }

// readTicks returns zero where there is no /proc/stat.
func readTicks() ticks {
	text, _ := os.ReadFile("/proc/stat")
	return parseTicks(string(text))
}

// parseTicks reads the first line of /proc/stat.
func parseTicks(text string) (t ticks) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	for i, field := range fields[min(1, len(fields)):min(9, len(fields))] { // guests count as user too
		n, _ := strconv.ParseFloat(field, 64)
		t.all += n
		if i == 7 {
			t.stolen = n
		}
	}
	return t
}

// stolenSince returns which share of the time was taken away.
func (t ticks) stolenSince(before ticks) float64 {
	return (t.stolen - before.stolen) / max(t.all-before.all, 1)
}

// watchTicks begins to watch the machine. The returned function ends that, and
// returns the share that the host took in the worst window.
func watchTicks() (worst func() float64) {
	stop, result := make(chan struct{}), make(chan float64)
	go func() {
		samples := []ticks{readTicks()}
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				samples = append(samples, readTicks())
			case <-stop:
				result <- worstOf(append(samples, readTicks()), int(window/time.Second))
				return
			}
		}
	}()
	return func() float64 {
		close(stop)
		return <-result
	}
}

// worstOf returns the greatest share that was taken away in n steps from sample
// to sample, or in all if they are fewer.
func worstOf(samples []ticks, n int) (most float64) {
	for i := min(n, len(samples)-1); i < len(samples); i++ {
		most = max(most, samples[i].stolenSince(samples[max(0, i-n)]))
	}
	return most
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
