package cache_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// TestJ1_MillionSubjects scans a million subjects past ten hot keys.
func TestJ1_MillionSubjects(t *testing.T) {
	s := &stub{name: "up", life: time.Hour}
	s.calls = map[upstream.Key]int{} // never read: the stub's own memory must not grow
	s.zero = time.Now()
	counting := &hotCounter{stub: s, calls: map[string]int{}}
	m := metrics.New("test")
	c := cache.New(cache.Config{Upstreams: []upstream.Upstream{counting}, Metrics: m, MaxTokens: 10_000, TokenRate: 1e9})
	defer c.Close()
	hot := func() {
		for i := range 10 {
			mustToken(t, c, key(s, fmt.Sprint("hot-", i)))
		}
	}
	var heap, goroutines [2]uint64
	for i := range 1_000_000 {
		if i%500 == 0 {
			hot()
		}
		mustToken(t, c, key(s, fmt.Sprint(i)))
		if i == 100_000 || i == 999_999 {
			runtime.GC()
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			at := i / 999_999
			heap[at], goroutines[at] = stats.HeapAlloc, uint64(runtime.NumGoroutine())
		}
	}
	if heap[1] > heap[0]+heap[0]/10 {
		t.Errorf("heap grew from %d bytes at 100,000 subjects to %d at 1,000,000", heap[0], heap[1])
	}
	if goroutines[1] > goroutines[0]+2 {
		t.Errorf("goroutines grew from %d to %d", goroutines[0], goroutines[1])
	}
	if n := held(t, m); n > 10_000 {
		t.Errorf("%v tokens held, bound 10,000", n)
	}
	for name, n := range counting.calls {
		if n != 1 {
			t.Errorf("%s was fetched %d times", name, n)
		}
	}
	if len(counting.calls) != 10 {
		t.Errorf("%d hot keys", len(counting.calls))
	}
}

// hotCounter counts the token requests of the hot keys only.
type hotCounter struct {
	*stub
	mu    sync.Mutex // guards calls
	calls map[string]int
}

func (h *hotCounter) Fetch(_ context.Context, k upstream.Key, _ upstream.TokenSource) (upstream.Token, error) {
	if len(k.Subject) > 4 && k.Subject[:4] == "hot-" {
		h.mu.Lock()
		h.calls[k.Subject]++
		h.mu.Unlock()
	}
	now := time.Now()
	return upstream.NewToken("t-"+k.Subject, "", now, now.Add(time.Hour))
}

// TestD10_ManySubjectsAtOnce has each of 200 goroutines see only its own subject's
// tokens, in a cache too small for all.
func TestD10_ManySubjectsAtOnce(t *testing.T) {
	s := &stub{name: "up", life: time.Hour}
	c := newCache(t, s, cache.Config{MaxTokens: 20, TokenRate: 1e9})
	var all sync.WaitGroup
	for g := range 200 {
		all.Go(func() {
			for i := range 200 {
				subject := fmt.Sprint("s", (g+i)%40)
				token, err := c.Token(t.Context(), key(s, subject))
				if err != nil {
					t.Error(err)
					return
				}
				if got := token.AccessToken(); len(got) <= len(subject) || got[:len(subject)+1] != subject+"-" {
					t.Errorf("%s got %s", subject, got)
				}
				if i%50 == 49 {
					c.Reject(t.Context(), key(s, subject), token)
				}
			}
		})
	}
	all.Wait()
}

func benchCache(b *testing.B) (*cache.Cache, upstream.Key) {
	s := &stub{name: "up", life: time.Hour}
	c := newCache(b, s, cache.Config{})
	k := key(s, "participant-7d0a4c1e-1111-4222-8333-944455556666")
	if _, err := c.Token(b.Context(), k); err != nil {
		b.Fatal(err)
	}
	return c, k
}

func BenchmarkTokenFresh(b *testing.B) {
	c, k := benchCache(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Token(b.Context(), k); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTokenFreshParallel(b *testing.B) {
	c, k := benchCache(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Token(b.Context(), k); err != nil {
				b.Error(err)
			}
		}
	})
}

func TestFreshTokenAllocatesNothing(t *testing.T) {
	s := &stub{name: "up", life: time.Hour}
	c := newCache(t, s, cache.Config{})
	k := key(s, "a")
	mustToken(t, c, k)
	if n := testing.AllocsPerRun(1000, func() { _, _ = c.Token(t.Context(), k) }); n != 0 {
		t.Errorf("%v allocations for a fresh token", n)
	}
}

// TestJ1_KeysDoNotKeepRequestsAlive cuts subjects out of long strings, as they
// are cut out of request targets.
func TestJ1_KeysDoNotKeepRequestsAlive(t *testing.T) {
	s := &stub{name: "up", life: time.Hour}
	c := newCache(t, s, cache.Config{TokenRate: 1e9})
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	s.calls = map[upstream.Key]int{}
	before := heap()
	for i := range 1000 {
		target := fmt.Sprintf("%d/%s", i, strings.Repeat("x", 64<<10))
		subject, _, _ := strings.Cut(target, "/")
		mustToken(t, c, key(s, subject))
	}
	clear(s.calls) // the stub's own keys
	if grown := heap() - min(before, heap()); grown > 8<<20 {
		t.Errorf("1,000 tokens of long requests hold %d bytes", grown)
	}
}
