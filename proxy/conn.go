package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// targetConn is an HTTP/1 connection to a target in the general way.
type targetConn struct {
	halfCloser // the wire, or TLS over it
	wire       *wire
}

// halfCloser can end one direction, as of an upgraded connection.
type halfCloser interface {
	net.Conn
	CloseWrite() error
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
	raw, err := d.net.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w := newWire(raw)
	return &targetConn{w, w}, nil
}

// dialTLS returns a *tls.Conn for HTTP/2, as net/http wants it.
func (d *dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := d.net.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w := newWire(raw)
	w.tls = &records{Conn: w}
	c, err := d.handshake(ctx, w.tls, address)
	if err != nil {
		return nil, err
	}
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		return c, nil
	}
	return &targetConn{c, w}, nil
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
