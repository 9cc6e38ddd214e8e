package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// targetConn is an HTTP/1 connection to a target that knows whether all its
// target sent so far was read. net/http gives a connection back before it
// looks whether bytes are left behind the answer, as behind a 204 with a body;
// the next request on it would take them for its own answer.
type targetConn struct {
	net.Conn
	peeker  peeker     // of the connection below TLS
	mu      sync.Mutex // guards reading and closed
	changed sync.Cond
	reading bool // the reader has nothing left and waits for the target
	closed  bool
}

// newTargetConn returns c, whose bytes come by raw: c itself, or what is below TLS.
func newTargetConn(c, raw net.Conn) *targetConn {
	t := &targetConn{Conn: c}
	t.changed.L = &t.mu
	t.peeker.init(raw)
	return t
}

// settle waits until the reader has nothing left or, since something was left,
// has closed the connection. Neither waits for the target. It reports whether
// the connection is good for another request: the reader may not have noticed
// that it is not.
func (c *targetConn) settle() bool {
	c.mu.Lock()
	for !c.reading && !c.closed {
		c.changed.Wait()
	}
	closed := c.closed
	c.mu.Unlock()
	return !closed && c.peeker.untouched()
}

func (c *targetConn) note(reading, closed bool) {
	c.mu.Lock()
	c.reading, c.closed = reading, c.closed || closed
	c.mu.Unlock()
	c.changed.Broadcast()
}

func (c *targetConn) Read(b []byte) (int, error) {
	c.note(true, false)
	n, err := c.Conn.Read(b)
	c.note(false, err != nil)
	return n, err
}

func (c *targetConn) Close() error {
	c.note(false, true)
	return c.Conn.Close()
}

// CloseWrite ends one direction of an upgraded connection.
func (c *targetConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// dialer opens connections to targets.
type dialer struct {
	net net.Dialer
	tls *tls.Config
}

// newDialer returns a dialer that offers the given protocols (ALPN).
func newDialer(c Config, protocols ...string) *dialer {
	return &dialer{
		net: net.Dialer{Timeout: 10 * time.Second},
		tls: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12, NextProtos: protocols,
			ClientSessionCache: tls.NewLRUClientSessionCache(64)},
	}
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.net.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return newTargetConn(c, c), nil
}

// dialTLS returns a *tls.Conn for HTTP/2, as net/http wants it.
func (d *dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := d.net.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c, err := d.handshake(ctx, raw, address)
	if err != nil {
		return nil, err
	}
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		return c, nil
	}
	return newTargetConn(c, raw), nil
}

// handshake makes raw a verified TLS connection, or closes it. Nothing is sent
// on it before.
func (d *dialer) handshake(ctx context.Context, raw net.Conn, address string) (*tls.Conn, error) {
	config := d.tls.Clone()
	config.ServerName, _, _ = net.SplitHostPort(address)
	c := tls.Client(raw, config)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}
