package main_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// residentKiB returns the memory of a process that is in RAM.
func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

func TestFootprint(t *testing.T) {
	info, err := os.Stat(binary())
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= 20<<20 {
		t.Errorf("the stripped binary has %d bytes, want less than 20 MiB", info.Size())
	}
	books := newProvider(t, upstreamtest.OAuth2Options{Lifetime: time.Hour})
	p := start(t, &books.secrets, books.environ("SIDECAR_LOG_LEVEL=info")...)
	p.mustGet(200, "/books/item")
	_ = p.metric("token_sidecar_build_info") // as a scrape would, which costs memory too
	time.Sleep(500 * time.Millisecond)
	kib := residentKiB(t, p.cmd.Process.Pid)
	if kib >= 20<<10 {
		t.Errorf("idle RSS is %d KiB, want less than 20 MiB", kib)
	}
	t.Logf("binary %.1f MiB, idle RSS %.1f MiB", float64(info.Size())/(1<<20), float64(kib)/1024)
}

func TestStartsFast(t *testing.T) {
	books := newProvider(t, upstreamtest.OAuth2Options{Lifetime: time.Hour})
	var took []time.Duration
	for range 7 {
		took = append(took, timeToFirstAnswer(t, books))
	}
	slices.Sort(took)
	if median := took[len(took)/2]; median >= 100*time.Millisecond {
		t.Errorf("first request served after %s (median of %s), want less than 100 ms", median, took)
	}
	t.Logf("start to first served request: %s", took)
}

// timeToFirstAnswer starts a sidecar and asks until it answers.
func timeToFirstAnswer(t *testing.T, books *provider) time.Duration {
	t.Helper()
	data := freeAddress(t)
	began := time.Now()
	p := launch(t, &books.secrets, exec.Command(binary()), books.environ("SIDECAR_LISTEN="+data, "SIDECAR_LOG_LEVEL=info")...)
	p.addrs["data"] = data
	for time.Since(began) < patience {
		if a, err := p.get("/books/item"); err == nil {
			took := time.Since(began)
			if a.status != http.StatusOK {
				t.Fatalf("first answer: %d %s", a.status, a.body)
			}
			return took
		}
		time.Sleep(200 * time.Microsecond)
	}
	t.Fatal("no answer")
	return 0
}

// freeAddress returns a loopback address at which nothing listens just now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
