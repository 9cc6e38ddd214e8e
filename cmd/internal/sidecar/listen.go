package sidecar

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"syscall"

	"token-sidecar/cmd/internal/config"
	"token-sidecar/proxy"
)

// listen opens all listeners and serves them in the background. If one cannot be opened
// it closes the others and returns the error.
func (s *Sidecar) listen() (err error) {
	if s.tls, err = newServedTLS(s.config); err != nil {
		return err
	}
	handlers := map[string]http.Handler{"data": s.proxy.Handler(), "admin": s.adminHandler()}
	where := s.config.Dedicated()
	for name := range where {
		handler, err := s.proxy.RouteHandler(name)
		if err != nil {
			return err
		}
		handlers[name] = handler
	}
	if jwks := s.config.JWKSListen; !jwks.IsZero() {
		handlers["jwks"], where["jwks"] = jwksHandler(s.upstreams), jwks
	}
	where["data"], where["admin"] = s.config.Listen, s.config.AdminListen
	var open []net.Listener
	for _, name := range slices.Sorted(maps.Keys(where)) {
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
	apps := s.connectionLimit("apps", s.maxConnections())
	for i, name := range slices.Sorted(maps.Keys(where)) {
		server := proxy.NewServer(handlers[name])
		server.ConnectionLimit = apps
		if name == "admin" || name == "jwks" {
			server.ConnectionLimit = s.connectionLimit(name, max(maxOpenFiles()/8, 16))
		}
		if name == "admin" {
			s.admin = server
		} else {
			s.servers = append(s.servers, server)
		}
		s.serving.Go(func() { s.serveOn(open[i], server, name) })
		s.log.Info().Str("listener", name).Stringer("address", s.addrs[name]).Msg("listening")
	}
	s.log.Info().Strs("routes", s.routeNames()).Str("version", s.metrics.Version()).Msg("ready")
	return nil
}

// How many files connections of apps and to targets leave to others.
const (
	filesKept   = 48 // to the admin listener, Redis and the files of settings
	filesPerAPI = 16 // to each token endpoint
)

// maxConnections returns how many connections of apps there may be, and how many to targets there
// should be: each request under way may need one, so that each may have half of the files.
func (s *Sidecar) maxConnections() int {
	return max((maxOpenFiles()-filesKept-filesPerAPI*len(s.upstreams))/2, 16)
}

// connectionLimit returns a limit of most connections. At most once a minute the log tells that it
// was reached; it calls the clients by that name.
func (s *Sidecar) connectionLimit(clients string, most int) *proxy.ConnectionLimit {
	return proxy.NewConnectionLimit(most, func(err error) {
		s.log.Warn().Str("clients", clients).Err(err).Msg("connections are not accepted")
	})
}

// serveOn serves the listener of that name until the server ends: over TLS if there is a
// certificate, save on Unix sockets and what probes and providers ask.
func (s *Sidecar) serveOn(l net.Listener, server *proxy.Server, name string) {
	serve := server.Serve
	if s.tls != nil && name != "admin" && name != "jwks" && l.Addr().Network() != "unix" {
		serve = func(l net.Listener) error { return server.ServeTLS(l, s.tls.config()) }
	}
	if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
		select {
		case s.broken <- fmt.Errorf("listener of %s: %w", name, err):
		default:
		}
	}
}

// routeNames returns the names of all routes, sorted.
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

// listenOn opens a listener. A socket file that an earlier run left behind is
// replaced; only its owner and group may connect.
func listenOn(l config.Listener) (net.Listener, error) {
	if l.Network != "unix" {
		return net.Listen(l.Network, l.Address)
	}
	if info, err := os.Lstat(l.Address); err == nil && info.Mode().Type() == os.ModeSocket {
		conn, err := net.Dial("unix", l.Address)
		if err == nil {
			_ = conn.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) { // or it could not be asked: it may be in use
			return nil, fmt.Errorf("listen on %s: another process serves it", l.Address)
		}
		_ = os.Remove(l.Address)
	}
	listener, err := listenPrivately(l.Address)
	if err != nil {
		return nil, err
	}
	var file os.FileInfo
	if err = os.Chmod(l.Address, 0o660); err == nil {
		file, err = os.Lstat(l.Address)
	}
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	return &socket{listener, file}, nil
}

// socket is a listener whose end leaves the file of another process alone that has taken
// its path since.
type socket struct {
	*net.UnixListener
	file os.FileInfo
}

// Close removes the file, if it is still the listener's own, and ends the listener. Only
// while the listener is open can no other file have the inode of its own.
func (s *socket) Close() error {
	path := s.Addr().String()
	if now, err := os.Lstat(path); err == nil && os.SameFile(now, s.file) {
		_ = os.Remove(path)
	}
	return s.UnixListener.Close()
}
