package cache_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// TestScanOfManySubjectsKeepsThoseInUse asks for fifty times as many subjects as there is room
// for, past ten hot keys. From the tenth part on the heap must not grow by a tenth,
// which is seven bytes for each subject: less than a single pointer that is kept. The
// race detector takes most of the time, since each subject has a goroutine of its own;
// make bench has a million tokens.
//
// Case J1.
func TestScanOfManySubjectsKeepsThoseInUse(t *testing.T) {
	const subjects, room = 50_000, 1000
	s := &stub{name: "up", life: time.Hour}
	counting := &hotCounter{stub: s, calls: map[string]int{}}
	m := metrics.New("test")
	c := cache.New(cache.Config{Upstreams: []upstream.Upstream{counting}, Metrics: m, MaxTokens: room, TokenRate: 1e9})
	defer c.Close()
	var heap, goroutines [2]uint64
	for i := range subjects {
		if i%50 == 0 {
			for n := range 10 {
				hot := key(s, fmt.Sprint("hot-", n))
				if n%2 == 0 {
					mustToken(t, c, hot)
				} else if _, err := c.LongToken(t.Context(), hot); err != nil {
					t.Fatal(err)
				}
			}
		}
		mustToken(t, c, key(s, fmt.Sprint(i)))
		if at := slices.Index([]int{subjects / 10, subjects - 1}, i); at >= 0 {
			heap[at], goroutines[at] = heapInUse(), uint64(runtime.NumGoroutine())
		}
	}
	if heap[1] > heap[0]+heap[0]/10 {
		t.Errorf("heap grew from %d bytes at a tenth of the subjects to %d at all", heap[0], heap[1])
	}
	if goroutines[1] > goroutines[0]+2 {
		t.Errorf("goroutines grew from %d to %d", goroutines[0], goroutines[1])
	}
	if n := held(t, m); n > room {
		t.Errorf("%v tokens held, bound %d", n, room)
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

// heapInUse returns the bytes of all objects that are still reachable.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // what was in a sync.Pool is gone after the second
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
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

// TestManySubjectsAtOnceGetTheirOwnTokens has each of 200 goroutines see only its own subject's
// tokens, in a cache too small for all.
//
// Case D10.
func TestManySubjectsAtOnceGetTheirOwnTokens(t *testing.T) {
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

// TestKeysDoNotKeepRequestsAlive cuts subjects out of long strings, as they
// are cut out of request targets.
//
// Case J1.
func TestKeysDoNotKeepRequestsAlive(t *testing.T) {
	s := &stub{name: "up", life: time.Hour}
	c := newCache(t, s, cache.Config{TokenRate: 1e9})
	s.calls = map[upstream.Key]int{}
	before := heapInUse()
	for i := range 1000 {
		target := fmt.Sprintf("%d/%s", i, strings.Repeat("x", 64<<10))
		subject, _, _ := strings.Cut(target, "/")
		mustToken(t, c, key(s, subject))
	}
	clear(s.calls) // the stub's own keys
	if grown := heapInUse() - min(before, heapInUse()); grown > 8<<20 {
		t.Errorf("1,000 tokens of long requests hold %d bytes", grown)
	}
}
