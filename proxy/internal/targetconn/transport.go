package targetconn

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// streamBuffer and connBuffer are how many bytes a target may send on a stream of HTTP/2, and
	// on a connection, before the app has read them.
	streamBuffer = 128 << 10
	connBuffer   = 8 << 20
)

// NewTransport returns a transport whose connections dialer opens. It speaks HTTP/2 to
// targets that choose it, if dialer offers h2, and otherwise HTTP/1.1. An HTTP/2
// connection serves any number of requests, whose answers it tells apart by the numbers
// of their streams. An HTTP/1.1 connection serves one request: what a target sends
// behind an answer never reaches another one. learned, if not nil, is told what each
// target has chosen. Each round trip waits for an answer's header for headerTimeout at
// most, once the request is sent; zero means without limit. open, if not nil, has the number of
// connections that are open. The caller owns the transport, bounds the number of its round trips, and closes its idle connections.
func NewTransport(dialer *Dialer, learned *Protocol, headerTimeout time.Duration, open *atomic.Int64) *http.Transport {
	return &http.Transport{
		// No Proxy: HTTP_PROXY and its kin must not send tokens elsewhere.
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dialer.dialPlain(ctx, network, address, open)
		},
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dialer.dialTLS(ctx, network, address, learned, open)
		},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: -1, // no HTTP/1.1 connection is kept; this does not concern HTTP/2
		HTTP2: &http.HTTP2Config{
			// A connection on which nothing comes any more is given up after 15 s in all. Without
			// that a dead one fails all requests for minutes.
			SendPingTimeout: 10 * time.Second,
			PingTimeout:     5 * time.Second,
			// The defaults of net/http are 4 MiB and 1 GiB.
			MaxReceiveBufferPerStream:     streamBuffer,
			MaxReceiveBufferPerConnection: connBuffer,
		},
		IdleConnTimeout:        idleTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxAnswerHead,
		// The Transport would ask for gzip and unpack it when the app did not
		// ask: other bytes than the target sent, and a bomb unpacked here.
		DisableCompression: true,
	}
}

// dialPlain opens a connection without TLS, and counts it if it is one of the operating
// system. It blocks as DialContext does.
func (d *Dialer) dialPlain(ctx context.Context, network, address string, open *atomic.Int64) (net.Conn, error) {
	raw, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c, ok := raw.(halfCloser)
	if !ok {
		return raw, nil
	}
	if open == nil {
		open = new(atomic.Int64)
	}
	d.open.Add(1)
	d.opened.Add(1)
	open.Add(1)
	return transportConn{c, sync.OnceFunc(func() {
		d.open.Add(-1)
		open.Add(-1)
	})}, nil
}

// dialTLS opens a connection with TLS, and tells learned, unless that is nil, what the
// target chose to speak. It blocks as dialPlain and handshake do. The result is a
// *tls.Conn: net/http looks for one, to learn whether HTTP/2 was chosen.
func (d *Dialer) dialTLS(ctx context.Context, network, address string, learned *Protocol, open *atomic.Int64) (net.Conn, error) {
	raw, err := d.dialPlain(ctx, network, address, open)
	if err != nil {
		return nil, err
	}
	c, err := d.handshake(ctx, raw, address)
	if err != nil {
		return nil, err
	}
	if learned != nil {
		learned.setChosen(c.ConnectionState().NegotiatedProtocol == "h2")
	}
	return c, nil
}

// transportConn is a connection of a transport. It is counted, and hides that the target no
// longer reads: a target may answer a request, with 413 for instance, and close the
// connection before it has read all of the body. Writing then fails, and net/http would
// throw the answer away that has come already. Since a transportConn reports no such
// failure, reading tells how the exchange ended: by an answer, or by the same error.
type transportConn struct {
	halfCloser
	closed func() // takes it off the count, once
}

// halfCloser is a connection that a transportConn can stand for: one direction of it can be
// ended, as an upgraded connection needs. Those of TCP can; others are neither counted, nor
// are failures to write hidden.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// Close implements [net.Conn].
func (c transportConn) Close() error {
	c.closed()
	return c.halfCloser.Close()
}

// Write implements [net.Conn].
func (c transportConn) Write(b []byte) (int, error) {
	n, err := c.halfCloser.Write(b)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return len(b), nil
	}
	return n, err
}
