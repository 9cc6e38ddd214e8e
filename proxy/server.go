package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

// Server serves one handler to apps, on any number of listeners, and ends in an orderly
// way. Connections begin on the lean way, if the handler is that of a Proxy: leanConn serves
// them until a request comes that is not plain. Then, or from the beginning, net/http does. Its
// methods are safe for concurrent use.
type Server struct {
	// ConnectionLimit bounds the open connections. It belongs to this Server alone, unless another
	// one is put in its place before the first call of Serve.
	*ConnectionLimit

	http   http.Server
	handed handedOver         // the connections that net/http serves
	lean   *handler           // of a Proxy; nil if all requests are for net/http
	base   context.Context    // of every request
	cancel context.CancelFunc // ends base
	start  sync.Once          // has net/http serve
	active atomic.Int64       // requests under way, those of hijacked connections included

	mu        sync.Mutex                // guards all below; it is not held over I/O
	listeners map[net.Listener]struct{} // that Serve accepts from
	conns     map[net.Conn]struct{}     // that net/http does not serve yet
	ending                              // once closing, what mu guards changes no more
}

// ConnectionLimit bounds the open connections of clients to all Servers that share it, so that
// slow or forgotten ones leave files to open for the rest of the program. One too many is closed at once.
type ConnectionLimit struct {
	most    int64
	open    atomic.Int64
	refused func(error)
	telling rate.Sometimes
}

// maxConnections is the highest limit.
const maxConnections = 4096

// NewConnectionLimit returns a limit of most connections, or of 4096 if most is more. Once a minute at
// most, refused is called when a connection is closed at once, or cannot be accepted because no file is
// left, with an error that says which. It must not block.
func NewConnectionLimit(most int, refused func(error)) *ConnectionLimit {
	return &ConnectionLimit{most: int64(min(most, maxConnections)), refused: refused, telling: rate.Sometimes{Interval: time.Minute}}
}

// NewServer returns a Server for h, with limits on slow and idle clients. It
// speaks HTTP/1 only: clear-text HTTP/2 has no use on loopback.
func NewServer(h http.Handler) *Server {
	base, cancel := context.WithCancel(context.Background())
	s := &Server{ConnectionLimit: NewConnectionLimit(maxConnections, func(error) {}), base: base, cancel: cancel, handed: newHandedOver(),
		listeners: map[net.Listener]struct{}{}, conns: map[net.Conn]struct{}{}}
	s.lean, _ = h.(*handler)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	s.http = http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.active.Add(1)
			defer s.active.Add(-1)
			h.ServeHTTP(w, r)
		}),
		BaseContext: func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, appConnKey{}, clientConnOf(c))
		},
		ReadHeaderTimeout:            headTime,
		IdleTimeout:                  idleTime,
		MaxHeaderBytes:               1 << 20,
		DisableGeneralOptionsHandler: true, // the guard sees OPTIONS * too
		ErrorLog:                     quiet,
		Protocols:                    protocols,
		ConnState:                    s.connState,
	}
	return s
}

// connState follows a connection that net/http serves through its states: it counts the open
// ones, and tells each when a request is under way on it.
func (s *Server) connState(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateActive, http.StateIdle:
		clientConnOf(c).setActive(state == http.StateActive)
	case http.StateHijacked:
		client := clientConnOf(c)
		client.release() // what flows through it is not HTTP
		client.ended = sync.OnceFunc(func() { s.open.Add(-1) })
	case http.StateClosed:
		s.open.Add(-1)
	}
}

// Serve accepts connections and blocks until Shutdown is called. It returns
// http.ErrServerClosed then, and otherwise the error of the listener.
func (s *Server) Serve(l net.Listener) error { return s.ServeTLS(l, nil) }

// ServeTLS is Serve over TLS, unless config is nil. The handshake of a connection is part of
// its own goroutine, and ends after 10 s, as the head of a request does. Who speaks plain HTTP
// gets a 400. config must offer no other protocol than HTTP/1.1.
func (s *Server) ServeTLS(l net.Listener, config *tls.Config) error {
	if !s.track(func() { s.listeners[l] = struct{}{} }) {
		_ = l.Close()
		return http.ErrServerClosed
	}
	s.start.Do(func() { go func() { _ = s.http.Serve(s.handed) }() })
	for pause := time.Duration(0); ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.accept(c, config)
		case s.closing.Load():
			return http.ErrServerClosed
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.telling.Do(func() { s.refused(err) })
			time.Sleep(pause) // until others have closed their files
		default:
			_ = l.Close()
			return err
		}
	}
}

// accept begins to serve a connection, unless there are too many.
func (s *Server) accept(c net.Conn, config *tls.Config) {
	if s.open.Add(1) > s.most {
		_ = c.Close()
		s.open.Add(-1)
		s.telling.Do(func() { s.refused(fmt.Errorf("%d are open, which is the limit", s.most)) })
		return
	}
	go func() {
		limitUntaken(c)
		if config != nil {
			c = tls.Server(c, config)
		}
		if !s.track(func() { s.conns[c] = struct{}{} }) {
			_ = c.Close()
			s.open.Add(-1)
			return
		}
		read, headEnd, handOver := s.begin(c)
		// Shutdown may still set the deadline of a connection that it has not seen go.
		open := s.track(func() { delete(s.conns, c) })
		if handOver && open && s.handOver(c, read, headEnd) {
			return
		}
		if handOver && len(read) > 0 {
			s.refuse(c, errStopping, "")
			linger(c)
		}
		_ = c.Close()
		s.open.Add(-1)
	}()
}

// begin serves a connection on the lean way as long as that can. It reports whether net/http
// is to go on, and returns what was read and not served, and by when the head in that must be whole.
func (s *Server) begin(c net.Conn) (read []byte, headEnd time.Time, handOver bool) {
	headEnd = time.Now().Add(headTime)
	_ = c.SetDeadline(headEnd)
	if secure, ok := c.(*tls.Conn); ok {
		if err := secure.HandshakeContext(s.base); err != nil {
			s.explainTLS(err)
			return nil, headEnd, false
		}
	}
	_ = c.SetWriteDeadline(time.Time{})
	if s.lean == nil || !s.lean.proxy.leanServer() {
		return nil, headEnd, true
	}
	lean := newLeanConn(s, c, headEnd)
	read, handOver = lean.serve()
	return read, lean.headEnd, handOver
}

// handOver has net/http serve a connection, of which the bytes in read were read already. It
// reports whether net/http still takes any.
func (s *Server) handOver(c net.Conn, read []byte, headEnd time.Time) bool {
	_ = c.SetDeadline(time.Time{})
	client := newClientConn(c, read, headEnd, s.refuse, &s.ending)
	if _, ok := c.(*tls.Conn); ok {
		return s.handed.give(secureClientConn{client})
	}
	return s.handed.give(client)
}

// refuse answers a request that no handler gets to see, by a method that may be unknown. The caller
// ends the connection, and lingers before that.
func (s *Server) refuse(c net.Conn, p *problem, method string) {
	if s.lean != nil {
		s.lean.proxy.observeRefused(p, method)
	}
	_ = c.SetWriteDeadline(time.Now().Add(lingerTime))
	_, _ = c.Write(p.answer(method))
}

// explainTLS answers 400 to a client that speaks plain HTTP where TLS is spoken.
func (s *Server) explainTLS(err error) {
	if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil && plain.RecordHeader[0] >= 'A' {
		s.refuse(plain.Conn, errNoTLS, "")
		linger(plain.Conn)
	}
}

// track changes what the Server keeps account of. It reports false, after Shutdown was called.
func (s *Server) track(change func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	change()
	return true
}
