package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"token-sidecar/upstream"
)

const (
	gib        = 1 << 30
	maxRise    = 32 << 20
	targetName = "PROXY_TEST_TARGET" // set in the process that is only a sidecar
)

// pattern gives n bytes that repeat with a length of no power of two.
func pattern(n int64) io.Reader {
	block := bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz-"), 1<<14)
	return io.LimitReader(&repeating{block: block}, n)
}

type repeating struct {
	block []byte
	at    int
}

func (r *repeating) Read(p []byte) (int, error) {
	n := copy(p, r.block[r.at:])
	r.at = (r.at + n) % len(r.block)
	return n, nil
}

// TestMemoryProcess is no test of its own: TestG4_GiB runs it in a process of
// its own, as a sidecar that tells its address, and its peak memory for each
// line it reads.
func TestMemoryProcess(t *testing.T) {
	target := os.Getenv(targetName)
	if target == "" {
		t.Skip("runs within TestG4_GiB")
	}
	s := newSide(t, setup{upstreams: func(s *side) []upstream.Upstream { return []upstream.Upstream{s.oauth2("alpha", target)} }})
	fmt.Println("at " + s.addr)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		status, _ := os.ReadFile("/proc/self/status")
		_, peak, _ := strings.Cut(string(status), "VmHWM:")
		fmt.Println("peak", strings.Fields(peak)[0])
	}
}

func TestG4_GiB(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("needs /proc")
	}
	size := int64(gib)
	if testing.Short() {
		size = gib / 8
	}
	var uploaded hash.Hash
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
			_, _ = io.Copy(w, pattern(size))
			return
		}
		uploaded = sha256.New()
		_, _ = io.Copy(uploaded, r.Body)
	}))
	defer target.Close()
	sidecar := exec.Command(os.Args[0], "-test.run=^TestMemoryProcess$")
	sidecar.Env = append(os.Environ(), targetName+"="+target.URL)
	in, _ := sidecar.StdinPipe()
	out, _ := sidecar.StdoutPipe()
	if err := sidecar.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		_ = sidecar.Wait()
	}()
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
	peak := func() int64 {
		_, _ = io.WriteString(in, "\n")
		kib, _ := strconv.ParseInt(word("peak"), 10, 64)
		return kib << 10
	}
	at := "http://" + word("at") + "/alpha/x"
	want := sha256.New()
	_, _ = io.Copy(want, pattern(size))
	c := client(t)
	c.Timeout = 0
	transfer := func(req *http.Request) hash.Hash {
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		_, err = io.Copy(sum, res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%d, %v", res.StatusCode, err)
		}
		return sum
	}
	warm, _ := http.NewRequest("POST", at, pattern(1<<20))
	transfer(warm)
	before := peak()
	get, _ := http.NewRequest("GET", at, nil)
	if down := transfer(get); !bytes.Equal(down.Sum(nil), want.Sum(nil)) {
		t.Error("other bytes came down")
	}
	put, _ := http.NewRequest("PUT", at, io.NopCloser(pattern(size)))
	put.ContentLength = size
	transfer(put)
	if !bytes.Equal(uploaded.Sum(nil), want.Sum(nil)) {
		t.Error("other bytes went up")
	}
	put, _ = http.NewRequest("PUT", at, io.NopCloser(pattern(size/8))) // chunked
	transfer(put)
	want.Reset()
	_, _ = io.Copy(want, pattern(size/8))
	if !bytes.Equal(uploaded.Sum(nil), want.Sum(nil)) {
		t.Error("other bytes went up in chunks")
	}
	if rise := peak() - before; rise > maxRise {
		t.Errorf("peak memory rose by %d MiB", rise>>20)
	} else {
		t.Logf("peak memory rose by %d KiB, to %d MiB", rise>>10, (before+rise)>>20)
	}
}
