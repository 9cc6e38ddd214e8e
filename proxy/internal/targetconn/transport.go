package targetconn

import (
	"context"
	"net"
	"net/http"
	"time"
)

// NewTransport returns a transport whose connections dialer opens. It speaks HTTP/2 to
// targets that choose it, if dialer offers h2, and otherwise HTTP/1.1. Each round trip
// waits for an answer's header for headerTimeout at most, once the request is sent; zero
// means without limit. The caller owns the transport, and closes its idle connections.
func NewTransport(dialer *Dialer, headerTimeout time.Duration) *http.Transport {
	return &http.Transport{
		// No Proxy: HTTP_PROXY and its kin must not send tokens elsewhere.
		DialContext:            dialer.dialPlain,
		DialTLSContext:         dialer.dialTLS,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second}, // else a dead connection fails all requests for minutes
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdle,
		MaxConnsPerHost:        maxConns,
		IdleConnTimeout:        idleTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxAnswerHead,
		// The Transport would ask for gzip and unpack it when the app did not
		// ask: other bytes than the target sent, and a bomb unpacked here.
		DisableCompression: true,
	}
}

// dialPlain opens a connection without TLS. It blocks as DialContext does.
func (d *Dialer) dialPlain(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w := newWire(raw)
	return &transportConn{w, w}, nil
}

// dialTLS opens a connection with TLS. It blocks as DialContext and handshake do. For
// HTTP/2 the result is a *tls.Conn: net/http looks for one, to learn what was chosen.
func (d *Dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w := newWire(raw)
	w.records = &records{Conn: w}
	c, err := d.handshake(ctx, w.records, address)
	if err != nil {
		return nil, err
	}
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		return c, nil
	}
	return &transportConn{c, w}, nil
}
