package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/proxy"
	"token-sidecar/upstream"
)

// Sidecar is the running program. Start makes one, Stop ends it.
type Sidecar struct {
	config    *Config
	log       zerolog.Logger
	metrics   *metrics.Metrics
	shared    *cache.Shared // nil without Redis
	cache     *cache.Cache
	proxy     *proxy.Proxy
	upstreams []upstream.Upstream
	history   *history // of the requests, for the status page
	started   time.Time

	servers  []*proxy.Server // of the data listeners
	admin    *proxy.Server
	addrs    map[string]net.Addr // by "data", "admin" and the names of routes
	draining atomic.Bool
	broken   chan error // a listener that failed; holds one

	stopWatch context.CancelFunc
	watching  sync.WaitGroup // the servers, the watch of secret files and the history
}

// serve runs the sidecar until ctx ends.
func (p Program) serve(ctx context.Context, config *Config, stderr io.Writer) error {
	m := metrics.New(p.Version)
	log, flush := newLogger(config, stderr, m)
	defer flush()
	s, err := Start(config, log, m)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		s.Stop()
		return nil
	case err = <-s.broken:
		s.Stop()
		return err
	}
}

// Start builds the parts of the sidecar, opens its listeners and serves. It
// asks no provider and no Redis before it returns: their state is not a
// reason not to start.
func Start(config *Config, log zerolog.Logger, m *metrics.Metrics) (*Sidecar, error) {
	roots, err := config.roots()
	if err != nil {
		return nil, err
	}
	s := &Sidecar{config: config, log: log, metrics: m, upstreams: config.upstreams(roots),
		addrs: map[string]net.Addr{}, broken: make(chan error, 1), started: time.Now()}
	if s.shared, err = config.shared(log, m); err != nil {
		return nil, err
	}
	s.cache = cache.New(cache.Config{
		Upstreams:    s.upstreams,
		Metrics:      m,
		Log:          log,
		MaxTokens:    config.MaxTokens,
		RefreshAhead: config.RefreshAhead,
		TokenTimeout: config.TokenTimeout,
		TokenRate:    config.TokenRate,
		Shared:       s.shared,
	})
	s.proxy, err = proxy.New(proxy.Config{
		Upstreams:     s.upstreams,
		Cache:         s.cache,
		Metrics:       m,
		Log:           log,
		Hosts:         config.hosts(config.Expose == "true"),
		CallerToken:   config.CallerToken,
		ReplayMethods: config.ReplayMethods,
		ReplayLimit:   int64(config.ReplayLimit),
		TargetTimeout: config.TargetTimeout,
		Vend:          config.Vend,
		Roots:         roots,
	})
	s.history = newHistory(s.upstreamNames(), m.Totals)
	if err == nil {
		err = s.listen()
	}
	if err != nil {
		s.closeCache()
		return nil, err
	}
	s.pin()
	s.watch()
	return s, nil
}

func (c *Config) hosts(anyAddress bool) proxy.Hosts {
	return proxy.NewHosts(c.AllowedHosts, anyAddress)
}

// Addr returns where a listener listens: "data", "admin", or that of a route
// with one of its own. It is nil if there is none.
func (s *Sidecar) Addr(name string) net.Addr { return s.addrs[name] }

// listen opens all listeners, then serves them: an error leaves none behind.
func (s *Sidecar) listen() error {
	handlers := map[string]http.Handler{"data": s.proxy.Handler(), "admin": s.adminHandler()}
	where := s.config.dedicated()
	for name := range where {
		handler, err := s.proxy.RouteHandler(name)
		if err != nil {
			return err
		}
		handlers[name] = handler
	}
	where["data"], where["admin"] = s.config.Listen, s.config.AdminListen
	var open []net.Listener
	for _, name := range sortedKeys(where) {
		l, err := listenOn(where[name])
		if err != nil {
			for _, l := range open {
				_ = l.Close()
			}
			return fmt.Errorf("listener of %s: %w", name, err)
		}
		open = append(open, l)
		s.addrs[name] = l.Addr()
	}
	for i, name := range sortedKeys(where) {
		server := proxy.NewServer(handlers[name])
		if name == "admin" {
			s.admin = server
		} else {
			s.servers = append(s.servers, server)
		}
		s.watching.Go(func() {
			if err := server.Serve(open[i]); !errors.Is(err, http.ErrServerClosed) {
				select {
				case s.broken <- fmt.Errorf("listener of %s: %w", name, err):
				default:
				}
			}
		})
		s.log.Info().Str("listener", name).Stringer("address", s.addrs[name]).Msg("listening")
	}
	s.log.Info().Strs("routes", s.routeNames()).Msg("ready")
	return nil
}

// listenOn opens a listener. A socket file that an earlier run left behind is
// replaced; only its owner and group may connect.
func listenOn(l Listener) (net.Listener, error) {
	if l.Network != "unix" {
		return net.Listen(l.Network, l.Address)
	}
	if info, err := os.Lstat(l.Address); err == nil && info.Mode().Type() == os.ModeSocket {
		if conn, err := net.Dial("unix", l.Address); err == nil {
			_ = conn.Close()
			return nil, fmt.Errorf("listen on %s: another process serves it", l.Address)
		}
		_ = os.Remove(l.Address)
	}
	listener, err := listenPrivately(l.Address)
	if err != nil {
		return nil, err
	}
	return listener, os.Chmod(l.Address, 0o660)
}

func (s *Sidecar) routeNames() []string {
	var names []string
	for _, u := range s.upstreams {
		for _, r := range u.Routes() {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (s *Sidecar) upstreamNames() []string {
	var names []string
	for _, u := range s.upstreams {
		names = append(names, u.Name())
	}
	return names
}

// pin keeps the tokens that need no subject fresh from the start, so that not
// even the first request waits.
func (s *Sidecar) pin() {
	for _, u := range s.upstreams {
		for _, r := range u.Routes() {
			if r.Subject == upstream.SubjectRequired {
				continue
			}
			if key, err := u.Key(r.Kind, "", ""); err == nil {
				s.cache.Pin(key)
			}
		}
	}
}

func (s *Sidecar) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	s.stopWatch = cancel
	s.watching.Go(func() { s.history.run(ctx) })
	s.watching.Go(func() {
		_ = s.config.WatchSecrets(ctx, func(variable string, err error) {
			s.metrics.SecretReload(err == nil)
			if err != nil {
				s.log.Error().Str("variable", variable).Err(err).Msg("changed secret file not taken; the old value stays")
				return
			}
			s.log.Info().Str("variable", variable).Msg("secret file read again")
		})
	})
}

// Stop ends the sidecar: it reports unready, goes on accepting for
// DRAIN_DELAY, lets requests under way finish for DRAIN_TIMEOUT, and cuts what
// is left. It blocks until all has ended.
func (s *Sidecar) Stop() {
	s.draining.Store(true)
	s.log.Info().Stringer("delay", s.config.DrainDelay).Stringer("timeout", s.config.DrainTimeout).Msg("draining")
	time.Sleep(s.config.DrainDelay)
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
	s.closeCache()
	s.proxy.CloseIdleConnections()
	// Last, so that probes and scrapes see the drain to its end.
	quick, cancelQuick := context.WithTimeout(context.Background(), time.Second)
	defer cancelQuick()
	_ = s.admin.Shutdown(quick)
	s.stopWatch()
	s.watching.Wait()
	s.log.Info().Msg("stopped")
}

// closeCache ends the loads first: they may still have a token to share.
func (s *Sidecar) closeCache() {
	_ = s.cache.Close()
	if s.shared != nil {
		_ = s.shared.Close()
	}
}
