package proxy

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// Shutdown stops accepting and blocks until the requests under way have ended, those of
// upgraded connections included. When ctx ends first, it ends what is left, waits for one
// more second at most, and returns the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.cancel()
	s.mu.Lock()
	s.closing.Store(true)
	listeners, conns := s.listeners, s.conns
	s.mu.Unlock()
	s.http.SetKeepAlivesEnabled(false) // before anybody can see that it ends
	for l := range listeners {
		_ = l.Close()
	}
	for c := range conns {
		// What waits for a request ends at once; what answers one ends behind its answer.
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
	err := s.http.Shutdown(ctx)
	s.wait(ctx)
	if ctx.Err() == nil {
		return err
	}
	s.forced.Store(true)
	s.cancel()
	_ = s.http.Close()
	for c := range conns {
		_ = c.Close()
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	s.wait(last) // a handler may not heed its context
	return ctx.Err()
}

// wait blocks until no request is under way any more, or until ctx ends.
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

// handedOver is the listener from which net/http takes connections. Its methods are safe for
// concurrent use.
type handedOver struct {
	conns  chan net.Conn
	closed chan struct{}
	close  *sync.Once
}

func newHandedOver() handedOver {
	return handedOver{make(chan net.Conn), make(chan struct{}), new(sync.Once)}
}

// give hands a connection over. It reports false if net/http takes no more.
func (l handedOver) give(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.closed:
		return false
	}
}

// Accept implements [net.Listener].
func (l handedOver) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, http.ErrServerClosed
	}
}

// Close implements [net.Listener].
func (l handedOver) Close() error {
	l.close.Do(func() { close(l.closed) })
	return nil
}

// Addr implements [net.Listener].
func (l handedOver) Addr() net.Addr { return &net.TCPAddr{} }
