package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"token-sidecar/upstream"
)

const (
	half       = 1 << 29 // of a GiB
	maxRise    = half / 32
	targetName = "PROXY_TEST_TARGET" // set in the process that is only a sidecar
)

// block repeats with a length that is no power of two, so that no buffer fits it.
var block = bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz-"), 1<<14)

// pattern gives n bytes of blocks.
func pattern(n int64) io.Reader { return io.LimitReader(&repeating{}, n) }

type repeating struct{ at int }

func (r *repeating) Read(p []byte) (int, error) {
	n := copy(p, block[r.at:])
	r.at = (r.at + n) % len(block)
	return n, nil
}

// comparing takes the bytes of a pattern. A byte that differs is an error.
type comparing struct {
	repeating
	n int64 // bytes so far
}

func (c *comparing) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), len(block)-c.at)
		if !bytes.Equal(rest[:n], block[c.at:c.at+n]) {
			return 0, fmt.Errorf("other bytes than were sent, behind the first %d", c.n)
		}
		rest, c.at, c.n = rest[n:], (c.at+n)%len(block), c.n+int64(n)
	}
	return len(p), nil
}

// came reads a pattern to its end, and returns an error unless it has n bytes.
func came(r io.Reader, n int64) error {
	c := &comparing{}
	if _, err := io.CopyBuffer(c, struct{ io.Reader }{r}, make([]byte, bufferSize)); err != nil {
		return err
	}
	if c.n != n {
		return fmt.Errorf("%d bytes came, want %d", c.n, n)
	}
	return nil
}

// TestMemoryProcess is no test of its own: TestGiBOfABodyCostsNoMemory runs it in a process of
// its own, as a sidecar that tells its address, and its peak memory for each
// line it reads.
func TestMemoryProcess(t *testing.T) {
	target := os.Getenv(targetName)
	if target == "" {
		t.Skip("runs within TestGiBOfABodyCostsNoMemory")
	}
	s := newSide(t, setup{upstreams: func(s *side) []upstream.Upstream { return []upstream.Upstream{s.oauth2("alpha", target)} }})
	fmt.Println("at " + s.addr)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		status, _ := os.ReadFile("/proc/self/status")
		_, peak, _ := strings.Cut(string(status), "VmHWM:")
		fmt.Println("peak", strings.Fields(peak)[0])
	}
}

// TestGiBOfABodyCostsNoMemory sends a GiB, half of it each way, and some more in chunks. All of it arrives,
// and the memory of the sidecar does not grow with it. More would show no more: most of
// the time of this test is the race detector's, which looks at every byte.
//
// Case G4.
func TestGiBOfABodyCostsNoMemory(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("needs /proc")
	}
	size := int64(half)
	if testing.Short() {
		size = half / 4
	}
	uploaded := make(chan error, 1)
	var expected atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
			for left := size; left > 0; {
				n, err := w.Write(block[:min(left, int64(len(block)))])
				if left -= int64(n); err != nil {
					return
				}
			}
			return
		}
		uploaded <- came(r.Body, expected.Load())
	}))
	defer target.Close()
	at, peak := startMemoryProcess(t, target.URL)
	c := client(t)
	c.Timeout = 0
	upload := func(method string, n, length int64) {
		t.Helper()
		req, _ := http.NewRequest(method, at, io.NopCloser(pattern(n)))
		req.ContentLength = length
		expected.Store(n)
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if err := <-uploaded; err != nil || res.StatusCode != 200 {
			t.Errorf("%s of %d bytes: %d, %v", method, n, res.StatusCode, err)
		}
	}
	upload("POST", 1<<20, 1<<20)
	before := peak()
	res, err := c.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := came(res.Body, size); err != nil || res.StatusCode != 200 {
		t.Errorf("GET: %d, %v", res.StatusCode, err)
	}
	_ = res.Body.Close()
	upload("PUT", size, size)
	upload("PUT", size/8, -1) // chunked
	if rise := peak() - before; rise > maxRise {
		t.Errorf("peak memory rose by %d MiB", rise>>20)
	} else {
		t.Logf("peak memory rose by %d KiB, to %d MiB", rise>>10, (before+rise)>>20)
	}
}

// startMemoryProcess runs TestMemoryProcess until the test ends. It returns the URL of a
// route to target there, and a function that asks for the peak of memory, in bytes.
func startMemoryProcess(t *testing.T, target string) (string, func() int64) {
	t.Helper()
	ways := "-general=" + strconv.FormatBool(*general)
	sidecar := exec.Command(os.Args[0], "-test.run=^TestMemoryProcess$", ways)
	sidecar.Env = append(os.Environ(), targetName+"="+target)
	in, _ := sidecar.StdinPipe()
	out, _ := sidecar.StdoutPipe()
	if err := sidecar.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = sidecar.Wait()
	})
	lines := bufio.NewScanner(out)
	word := func(key string) string {
		for lines.Scan() {
			if rest, ok := strings.CutPrefix(lines.Text(), key+" "); ok {
				return rest
			}
		}
		t.Fatalf("the sidecar did not say %q", key)
		return ""
	}
	return "http://" + word("at") + "/alpha/x", func() int64 {
		_, _ = io.WriteString(in, "\n")
		kib, _ := strconv.ParseInt(word("peak"), 10, 64)
		return kib << 10
	}
}
