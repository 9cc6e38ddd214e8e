package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"token-sidecar/cache"
	"token-sidecar/cache/shared"
	"token-sidecar/cache/shared/goredis"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// tokenLoadOptions say what the loads of tokens go to, and how many are made.
type tokenLoadOptions struct {
	redis    string // address
	tokenURL string
	rounds   int
	loads    int // of each kind in each round
}

// tokenLoadsResult is what mode token-loads prints: microseconds of processor time of this
// process alone, for one load or one bare request.
type tokenLoadsResult struct {
	Adopt   float64 // a load that finds the token of another replica in Redis
	EvalSha float64 // the bare EVALSHA beside it
	Fetch   float64 // a load that asks the token endpoint
	Post    float64 // the bare POST beside it
	Share   float64 // a load that takes the lease, asks the token endpoint and stores the token
	Budget  float64 // the same with a turn of a budget that is never spent
}

// tokenLoader makes the loads.
type tokenLoader struct {
	tokenLoadOptions
	source *countedSource
	store  *shared.Store
	redis  bareRedis
	post   *barePost
	next   int // first subject that was not asked for yet
}

// countedSource is an upstream that counts its token requests.
type countedSource struct {
	upstream.Upstream
	fetches atomic.Int64
}

// Fetch implements [upstream.Upstream].
func (s *countedSource) Fetch(ctx context.Context, key upstream.Key, tokens upstream.TokenSource) (upstream.Token, error) {
	s.fetches.Add(1)
	return s.Upstream.Fetch(ctx, key, tokens)
}

// runTokenLoads measures loads and bare requests in turn, round after round.
func runTokenLoads(ctx context.Context, o tokenLoadOptions, out io.Writer) error {
	debug.SetGCPercent(200) // as in the sidecar's own main
	l, err := newTokenLoader(o)
	if err != nil {
		return err
	}
	defer func() { _ = errors.Join(l.store.Close(), l.redis.client.Close()) }()
	adopted := l.newKeys()
	if _, err := l.load(ctx, l.store, adopted, o.loads, 0); err != nil { // what all rounds adopt
		return err
	}
	if err := l.redis.learn(ctx, o.loads); err != nil {
		return err
	}
	var list []tokenLoadsResult
	for range o.rounds {
		r, err := l.round(ctx, adopted)
		if err != nil {
			return err
		}
		list = append(list, r)
	}
	return json.NewEncoder(out).Encode(tokenLoadsResult{
		Adopt:   median(list, func(r tokenLoadsResult) float64 { return r.Adopt }),
		EvalSha: median(list, func(r tokenLoadsResult) float64 { return r.EvalSha }),
		Fetch:   median(list, func(r tokenLoadsResult) float64 { return r.Fetch }),
		Post:    median(list, func(r tokenLoadsResult) float64 { return r.Post }),
		Share:   median(list, func(r tokenLoadsResult) float64 { return r.Share }),
		Budget:  median(list, func(r tokenLoadsResult) float64 { return r.Budget }),
	})
}

func newTokenLoader(o tokenLoadOptions) (*tokenLoader, error) {
	tokenURL, err := url.Parse(o.tokenURL)
	if err != nil {
		return nil, err
	}
	store, err := shared.New(shared.Config{
		Driver:  goredis.Driver{},
		URL:     upstream.NewSecret("redis://" + o.redis),
		Ring:    []shared.SealKey{{ID: "bench", Key: upstream.NewSecret(strings.Repeat("k", 32))}},
		Metrics: metrics.New("bench"),
		Timeout: loadTimeout,
	})
	if err != nil {
		return nil, err
	}
	return &tokenLoader{
		tokenLoadOptions: o,
		// OCLC, since it takes subjects, and so there are many keys.
		source: &countedSource{Upstream: upstream.NewOCLC(upstream.OCLCConfig{
			Config: upstream.Config{TokenURL: tokenURL, Scope: endpointScope},
			WSKey:  loadClient, Secret: upstream.NewSecret(loadSecret), InBody: true,
		})},
		store: store,
		redis: bareRedis{client: newBareRedis(o.redis)},
		post:  newBarePost(o.tokenURL),
		next:  1_000_000,
	}, nil
}

// newKeys returns keys that nobody has asked for yet.
func (l *tokenLoader) newKeys() []upstream.Key {
	keys := make([]upstream.Key, l.loads)
	for i := range keys {
		key, err := l.source.Key(upstream.KindClient, strconv.Itoa(l.next), "")
		if err != nil {
			panic(err) // the subject is a number, as it must be
		}
		keys[i] = key
		l.next++
	}
	return keys
}

// round measures each of them once.
func (l *tokenLoader) round(ctx context.Context, adopted []upstream.Key) (r tokenLoadsResult, err error) {
	if r.Adopt, err = l.load(ctx, l.store, adopted, 0, 0); err != nil {
		return r, err
	}
	if r.EvalSha, err = l.measure(func(i int) error { return l.redis.look(ctx, i) }, nil); err != nil {
		return r, err
	}
	if r.Fetch, err = l.load(ctx, nil, l.newKeys(), l.loads, 0); err != nil {
		return r, err
	}
	keys := l.newKeys()
	if r.Post, err = l.measure(func(i int) error { return l.post.ask(ctx, keys[i].Subject) }, nil); err != nil {
		return r, err
	}
	if r.Share, err = l.load(ctx, l.store, l.newKeys(), l.loads, 0); err != nil {
		return r, err
	}
	r.Budget, err = l.load(ctx, l.store, l.newKeys(), l.loads, manyTurns)
	return r, err
}

// manyTurns is a budget per second that no machine spends.
const manyTurns = 1e6

// load measures the loads of keys by a new cache, which must make so many token requests, out
// of a budget if that is not 0. The closing of the cache belongs to it, because that waits
// until the tokens are stored.
func (l *tokenLoader) load(ctx context.Context, store *shared.Store, keys []upstream.Key, fetches int, budget float64) (float64, error) {
	c := cache.New(cache.Config{
		Upstreams: []upstream.Upstream{l.source},
		Metrics:   metrics.New("bench"),
		MaxTokens: len(keys),
		TokenRate: 1e6, // the endpoint needs no protection
		Shared:    store,
		Budgets:   map[string]float64{l.source.Name(): budget},
	})
	before := l.source.fetches.Load()
	micros, err := l.measure(func(i int) error {
		_, err := c.Token(ctx, keys[i])
		return err
	}, c.Close)
	if got := l.source.fetches.Load() - before; err == nil && got != int64(fetches) {
		err = fmt.Errorf("%d loads made %d token requests, want %d", len(keys), got, fetches)
	}
	return micros, err
}

// measure calls do with each number below l.loads, several at a time, and then end if that
// is not nil. It returns the processor time that this process used, for one call.
func (l *tokenLoader) measure(do func(i int) error, end func() error) (float64, error) {
	runtime.GC() // what was left behind is no concern of do
	failures := make(chan error, loadWorkers)
	var all sync.WaitGroup
	before := ownCPU()
	for w := range loadWorkers {
		all.Go(func() {
			for i := w; i < l.loads; i += loadWorkers {
				if err := do(i); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failures)
	err := <-failures
	if end != nil {
		err = errors.Join(err, end())
	}
	used := ownCPU() - before
	return float64(used.Nanoseconds()) / 1000 / float64(l.loads), err
}

// measureTokenLoads runs mode token-loads in a process of its own, beside a redis-server
// and a token endpoint in theirs.
func (b *bench) measureTokenLoads(ctx context.Context, p plan, out io.Writer) error {
	if p.loads == 0 {
		return nil
	}
	program, err := exec.LookPath("redis-server")
	if err != nil {
		fmt.Fprintln(out, "What one load of a token costs is not measured: redis-server is not installed. To have it: apt-get install redis-server (it need not run as a service).")
		return nil
	}
	server, err := b.startRedis(ctx, program)
	if err != nil {
		return err
	}
	defer server.stop()
	address, err := freeAddress()
	if err != nil {
		return err
	}
	endpoint, err := startProxy(ctx, exec.CommandContext(ctx, b.self, "-mode", "endpoint", "-listen", address), address, "")
	if err != nil {
		return err
	}
	defer endpoint.stop()
	var r tokenLoadsResult
	if err := b.child(ctx, &r, "token-loads", p.loads, "-redis", server.address,
		"-token-url", "http://"+address+"/token", "-rounds", strconv.Itoa(p.rounds)); err != nil {
		return err
	}
	printTokenLoads(out, p, r)
	return nil
}

// startRedis starts a Redis that keeps nothing on disk.
func (b *bench) startRedis(ctx context.Context, program string) (*proxyProcess, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(address, ":")
	return startProxy(ctx, exec.CommandContext(ctx, program, "--bind", "127.0.0.1", "--port", port,
		"--dir", b.dir, "--save", "", "--appendonly", "no"), address, "")
}

// printTokenLoads prints what loads cost, and the bound that the ratios are to keep.
func printTokenLoads(out io.Writer, p plan, r tokenLoadsResult) {
	fmt.Fprintf(out, "One load of a token of 1 KiB by package cache, %d at a time, medians of %d interleaved rounds of %d loads; CPU of its process alone,\n",
		loadWorkers, p.rounds, p.loads)
	fmt.Fprintln(out, "without Redis and token endpoint. A load should cost at most 3 times what the bare request does:")
	const format = "  %-31s %7.1f µs CPU, a bare %-7s %7.1f, ratio %.2f (at most 3)\n"
	fmt.Fprintf(out, format, "adopted from Redis", r.Adopt, "EVALSHA", r.EvalSha, r.Adopt/r.EvalSha)
	fmt.Fprintf(out, format, "fetched from the token endpoint", r.Fetch, "POST", r.Post, r.Fetch/r.Post)
	fmt.Fprintf(out, "  %-31s %7.1f µs CPU, for information: lease, token request, store\n", "fetched and shared in Redis", r.Share)
	fmt.Fprintf(out, "  %-31s %7.1f µs CPU, ratio to the same without %.2f (at most 1.2)\n\n", "and with a turn of a budget", r.Budget, r.Budget/r.Share)
}
