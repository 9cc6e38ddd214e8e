package proxy

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// errNotLean says that the target speaks no HTTP/1.1, or has its connections in
// use: the general way may still work.
var errNotLean = errors.New("not for the lean way")

const (
	maxLean     = 1024 // connections to one target
	maxLeanIdle = 512
	leanIdle    = 60 * time.Second
)

// leanPool keeps the connections to one target. The one used last is used
// next, so that what a quiet time does not need grows old and goes.
type leanPool struct {
	dialer  *dialer
	address string
	tls     bool

	mu     sync.Mutex // guards all below; never held over I/O
	idle   []*leanConn
	open   int
	off    bool        // the target speaks no HTTP/1.1
	sweep  *time.Timer // closes what is idle for too long; nil while nothing is
	closed bool
}

func newLeanPool(c Config, target *url.URL) *leanPool {
	address := target.Host
	if target.Port() == "" {
		address = net.JoinHostPort(target.Hostname(), defaultPort[target.Scheme])
	}
	return &leanPool{dialer: newDialer(c, "http/1.1"), address: address, tls: target.Scheme == "https"}
}

var defaultPort = map[string]string{"http": "80", "https": "443"}

// get returns a connection, a kept one if that is wanted and there is one.
func (p *leanPool) get(ctx context.Context, kept bool) (*leanConn, error) {
	for kept {
		c := p.pop()
		if c == nil {
			break
		}
		if c.peeker.untouched() {
			c.reused = true
			return c, nil
		}
		p.drop(c)
	}
	p.mu.Lock()
	if p.off || p.open >= maxLean {
		p.mu.Unlock()
		return nil, errNotLean
	}
	p.open++
	p.mu.Unlock()
	c, err := p.dial(ctx)
	if err != nil {
		p.mu.Lock()
		p.open--
		p.off = p.off || errors.Is(err, errNotLean)
		p.mu.Unlock()
	}
	return c, err
}

func (p *leanPool) pop() *leanConn {
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

func (p *leanPool) dial(ctx context.Context) (*leanConn, error) {
	raw, err := p.dialer.net.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	c := &leanConn{Conn: raw, raw: raw}
	if p.tls {
		c.tls = &records{Conn: raw}
		secure, err := p.dialer.handshake(ctx, c.tls, p.address)
		if err != nil {
			if strings.Contains(err.Error(), "no application protocol") { // RFC 7301 section 3.2
				return nil, errNotLean
			}
			return nil, err
		}
		if secure.ConnectionState().NegotiatedProtocol != "http/1.1" {
			// It may speak HTTP/2 only: some such servers take an offer of HTTP/1.1
			// for none (Go's does). The general way offers both.
			_ = raw.Close()
			return nil, errNotLean
		}
		c.Conn = secure
	}
	c.peeker.init(raw)
	c.end = func() { _ = c.SetDeadline(time.Unix(1, 0)) }
	c.in, c.out = bufio.NewReaderSize(c, 4<<10), bufio.NewWriterSize(c.Conn, 4<<10)
	return c, nil
}

// put keeps c for the next exchange.
func (p *leanPool) put(c *leanConn) {
	if !p.keep(c) {
		p.drop(c)
	}
}

func (p *leanPool) keep(c *leanConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= maxLeanIdle {
		return false
	}
	c.since = time.Now()
	p.idle = append(p.idle, c)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(leanIdle, p.sweepIdle)
	}
	return true
}

// drop closes c, which is not kept.
func (p *leanPool) drop(c *leanConn) {
	c.close()
	p.mu.Lock()
	p.open--
	p.mu.Unlock()
}

// sweepIdle closes what was idle for too long: the front of the stack.
func (p *leanPool) sweepIdle() {
	p.mu.Lock()
	p.sweep = nil
	n := 0
	for n < len(p.idle) && time.Since(p.idle[n].since) >= leanIdle {
		n++
	}
	old := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	if len(p.idle) > 0 {
		p.sweep = time.AfterFunc(leanIdle, p.sweepIdle)
	}
	p.mu.Unlock()
	for _, c := range old {
		p.drop(c)
	}
}

// closeIdle closes all idle connections, and those in use when they come back.
func (p *leanPool) closeIdle() {
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
		p.drop(c)
	}
}
