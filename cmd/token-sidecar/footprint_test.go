package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// memoryKiB returns a field of /proc/PID/status: VmRSS is the memory in RAM,
// VmHWM the most there ever was.
func memoryKiB(t *testing.T, pid int, field string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	_, rest, _ := strings.Cut(string(status), field+":")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

func TestProgramStaysSmall(t *testing.T) {
	info, err := os.Stat(testkit.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= 16<<20 {
		t.Errorf("the stripped binary has %d bytes, want less than 16 MiB", info.Size())
	}
	books := newProvider(t, upstreamtest.OAuth2Options{})
	p := start(t, &books.secrets, books.environ("SIDECAR_LOG_LEVEL=info")...)
	p.mustGet(200, "/books/item")
	_ = p.metric("token_sidecar_build_info") // as a scrape would, which costs memory too
	time.Sleep(500 * time.Millisecond)
	idle := memoryKiB(t, p.PID, "VmRSS")
	if idle >= 16<<10 {
		t.Errorf("idle RSS is %d KiB, want less than 16 MiB", idle)
	}
	var clients sync.WaitGroup
	for range 32 {
		clients.Go(func() {
			for range 100 { // as fast as it goes: more than 1,000 a second
				if a, err := p.get("/books/item"); err != nil || a.status != http.StatusOK {
					t.Errorf("%v, %v", a, err)
					return
				}
			}
		})
	}
	clients.Wait()
	busy := memoryKiB(t, p.PID, "VmHWM")
	if busy >= 32<<10 {
		t.Errorf("under load RSS grew to %d KiB, want less than 32 MiB", busy)
	}
	t.Logf("binary %.1f MiB, RSS %.1f MiB idle, %.1f MiB under load", float64(info.Size())/(1<<20), float64(idle)/1024, float64(busy)/1024)
}

// TestStartsFast compares the processor time that the sidecar has used at its first answer with
// that of a run of the program which only prints its version: reading the settings, listening and a
// token request take no more than some times of that. Other processes take part in any other time.
// The bench tells the milliseconds.
func TestStartsFast(t *testing.T) {
	books := newProvider(t, upstreamtest.OAuth2Options{})
	var took, bare []time.Duration
	for range 7 {
		version := exec.Command(testkit.Binary(t), "version")
		if err := version.Run(); err != nil {
			t.Fatal(err)
		}
		bare = append(bare, version.ProcessState.UserTime()+version.ProcessState.SystemTime())
		took = append(took, cpuAtFirstAnswer(t, books))
	}
	slices.Sort(took)
	slices.Sort(bare)
	t.Logf("processor time at the first answer: %s; to print the version: %s", took, bare)
	if median, limit := took[len(took)/2], 6*bare[len(bare)/2]; median >= limit {
		t.Errorf("the first answer took %s, want less than %s, six times a run that prints the version", median, limit)
	}
}

// cpuAtFirstAnswer starts a sidecar, asks until it answers, and returns the processor time that it
// has used then.
func cpuAtFirstAnswer(t *testing.T, books *provider) (all time.Duration) {
	t.Helper()
	data := freeAddress(t)
	p := launch(t, &books.secrets, exec.Command(testkit.Binary(t)), books.environ("SIDECAR_LISTEN="+data, "SIDECAR_LOG_LEVEL=info")...)
	p.addrs["data"] = data
	for end := time.Now().Add(testkit.Patience); time.Now().Before(end); time.Sleep(200 * time.Microsecond) {
		a, err := p.get("/books/item")
		if err != nil {
			continue
		}
		if a.status != http.StatusOK {
			t.Fatalf("first answer: %d %s", a.status, a.body)
		}
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.PID))
		for _, thread := range threads {
			text, err := os.ReadFile(thread)
			var nanoseconds time.Duration
			if _, scan := fmt.Sscan(string(text), &nanoseconds); err != nil || scan != nil {
				t.Fatalf("%s: %v, %v", thread, err, scan)
			}
			all += nanoseconds
		}
		return all
	}
	t.Fatal("no answer")
	return 0
}

// freeAddress returns a loopback address at which nothing listens just now.
func freeAddress(t *testing.T) string { return "127.0.0.1:" + testkit.FreePort(t) }
