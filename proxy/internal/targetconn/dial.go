package targetconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

const (
	dialTimeout      = 10 * time.Second // for the TCP connection, the look-up of its name included
	handshakeTimeout = 10 * time.Second // for TLS on it
)

// Dialer opens TCP connections to targets and makes TLS connections of them. It
// is safe for concurrent use.
type Dialer struct {
	// DialContext opens a TCP connection. It blocks until the connection stands,
	// ctx ends or its own timeout is over, and the caller owns the result.
	// NewDialer sets it to that of a [net.Dialer] with a timeout of 10 s. It may be
	// replaced until the first connection is asked for, and is called concurrently.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	tls *tls.Config // never changed: each handshake has a copy with the target's name

	open, opened atomic.Int64 // connections of transports now, and so far
}

// Figures returns how many connections of transports the Dialer has open now, and how
// many it has opened so far.
func (d *Dialer) Figures() (open int, opened uint64) {
	return int(d.open.Load()), uint64(d.opened.Load())
}

// NewDialer returns a Dialer that trusts roots, or the system's certificate
// authorities if roots is nil. Within TLS, of version 1.2 at least, it offers the
// target the given protocols, the best first (ALPN, RFC 7301). TLS sessions are
// resumed between the connections of one Dialer, so a session is of one certificate: the
// Dialer presents certificate to each target that asks for one, whatever authorities it
// names, unless certificate is nil.
func NewDialer(roots *x509.CertPool, certificate *tls.Certificate, protocols ...string) *Dialer {
	d := &Dialer{
		DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
		tls: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, NextProtos: protocols,
			ClientSessionCache: tls.NewLRUClientSessionCache(64)},
	}
	if certificate != nil {
		d.tls.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	return d
}

// handshake makes a TLS connection of raw and verifies that the other side is the
// host of address, which has a port. It blocks until that is done, ctx ends or
// handshakeTimeout is over. No byte of a request is sent before it returns. If it
// fails it closes raw.
func (d *Dialer) handshake(ctx context.Context, raw net.Conn, address string) (*tls.Conn, error) {
	config := d.tls.Clone()
	config.ServerName, _, _ = net.SplitHostPort(address)
	c := tls.Client(raw, config)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// dial opens a connection. It blocks as Get does.
func (p *Pool[K]) dial(ctx context.Context) (*Conn, error) {
	raw, err := p.Dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	if !p.tls {
		return newConn(raw, raw, nil), nil
	}
	below := &recordTracker{Conn: raw}
	secure, err := p.Dialer.handshake(ctx, below, p.address)
	if err != nil {
		// The target's alert no_application_protocol (RFC 7301 section 3.2).
		if strings.Contains(err.Error(), "no application protocol") {
			return nil, ErrNotHTTP1
		}
		return nil, err
	}
	if secure.ConnectionState().NegotiatedProtocol == "" && !p.protocol.HTTP1() {
		// A target that chooses no protocol may speak HTTP/2 only: some servers, such
		// as those of Go, treat a client that offers HTTP/1.1 alone as one that offers
		// nothing. Only a client that offers both finds out.
		_ = raw.Close()
		return nil, ErrNotHTTP1
	}
	return newConn(raw, secure, below), nil
}
