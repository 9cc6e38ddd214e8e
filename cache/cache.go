// Package cache turns keys into tokens. A token is fresh, then stale, then invalid: a
// fresh one is used, a stale one is used and replaced in the background, an invalid one is
// never used. Keys in use are refreshed ahead of expiry, so that a request finds its token
// in memory.
//
// A token's life meets the files in this order. cache.go is what
// package proxy calls; status.go tells people how it all does. A key without a token: in
// wait.go a request waits for its load. A token that a target refused: reject.go replaces
// it. A token that becomes stale: refresh.go replaces it ahead of expiry. All three start
// a load, which load.go runs, one for each key at a time.
//
// A load first looks for the token of another replica: shared_load.go waits for it, or for
// the right to fetch one; shared_fetch.go makes the token request and shares what it brought;
// shared_turn.go waits before that for a turn among the token requests of all replicas. Package
// shared does all that at Redis; this package sees none of its commands. fetch.go has a
// load wait in the request queue and makes a token request, with or without Redis, and plan.go
// decides when the key comes due again.
//
// Each upstream has what source.go puts together: request_queue.go lets its token requests
// through no faster than the settings allow, budget.go remembers what became of turns, and
// breaker.go stops them when the token endpoint fails or refuses the credential.
//
// Below that are the parts: table.go finds the entry of a key and bounds their number,
// refresh_queue.go has them in the order in which they come due, both sorted by heap.go;
// entry.go is what is known of one key: of its failures in failure.go, of its rejections
// in rejections.go, and its token in token.go, whose states depend on the two clocks of
// clock.go.
package cache

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cache/shared"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// Config configures a Cache.
type Config struct {
	// Upstreams are the sources of tokens, with distinct names.
	Upstreams []upstream.Upstream
	// Metrics receives the series of the cache. Required; one Cache per Metrics.
	Metrics *metrics.Metrics
	// Log receives failures of token requests. The zero Logger writes nothing.
	Log zerolog.Logger
	// MaxTokens bounds the keys kept in memory. Zero means 10,000.
	MaxTokens int
	// RefreshAhead is the last fraction of a token's life in which it is
	// replaced. Zero means 0.2. Each refresh varies it by a fifth, so that
	// tokens issued together are not replaced together.
	RefreshAhead float64
	// TokenTimeout bounds one token request. Zero means 10 s. A request waits for a
	// quarter of it at most until the rate allows its token request.
	TokenTimeout time.Duration
	// TokenRate bounds the token requests to one upstream, per second, with a
	// burst of one second's worth. Zero means 100. Who comes first is decided by
	// who needs its token first.
	TokenRate float64
	// Budgets are the token requests per second of all replicas together, by the names
	// of upstreams. One that is not named has no budget, and without Shared none has.
	Budgets map[string]float64
	// Shared is the tokens shared by all replicas; nil means none are. The
	// cache does not close it.
	Shared *shared.Store
}

// Cache holds tokens and keeps them fresh. Its methods are safe for concurrent
// use.
type Cache struct {
	config    Config
	sources   map[string]*source // by the names of upstreams; never changes
	table     *table
	refreshes refreshQueue
	base      time.Time // zero of the monotonic clock

	ctx    context.Context // of every load; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // all goroutines of the cache

	life   sync.RWMutex // guards closed: no work is added once it is set
	closed bool
}

// ErrClosed is returned once Close was called.
var ErrClosed = errors.New("the token cache is closed")

// New returns a running Cache. The caller must Close it.
func New(config Config) *Cache {
	config.MaxTokens = cmp.Or(config.MaxTokens, 10_000)
	config.RefreshAhead = cmp.Or(config.RefreshAhead, 0.2)
	config.TokenTimeout = cmp.Or(config.TokenTimeout, 10*time.Second)
	config.TokenRate = cmp.Or(config.TokenRate, 100)
	c := &Cache{
		config:    config,
		sources:   map[string]*source{},
		refreshes: refreshQueue{wake: make(chan struct{}, 1)},
		base:      time.Now(),
	}
	c.table = newTable(config.MaxTokens, c.refreshes.remove)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for _, u := range config.Upstreams {
		c.sources[u.Name()] = newSource(config, u)
	}
	config.Metrics.CollectTokens(c.tokens)
	c.work.Go(c.runRefreshes)
	return c
}

// Token returns a token for key that is usable now. A fresh or stale one comes
// from memory at once: no I/O, no lock that is held over I/O. Otherwise it
// blocks until the one load for this key ends, or ctx does. The error is an
// *Error, ErrClosed or that of ctx; for a key of an upstream that is not
// configured it says so.
func (c *Cache) Token(ctx context.Context, key upstream.Key) (upstream.Token, error) {
	if token, ok := c.Held(key, time.Now()); ok {
		return token, nil
	}
	return c.await(ctx, key, needUsable)
}

// Held returns the token of key if it is in memory and usable at now, which the
// caller has just read from the clock: that costs more than all the rest. It
// does not block. It counts as a use: the token is kept fresh from now on.
// Without a token, ask Token.
func (c *Cache) Held(key upstream.Key, now time.Time) (upstream.Token, bool) {
	e := c.table.find(&key)
	if e == nil {
		return upstream.Token{}, false
	}
	t, at := e.token.Load(), c.instant(now)
	switch {
	case t.fresh(at):
		e.touch()
		e.source.metrics.Fresh.Inc()
	case t.usable(at):
		e.touch()
		e.source.metrics.Stale.Inc()
		c.wake(e, at)
	default:
		return upstream.Token{}, false
	}
	return t.token, true
}

// LongToken is Token for tokens that are handed on: one with less than half of
// its life left is replaced first, so that nobody is given a dying one. If no other
// can be had now, what is left is handed on: its expiry tells how much that is.
func (c *Cache) LongToken(ctx context.Context, key upstream.Key) (upstream.Token, error) {
	return c.await(ctx, key, needHalf)
}

// Pin keeps the token of key fresh from now on, whether it is used or not, and
// begins to load it. It does not wait for it.
func (c *Cache) Pin(key upstream.Key) {
	s := c.sources[key.Upstream]
	if s == nil {
		return
	}
	e := c.table.findOrAdd(key, s)
	defer c.table.release(e)
	e.pinned.Store(true)
	c.handleDue(e)
}

// Close stops all refreshes, ends the loads under way and waits for both, then
// closes idle connections to token endpoints. It always returns nil.
func (c *Cache) Close() error {
	c.life.Lock()
	c.closed = true
	c.life.Unlock()
	c.cancel()
	c.work.Wait()
	for _, s := range c.sources {
		s.CloseIdleConnections()
	}
	return nil
}

// start runs f as work that Close waits for. It reports false if the cache is closed.
func (c *Cache) start(f func()) bool {
	c.life.RLock()
	defer c.life.RUnlock()
	if !c.closed {
		c.work.Go(f)
	}
	return !c.closed
}
