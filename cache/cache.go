// Package cache turns keys into tokens. A token is fresh, then stale, then
// invalid: a fresh one is used, a stale one is used and replaced in the
// background, an invalid one is never used. Keys in use are refreshed ahead of
// expiry, so that a request finds its token in memory.
//
// cache.go is what the other rooms call; clock.go has the states; index.go
// finds an entry and table.go keeps them within bounds; join.go has callers
// wait for the one load per key, which flight.go makes when line.go gives it
// its turn; schedule.go refreshes ahead; failure.go and gate.go say when to try
// again; reject.go handles tokens that a target refused. shared_load.go is where a
// load meets the tokens that replicas share, shared_busy.go where it waits for the one
// that another replica fetches, and budget.go where it waits for its turn among those of
// all replicas: package shared keeps both in Redis, of which this
// package knows nothing. status.go tells people how it all does.
package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
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
	config  Config
	sources map[string]*source
	table   *table
	agenda  agenda
	base    time.Time // zero of the monotonic clock

	ctx    context.Context // of every load; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // the scheduler and all flights

	life   sync.RWMutex // guards closed: no work is added once it is set
	closed bool
}

// source is one upstream and what the cache knows of its token endpoint.
type source struct {
	upstream.Upstream
	line    *line
	budget  *budget // nil: there is none
	gate    gate
	flights atomic.Int32 // under way
	metrics *metrics.Upstream
	last    atomic.Pointer[TokenRequest] // nil: none was made
}

// ErrClosed is returned once Close was called.
var ErrClosed = errors.New("the token cache is closed")

// New returns a running Cache. The caller must Close it.
func New(config Config) *Cache {
	setDefault(&config.MaxTokens, 10_000)
	setDefault(&config.RefreshAhead, 0.2)
	setDefault(&config.TokenTimeout, 10*time.Second)
	setDefault(&config.TokenRate, 100)
	c := &Cache{
		config:  config,
		sources: map[string]*source{},
		table:   newTable(config.MaxTokens, config.Upstreams),
		agenda:  agenda{wake: make(chan struct{}, 1)},
		base:    time.Now(),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for _, u := range config.Upstreams {
		c.sources[u.Name()] = &source{
			Upstream: u,
			line:     newLine(u.Name(), config.TokenRate, config.TokenTimeout/4),
			metrics:  config.Metrics.Upstream(u.Name()),
		}
		s := c.sources[u.Name()]
		s.budget = newBudget(u.Name(), config.Budgets[u.Name()], config.Shared, s.metrics, config.Log)
	}
	config.Metrics.CollectTokens(c.states)
	c.work.Go(c.runAgenda)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Token returns a token for key that is usable now. A fresh or stale one comes
// from memory at once: no I/O, no lock that is held over I/O. Otherwise it
// blocks until the one load for this key ends, or ctx does. The error is an
// *Error, ErrClosed or that of ctx.
func (c *Cache) Token(ctx context.Context, key upstream.Key) (upstream.Token, error) {
	if token, ok := c.Held(key, time.Now()); ok {
		return token, nil
	}
	return c.await(ctx, key, needUsable)
}

// Held returns the token of key if it is in memory and usable at now, which the
// caller has just read from the clock: that costs more than all the rest. It
// does not block. Without a token, ask Token.
func (c *Cache) Held(key upstream.Key, now time.Time) (upstream.Token, bool) {
	tag, at := c.table.tagger.tag(&key), c.instant(now)
	s := c.table.index.find(tag)
	if s == nil {
		return upstream.Token{}, false
	}
	if staleAt, token, source, ok := s.read(tag); ok && !staleAt.reached(at) {
		s.touch()
		source.metrics.Fresh.Inc()
		return token, true
	}
	return c.stale(s, key, at)
}

// stale returns the token of key, whose slot is s, if it may still be used.
func (c *Cache) stale(s *slot, key upstream.Key, now instant) (upstream.Token, bool) {
	e := s.entry.Load()
	if e == nil || e.key != key { // the slot is another's by now
		return upstream.Token{}, false
	}
	h := e.held.Load()
	if h == nil || h.invalidAt.reached(now) {
		return upstream.Token{}, false
	}
	s.touch()
	e.source.metrics.Stale.Inc()
	if e.resting.Load() {
		c.revive(e, now)
	}
	return h.token, true
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
	e := c.table.getOrAdd(key, s, &c.agenda)
	defer e.release()
	e.pinned.Store(true)
	c.due(e)
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

// start runs f as work that Close waits for, unless the cache is closed.
func (c *Cache) start(f func()) bool {
	c.life.RLock()
	defer c.life.RUnlock()
	if !c.closed {
		c.work.Go(f)
	}
	return !c.closed
}

// ahead returns the fraction of a life in which to refresh, varied.
func (c *Cache) ahead() float64 { return c.config.RefreshAhead * jitter() }

// jitter returns a factor between 0.8 and 1.2.
func jitter() float64 { return 0.8 + 0.4*rand.Float64() }

// states counts the tokens of each upstream by state, for a scrape.
func (c *Cache) states() []metrics.Tokens {
	now := c.now()
	counts := map[string]*metrics.Tokens{}
	for name := range c.sources {
		counts[name] = &metrics.Tokens{Upstream: name}
	}
	c.table.index.each(func(e *entry) {
		t, h := counts[e.key.Upstream], e.held.Load()
		left := time.Duration(0)
		switch {
		case h == nil || h.invalidAt.reached(now):
			t.Invalid++
		case h.staleAt.reached(now):
			t.Stale++
			left = h.invalidAt.until(now)
		default:
			t.Fresh++
			left = h.invalidAt.until(now)
		}
		if e.pinned.Load() && (!t.HasPinned || left < t.PinnedLife) {
			t.HasPinned, t.PinnedLife = true, left
		}
	})
	all := make([]metrics.Tokens, 0, len(counts))
	for _, t := range counts {
		all = append(all, *t)
	}
	return all
}
