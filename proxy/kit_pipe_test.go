package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
)

// pipes is a network within the process, made of net.Pipe. Tests whose times must be
// exact use it in the bubble of a synctest.Test, where a wait for a real socket would
// stop the fake clock. The zero pipes is ready for use.
type pipes struct {
	mu        sync.Mutex // guards listeners
	listeners []*pipeListener
}

// pipeListener is a listener at an address of its pipes.
type pipeListener struct {
	address net.TCPAddr
	came    chan net.Conn
	closed  chan struct{}
	close   sync.Once
}

// listen returns a listener at an address that no other one has.
func (p *pipes) listen() net.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &pipeListener{came: make(chan net.Conn), closed: make(chan struct{}),
		address: net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1 + len(p.listeners)}}
	p.listeners = append(p.listeners, l)
	return l
}

// DialContext opens a connection to the listener at address.
func (p *pipes) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	l := p.at(address)
	if l == nil {
		return nil, fmt.Errorf("nobody listens at %s: %w", address, syscall.ECONNREFUSED)
	}
	near, far := net.Pipe()
	select {
	case l.came <- far:
		return near, nil
	case <-l.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) at(address string) *pipeListener {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.listeners {
		if l.address.String() == address {
			return l
		}
	}
	return nil
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.came:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &l.address }

// useDialer has the side open connections to targets with dial. Each kind of connection
// still gets what package targetconn puts around it.
func (s *side) useDialer(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	for _, r := range s.proxy.routes {
		for _, d := range r.connections.sets.plain.dialers {
			d.DialContext = dial
		}
	}
}

// listen returns a listener on the side's network.
func (s *side) listen() net.Listener {
	s.t.Helper()
	if s.pipes != nil {
		return s.pipes.listen()
	}
	return listen(s.t)
}

// dial connects to addr on the side's network.
func (s *side) dial(addr string) *rawClient {
	s.t.Helper()
	if s.pipes == nil {
		return dialRaw(s.t, addr)
	}
	c, err := s.pipes.DialContext(s.t.Context(), "tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	return rawOn(s.t, c)
}

// client is an HTTP client on the side's network.
func (s *side) client() *http.Client {
	c := client(s.t)
	if s.pipes != nil {
		c.Transport.(*http.Transport).DialContext = s.pipes.DialContext
	}
	return c
}

// untilEOF reads until the connection ends.
func (c *rawClient) untilEOF() string {
	b, _ := io.ReadAll(c.br)
	return string(b)
}
