package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Server serves one handler to apps, on any number of listeners, and ends in an orderly
// way. Its methods are safe for concurrent use.
type Server struct {
	http   http.Server
	cancel context.CancelFunc // ends the context of every request
	active atomic.Int64       // handlers that run, those of hijacked connections included
	open   atomic.Int64       // open connections without those that were hijacked
}

// maxConnections bounds the connections of clients to one Server, so that slow
// or forgotten ones leave files to open for those to the targets. One too many
// is closed at once.
const maxConnections = 4096

// NewServer returns a Server for h, with limits on slow and idle clients. It
// speaks HTTP/1 only: clear-text HTTP/2 has no use on loopback.
func NewServer(h http.Handler) *Server {
	base, cancel := context.WithCancel(context.Background())
	s := &Server{cancel: cancel}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	s.http = http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.active.Add(1)
			defer s.active.Add(-1)
			h.ServeHTTP(w, r)
		}),
		BaseContext:                  func(net.Listener) context.Context { return base },
		ReadHeaderTimeout:            10 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		MaxHeaderBytes:               64 << 10,
		DisableGeneralOptionsHandler: true, // the guard sees OPTIONS * too
		ErrorLog:                     quiet,
		Protocols:                    protocols,
		ConnState:                    s.connState,
	}
	return s
}

// connState follows a connection of an app through its states: it counts the open ones,
// closes one that is too many, and tells each when a request is under way on it.
func (s *Server) connState(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if s.open.Add(1) > maxConnections {
			_ = c.Close()
		}
	case http.StateActive, http.StateIdle:
		clientConnOf(c).setActive(state == http.StateActive)
	case http.StateHijacked:
		clientConnOf(c).reportEnd() // each direction of an upgraded connection ends by itself
		fallthrough
	case http.StateClosed:
		s.open.Add(-1)
	}
}

// Serve accepts connections and blocks until Shutdown is called. It returns
// http.ErrServerClosed then, and otherwise the error of the listener.
func (s *Server) Serve(l net.Listener) error { return s.http.Serve(clientListener{l}) }

// ServeTLS is Serve over TLS. The handshake of a connection is part of its own goroutine, and
// ends after 10 s, as the head of a request does. Who speaks plain HTTP gets a 400. config must
// offer no other protocol than HTTP/1.1.
func (s *Server) ServeTLS(l net.Listener, config *tls.Config) error {
	return s.http.Serve(tls.NewListener(clientListener{l}, config))
}

// Shutdown stops accepting and blocks until the requests under way have ended, those of
// upgraded connections included. When ctx ends first, it ends what is left, waits for one
// more second at most, and returns the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.cancel()
	err := s.http.Shutdown(ctx)
	s.wait(ctx)
	if ctx.Err() == nil {
		return err
	}
	s.cancel()
	_ = s.http.Close()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	s.wait(last) // a handler may not heed its context
	return ctx.Err()
}

// wait blocks until no handler runs any more, or until ctx ends.
func (s *Server) wait(ctx context.Context) {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for s.active.Load() > 0 && ctx.Err() == nil {
		select {
		case <-look.C:
		case <-ctx.Done():
		}
	}
}
