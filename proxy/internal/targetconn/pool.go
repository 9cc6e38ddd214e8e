// Package targetconn opens, keeps and judges the connections to targets. It knows
// addresses, certificate authorities, timeouts and connections. It does not know
// what the requests are about that are sent on them, and imports no other package
// of this module.
//
// There are two kinds of connections. Those of a [Pool] speak HTTP/1.1, and the
// caller writes requests and reads answers itself, one exchange at a time, without
// any goroutine in between. pool.go hands them out; peek_unix.go and peek_other.go
// look whether a kept one is still good; dial.go opens a new one; the caller writes
// to conn.go and reads from it; records.go lies below TLS and knows whether what was
// read of it ends with a whole record.
//
// Those of an [http.Transport] serve all other requests. transport.go makes the
// transport. wire.go, with wire_unix.go and wire_other.go, lies at the bottom of its
// HTTP/1 connections and knows what net/http does not tell: whether a kept one is
// still good.
package targetconn

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Errors of [Pool.Get] that say that the Pool has no connection to offer, although
// the target may be well. An [http.Transport] can still serve the request: it speaks
// HTTP/2 too, and lets requests wait for a connection.
var (
	// ErrNotHTTP1 says that the target does not speak HTTP/1.1 over TLS.
	ErrNotHTTP1 = errors.New("the target does not speak HTTP/1.1")
	// ErrPoolFull says that no connection may be opened beside those there are.
	ErrPoolFull = errors.New("there are as many connections to the target as there may be")
)

// Limits of the connections to one target. They hold for a Pool and for a transport,
// for each by itself.
const (
	maxConns    = 1024 // in use and idle
	maxIdle     = 512
	idleTimeout = 60 * time.Second // an idle connection is closed after this time
)

// Pool keeps the HTTP/1.1 connections to one target. It hands out the one that was
// used last, so that connections that are only needed at busy times grow old and are
// closed. It is safe for concurrent use.
type Pool struct {
	// Dialer opens the connections. It must offer no other protocol than http/1.1,
	// and stays the same once Get was called.
	Dialer *Dialer

	address string // host and port
	tls     bool   // the target speaks TLS

	mu       sync.Mutex  // guards all below; it is never held over I/O
	idle     []*Conn     // a stack: the one used last is at the end
	open     int         // connections in use and idle, and those being opened
	notHTTP1 bool        // a handshake has shown that the target does not speak HTTP/1.1
	sweep    *time.Timer // runs sweepIdle; nil while no connection is idle
	closed   bool        // connections are no longer kept
}

// NewPool returns a Pool without connections. They will be opened by dialer, to the
// scheme, host and port of target. The port may be missing: then it is that of the
// scheme, which is http or https (RFC 9110 sections 4.2.1 and 4.2.2).
func NewPool(dialer *Dialer, target *url.URL) *Pool {
	address := target.Host
	if target.Port() == "" {
		address = net.JoinHostPort(target.Hostname(), defaultPort[target.Scheme])
	}
	return &Pool{Dialer: dialer, address: address, tls: target.Scheme == "https"}
}

var defaultPort = map[string]string{"http": "80", "https": "443"}

// Get returns a connection, which the caller owns until it gives it to Put or to
// Drop; it must do one of them, once. If kept is true this is an idle connection if
// there is one that the target has neither closed nor sent anything on. Otherwise
// Get opens a connection and blocks until that is done, for 20 s at most and no
// longer than ctx lives. It returns ErrNotHTTP1, ErrPoolFull, or what went wrong
// with the connection: an error of package net, of crypto/tls or of ctx.
func (p *Pool) Get(ctx context.Context, kept bool) (*Conn, error) {
	for kept {
		c := p.pop()
		if c == nil {
			break
		}
		if c.peeker.untouched() {
			c.reused = true
			return c, nil
		}
		p.Drop(c)
	}
	if err := p.reserve(); err != nil {
		return nil, err
	}
	c, err := p.dial(ctx)
	if err != nil {
		p.mu.Lock()
		p.open--
		p.notHTTP1 = p.notHTTP1 || errors.Is(err, ErrNotHTTP1)
		p.mu.Unlock()
	}
	return c, err
}

// pop takes the connection that was used last out of the idle ones. It returns nil
// if there is none.
func (p *Pool) pop() *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	last := len(p.idle) - 1
	c := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	return c
}

// reserve counts a connection that is about to be opened, or says why it must not be.
func (p *Pool) reserve() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.notHTTP1 {
		return ErrNotHTTP1
	}
	if p.open >= maxConns {
		return ErrPoolFull
	}
	p.open++
	return nil
}

// dial opens a connection. It blocks as Get does.
func (p *Pool) dial(ctx context.Context) (*Conn, error) {
	raw, err := p.Dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	if !p.tls {
		return newConn(raw, raw, nil), nil
	}
	below := &records{Conn: raw}
	secure, err := p.Dialer.handshake(ctx, below, p.address)
	if err != nil {
		// The target's alert no_application_protocol (RFC 7301 section 3.2).
		if strings.Contains(err.Error(), "no application protocol") {
			return nil, ErrNotHTTP1
		}
		return nil, err
	}
	if secure.ConnectionState().NegotiatedProtocol != "http/1.1" {
		// A target that chooses no protocol may speak HTTP/2 only: some servers, such
		// as those of Go, treat a client that offers HTTP/1.1 alone as one that offers
		// nothing. Only a client that offers both finds out.
		_ = raw.Close()
		return nil, ErrNotHTTP1
	}
	return newConn(raw, secure, below), nil
}

// Put takes c back, to be handed out again. The connection must be in the state in
// which Get returned it, or [Conn.Finish] must have returned true for it. If enough
// connections are idle Put closes it. It does not block.
func (p *Pool) Put(c *Conn) {
	if !p.keep(c) {
		p.Drop(c)
	}
}

// keep adds c to the idle connections. It reports false if there are enough.
func (p *Pool) keep(c *Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= maxIdle {
		return false
	}
	c.idleSince = time.Now()
	p.idle = append(p.idle, c)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(idleTimeout, p.sweepIdle)
	}
	return true
}

// Drop closes c, in whatever state it is, and forgets it. It does not block.
func (p *Pool) Drop(c *Conn) {
	c.close()
	p.mu.Lock()
	p.open--
	p.mu.Unlock()
}

// sweepIdle closes the connections that were idle for too long, which are at the
// front, and comes back later if any are left.
func (p *Pool) sweepIdle() {
	p.mu.Lock()
	p.sweep = nil
	n := 0
	for n < len(p.idle) && time.Since(p.idle[n].idleSince) >= idleTimeout {
		n++
	}
	old := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	if len(p.idle) > 0 {
		p.sweep = time.AfterFunc(idleTimeout, p.sweepIdle)
	}
	p.mu.Unlock()
	for _, c := range old {
		p.Drop(c)
	}
}

// CloseIdle closes all idle connections, and has Put close those that are in use
// now and any later one: the Pool still opens connections, but keeps none. It does
// not block.
func (p *Pool) CloseIdle() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	if p.sweep != nil {
		p.sweep.Stop()
		p.sweep = nil
	}
	p.mu.Unlock()
	for _, c := range idle {
		p.Drop(c)
	}
}
