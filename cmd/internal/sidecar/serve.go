package sidecar

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cache"
	"token-sidecar/cache/shared"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/cmd/internal/status"
	"token-sidecar/metrics"
	"token-sidecar/proxy"
	"token-sidecar/upstream"
)

// Sidecar is the running program. Start makes one, Stop ends it.
type Sidecar struct {
	config    *config.Config
	log       zerolog.Logger
	metrics   *metrics.Metrics
	shared    *shared.Store // nil without Redis
	cache     *cache.Cache
	proxy     *proxy.Proxy
	audit     *proxy.Audit // nil if it is off
	upstreams []upstream.Upstream
	status    *status.Page
	tls       *servedTLS // nil if apps are served in clear

	servers  []*proxy.Server // of the data listeners
	admin    *proxy.Server
	addrs    map[string]net.Addr // by "data", "admin" and the names of routes
	draining atomic.Bool
	broken   chan error // a listener that failed; holds one

	cancel     context.CancelFunc // ends what is in background
	background sync.WaitGroup     // the first attempt at Redis, and the watch of secret files
	serving    sync.WaitGroup     // the servers
}

// serve runs the sidecar until ctx ends.
func (p Program) serve(ctx context.Context, settings *config.Config, stdout, stderr io.Writer) error {
	m := metrics.New(p.Version)
	// A reader of stdout or stderr that has gone must not end the sidecar: what is written
	// fails instead.
	signal.Ignore(syscall.SIGPIPE)
	// What rotates logs may send it. Files that change are noticed without it.
	signal.Ignore(syscall.SIGHUP)
	log, flush := newLogger(settings, stderr, m)
	defer flush()
	s, err := Start(settings, log, m, stdout)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		s.Stop()
		return nil
	case err = <-s.broken:
		s.stop(0) // nobody sends more to a listener that is gone
		return err
	}
}

// Start builds the parts of the sidecar, opens its listeners and serves. It waits
// for no provider and no Redis before it returns: their state is not a reason not
// to start. If the settings say so, lines of the audit go to stdout.
func Start(settings *config.Config, log zerolog.Logger, m *metrics.Metrics, stdout io.Writer) (*Sidecar, error) {
	roots, err := settings.Roots()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sidecar{config: settings, log: log, metrics: m, upstreams: settings.Upstreams(roots),
		addrs: map[string]net.Addr{}, broken: make(chan error, 1), cancel: cancel}
	if s.audit, err = newAudit(settings, log, m, stdout); err != nil {
		return nil, err
	}
	if s.shared, err = newShared(settings, log, m); err != nil {
		s.audit.Close()
		return nil, err
	}
	s.cache = cache.New(cache.Config{
		Upstreams:    s.upstreams,
		Metrics:      m,
		Log:          log,
		MaxTokens:    settings.MaxTokens,
		RefreshAhead: settings.RefreshAhead,
		TokenTimeout: settings.TokenTimeout,
		TokenRate:    settings.TokenRate,
		Budgets:      settings.Budgets(),
		Shared:       s.shared,
	})
	s.proxy, err = proxy.New(s.proxyConfig(roots))
	if err == nil {
		s.status = status.New(s.statusConfig())
		err = s.listen()
	}
	if err != nil {
		s.closeParts()
		return nil, err
	}
	for _, line := range settings.Warnings() {
		log.Warn().Msg(line)
	}
	m.CollectConnections(s.proxy.Connections)
	s.background.Go(func() { s.tryShared(ctx) })
	s.background.Go(func() { s.watchSecrets(ctx) })
	s.pin()
	return s, nil
}

// proxyConfig returns what the proxy is made with, once the cache is there. The proxy
// trusts roots.
func (s *Sidecar) proxyConfig(roots *x509.CertPool) proxy.Config {
	return proxy.Config{
		Upstreams:     s.upstreams,
		Cache:         s.cache,
		Metrics:       s.metrics,
		Log:           s.log,
		Hosts:         proxy.NewHosts(s.config.AllowedHosts, s.config.Expose == "true"),
		CallerToken:   s.config.CallerToken,
		Callers:       s.config.Callers,
		ReplayMethods: s.config.ReplayMethods,
		ReplayLimit:   int64(s.config.ReplayLimit),
		TargetTimeout: s.config.TargetTimeout,
		TokenTimeout:  s.config.TokenTimeout,
		Allow:         s.config.Allow(),
		Vend:          s.config.Vend,
		Audit:         s.audit,
		Roots:         roots,
		Egress:        s.config.Egress(),

		MaxTargetConnections: s.maxConnections(),
	}
}

// newAudit returns what takes the lines of the audit, nil if it is off.
func newAudit(settings *config.Config, log zerolog.Logger, m *metrics.Metrics, stdout io.Writer) (*proxy.Audit, error) {
	if settings.Audit == "" {
		return nil, nil
	}
	audit, err := proxy.NewAudit(proxy.AuditConfig{Path: settings.AuditPath(), Out: stdout, Key: settings.AuditKey,
		Purposes: settings.AuditPurposes, Metrics: m, Log: log})
	if err != nil {
		return nil, fmt.Errorf("SIDECAR_AUDIT: %w", err)
	}
	return audit, nil
}

// newShared returns the tokens shared through Redis, nil if it is off.
func newShared(settings *config.Config, log zerolog.Logger, m *metrics.Metrics) (*shared.Store, error) {
	c := &settings.Redis
	if !c.On() {
		return nil, nil
	}
	tls, err := c.TLS()
	if err != nil {
		return nil, err
	}
	m.ExpectRedis()
	return shared.New(shared.Config{
		Driver:       c.Driver(),
		URL:          c.URL,
		Mode:         c.Mode,
		TLS:          tls,
		Ring:         c.KeyRing(),
		TokenTimeout: settings.TokenTimeout,
		Budgets:      len(settings.Budgets()) > 0,
		Metrics:      m,
		Log:          log,
	})
}

// tryShared tries Redis once, so that the status page and the metrics tell the truth
// before the first token is needed.
func (s *Sidecar) tryShared(ctx context.Context) {
	if s.shared == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s.shared.Begin(ctx)
}

// Addr returns where a listener listens: "data", "admin", or that of a route
// with one of its own. It is nil if there is none.
func (s *Sidecar) Addr(name string) net.Addr { return s.addrs[name] }

// statusConfig returns what the status page needs to know.
func (s *Sidecar) statusConfig() status.Config {
	c := status.Config{
		Cache:       s.cache.Status,
		Connections: s.proxy.Connections,
		Lookups:     s.metrics.Lookups,
		Draining:    s.draining.Load,
		Started:     time.Now(),
		Version:     s.metrics.Version(),
	}
	for _, u := range s.upstreams {
		c.Upstreams = append(c.Upstreams, u.Name())
	}
	if s.shared != nil {
		c.Redis = s.shared.Status
	}
	if s.audit != nil {
		c.Audit = s.audit.Failing
	}
	return c
}

// pin keeps the tokens that need no subject fresh from the start, so that not
// even the first request waits.
func (s *Sidecar) pin() {
	for _, u := range s.upstreams {
		for _, r := range u.Routes() {
			if r.Subject == upstream.SubjectRequired || r.Subject == upstream.SubjectFromToken {
				continue
			}
			if key, err := u.Key(r.Kind, "", ""); err == nil {
				s.cache.Pin(key)
			}
		}
	}
}

// watchSecrets keeps secrets up to date with their files until ctx ends.
func (s *Sidecar) watchSecrets(ctx context.Context) {
	s.config.WatchSecrets(ctx, func(variable string, err error, notTaken int) {
		s.metrics.SecretReload(err == nil, notTaken)
		if err != nil {
			s.log.Error().Str("variable", variable).Err(err).Msg("changed secret file not taken; the old value stays")
			return
		}
		s.log.Info().Str("variable", variable).Msg("secret file read again")
	})
}

// Stop ends the sidecar: it reports unready, goes on accepting for
// DRAIN_DELAY, lets requests under way finish for DRAIN_TIMEOUT, and cuts what
// is left. It blocks until all has ended.
func (s *Sidecar) Stop() { s.stop(s.config.DrainDelay) }

// stop is Stop with another delay.
func (s *Sidecar) stop(delay time.Duration) {
	s.draining.Store(true)
	s.log.Info().Stringer("delay", delay).Stringer("timeout", s.config.DrainTimeout).Msg("draining")
	time.Sleep(delay)
	ctx, cancel := context.WithTimeout(context.Background(), s.config.DrainTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, server := range s.servers {
		all.Go(func() {
			if err := server.Shutdown(ctx); err != nil {
				s.log.Warn().Err(err).Msg("requests under way were cut")
			}
		})
	}
	all.Wait()
	s.closeParts()
	s.proxy.CloseIdleConnections()
	// Last, so that probes and scrapes see the drain to its end.
	quick, cancelQuick := context.WithTimeout(context.Background(), time.Second)
	defer cancelQuick()
	_ = s.admin.Shutdown(quick)
	s.serving.Wait()
	s.log.Info().Msg("stopped")
}

// closeParts ends the loads first, which may still have a token to share, then all that
// runs in the background, and what that writes to.
func (s *Sidecar) closeParts() {
	_ = s.cache.Close()
	s.cancel()
	s.background.Wait()
	if s.shared != nil {
		_ = s.shared.Close()
	}
	s.audit.Close() // no request is under way any more
}
