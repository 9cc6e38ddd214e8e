package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// stub is an upstream that gives tokens of 1 KiB at once.
type stub struct {
	life  time.Duration
	calls atomic.Int64
}

func (s *stub) Name() string                                                         { return "stub" }
func (s *stub) Routes() []upstream.Route                                             { return []upstream.Route{{Kind: upstream.KindAccess}} }
func (s *stub) CloseIdleConnections()                                                {}
func (s *stub) Bind(t upstream.Token, _ upstream.Fingerprint) (upstream.Token, bool) { return t, true }
func (s *stub) Fingerprint() upstream.Fingerprint                                    { return upstream.Fingerprint{} }

func (s *stub) Key(kind upstream.Kind, subject, scope string) (upstream.Key, error) {
	return upstream.Key{Upstream: "stub", Kind: kind, Subject: subject, Scope: scope}, nil
}

func (s *stub) Fetch(context.Context, upstream.Key, upstream.TokenSource) (upstream.Token, error) {
	now := time.Now()
	value := fmt.Sprintf("%0*d", tokenBytes, s.calls.Add(1))
	return upstream.NewToken(value, "", now, now.Add(s.life))
}

// tokenBytes is the length of a token, that of a signed one with some claims.
const tokenBytes = 1 << 10

// tokensResult is what mode tokens prints.
type tokensResult struct {
	BytesPerToken   float64
	LookupNanos     float64 // of one goroutine
	MemoryNanos     float64 // of reading one word of as much memory, for comparison
	LookupsParallel float64 // per second, with a goroutine per core
}

// runTokens fills a cache with n tokens and looks them up in no order.
func runTokens(ctx context.Context, n int, out io.Writer) error {
	s := &stub{life: 24 * time.Hour}
	before := heapBytes()
	c := newStubCache(s, n)
	defer func() { _ = c.Close() }()
	if err := fill(ctx, c, n); err != nil {
		return err
	}
	result := tokensResult{BytesPerToken: float64(heapBytes()-before) / float64(n)}
	const lookups = 1_000_000
	var times []float64
	for range 6 {
		took, err := lookUp(c, n, 1, lookups)
		if err != nil {
			return err
		}
		times = append(times, float64(took.Nanoseconds())/lookups)
	}
	result.LookupNanos = median(times[1:], func(ns float64) float64 { return ns }) // in the first the cache notes that its tokens are in use
	cores := runtime.GOMAXPROCS(0)
	took, err := lookUp(c, n, cores, lookups)
	if err != nil {
		return err
	}
	result.LookupsParallel = float64(cores*lookups) / took.Seconds()
	if got := s.calls.Load(); got != int64(n) {
		return fmt.Errorf("%d token requests for %d keys", got, n)
	}
	result.MemoryNanos = memoryNanos(n)
	return json.NewEncoder(out).Encode(result)
}

// memoryNanos follows a chain through n lines of memory in no order.
func memoryNanos(n int) float64 {
	type line struct {
		next int
		_    [7]int
	}
	lines, order := make([]line, n), rand.Perm(n)
	for i, at := range order {
		lines[at].next = order[(i+1)%n]
	}
	const steps = 2_000_000
	at, start := 0, time.Now()
	for range steps {
		at = lines[at].next
	}
	took := time.Since(start)
	if at < 0 {
		panic("the chain has no such link") // and so the loop is not left out
	}
	return float64(took.Nanoseconds()) / steps
}

// refreshResult is what mode refresh prints.
type refreshResult struct {
	CPUMicros float64 // of one refresh
	Refreshes int64
}

// runRefresh gives n keys a token each and measures the processor time of one
// wave of refreshes, the making of stub tokens included.
func runRefresh(ctx context.Context, n int, out io.Writer) error {
	// Refreshes begin with three quarters of the life gone: filling must be done by then.
	s := &stub{life: 2*time.Second + time.Duration(n)*60*time.Microsecond}
	c := newStubCache(s, n)
	defer func() { _ = c.Close() }()
	if err := fill(ctx, c, n); err != nil {
		return err
	}
	runtime.GC()
	if got := s.calls.Load(); got != int64(n) {
		return fmt.Errorf("refreshes began while the cache was filled: %d token requests for %d keys", got, n)
	}
	before := ownCPU()
	for s.calls.Load() < 2*int64(n) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	done := s.calls.Load() - int64(n)
	used := ownCPU() - before
	return json.NewEncoder(out).Encode(refreshResult{float64(used.Microseconds()) / float64(done), done})
}

// newStubCache returns a cache of n tokens whose loads s serves.
func newStubCache(s *stub, n int) *cache.Cache {
	return cache.New(cache.Config{
		Upstreams: []upstream.Upstream{s},
		Metrics:   metrics.New("bench"),
		MaxTokens: n,
		TokenRate: 1e9, // the stub needs no protection
	})
}

func makeKey(subject string) upstream.Key {
	return upstream.Key{Upstream: "stub", Kind: upstream.KindAccess, Subject: subject}
}

func appendSubject(dst []byte, i int) []byte {
	return strconv.AppendInt(append(dst, "subject-"...), int64(1_000_000_000_000+i), 10)
}

// fill asks once for each key, as requests of several apps would.
func fill(ctx context.Context, c *cache.Cache, keys int) error {
	const workers = 8
	failures := make(chan error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := w; i < keys; i += workers {
				if _, err := c.Token(ctx, makeKey(string(appendSubject(nil, i)))); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failures)
	return <-failures
}

// lookUp makes n look-ups of random keys in each of several goroutines. The keys
// are written anew just before, as those of a request are, so that only what
// the cache keeps has left the processor's own memory. Only look-ups are timed.
func lookUp(c *cache.Cache, keys, goroutines, n int) (time.Duration, error) {
	failures := make(chan error, goroutines)
	var all sync.WaitGroup
	var took atomic.Int64
	for g := range goroutines {
		all.Go(func() {
			at := uint64(g)
			var batch [256]upstream.Key
			var text [len(batch)][32]byte
			for range n / len(batch) {
				for i := range batch {
					at = at*6364136223846793005 + 1442695040888963407 // Knuth's MMIX generator
					batch[i] = makeKey("")
					subject := appendSubject(text[i][:0], int((at>>33)%uint64(keys)))
					batch[i].Subject = unsafe.String(&subject[0], len(subject)) // until the next batch
				}
				start := time.Now()
				for _, key := range batch {
					if _, ok := c.Held(key, start); !ok {
						failures <- errors.New("a token is not held any more")
						return
					}
				}
				took.Add(int64(time.Since(start)))
			}
		})
	}
	all.Wait()
	close(failures)
	return time.Duration(took.Load() / int64(goroutines)), <-failures
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// ownCPU returns the processor time this process has used.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// measureTokens runs the modes above, each in a process of its own, so that
// they do not share a heap.
func (b *bench) measureTokens(ctx context.Context, p plan, out io.Writer) error {
	for _, n := range p.tokens {
		var r tokensResult
		if err := b.child(ctx, &r, "tokens", n); err != nil {
			return err
		}
		fmt.Fprintf(out, "%d cached tokens of 1 KiB: %.0f bytes each, look-up %.0f ns (%.1f million/s on one core, %.1f on %d); one read of memory %.0f ns\n",
			n, r.BytesPerToken, r.LookupNanos, 1e3/r.LookupNanos, r.LookupsParallel/1e6, runtime.NumCPU(), r.MemoryNanos)
	}
	if p.scheduled == 0 {
		return nil
	}
	var r refreshResult
	if err := b.child(ctx, &r, "refresh", p.scheduled); err != nil {
		return err
	}
	fmt.Fprintf(out, "Refreshes of %d keys: %.1f µs CPU each, so 100 a second take %.2f %% of one core (token endpoint not included)\n",
		p.scheduled, r.CPUMicros, r.CPUMicros*100/1e6*100)
	return nil
}

// child runs this program in a mode that takes n and prints a result.
func (b *bench) child(ctx context.Context, result any, mode string, n int, args ...string) error {
	cmd := exec.CommandContext(ctx, b.self, append([]string{"-mode", mode, "-tokens", strconv.Itoa(n)}, args...)...)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("mode %s: %w", mode, err)
	}
	return json.Unmarshal(text, result)
}
