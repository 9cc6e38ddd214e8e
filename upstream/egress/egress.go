// Package egress opens connections to the outside through an HTTP proxy, by the method
// CONNECT (RFC 9110 section 9.3.6). What goes over such a connection is the same as
// without the proxy: TLS is spoken with the remote side, and with nobody else.
//
// egress.go chooses between the proxy and the direct way, and asks the proxy for a
// tunnel; direct.go is the list of hosts that are reached directly. The package imports
// nothing of the program, so that token endpoints and targets both use it.
package egress

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	answerTimeout = 10 * time.Second // from the connection to the proxy until the tunnel stands
	maxHead       = 64 << 10         // bytes of the proxy's answer
)

// Proxy is an HTTP proxy that connections go through. A nil Proxy is none: then all
// connections are direct. It is read-only, and safe for concurrent use.
type Proxy struct {
	// Address is host and port of the proxy.
	Address string
	// Credentials, if not nil, returns the current user:password, or an empty text for
	// none. It is called for each connection, concurrently, and must not block.
	Credentials func() string
	// Direct holds the hosts that are reached without the proxy, beside loopback.
	Direct Direct
}

// DialFunc opens a connection, as [net.Dialer.DialContext] does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Through returns a function that opens connections through p, or directly where p is nil
// or the host is one of Direct. It opens TCP connections with dial, which may be called
// concurrently. The name of a host that is reached through p is looked up by the proxy.
//
// The function blocks as dial does, then for 10 s at most until the tunnel stands. Its
// result is the very connection that dial returned. Where the proxy was needed and did not
// help, the error is an *Error.
func (p *Proxy) Through(dial DialFunc) DialFunc {
	if p == nil {
		return dial
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		switch {
		case err != nil:
			return nil, &Error{err: err}
		case p.Direct.Has(host):
			return dial(ctx, network, address)
		}
		conn, err := dial(ctx, network, p.Address)
		if err != nil {
			return nil, &Error{err: err}
		}
		if err := p.connect(ctx, conn, address); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return conn, nil
	}
}

// connect asks the proxy, which is the other side of conn, for a tunnel to address.
func (p *Proxy) connect(ctx context.Context, conn net.Conn, address string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	status, err := p.exchange(conn, address)
	if !stop() {
		err = ctx.Err() // the reading that failed says no more than that
	}
	if err != nil || status/100 != 2 {
		return &Error{Status: status, err: err}
	}
	return nil
}

// exchange sends the request for a tunnel and reads the head of the answer, and nothing
// behind it. It returns the status of the answer, zero if there was none.
func (p *Proxy) exchange(conn net.Conn, address string) (int, error) {
	if strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return 0, errors.New("the address cannot stand in a request line")
	}
	request := "CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\nUser-Agent: token-sidecar\r\n"
	if p.Credentials != nil {
		if c := p.Credentials(); c != "" { // RFC 7617 section 2
			request += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(c)) + "\r\n"
		}
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return 0, err
	}
	in := bufio.NewReader(io.LimitReader(conn, maxHead))
	for {
		answer, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
		switch {
		case err != nil:
			return 0, err
		case answer.StatusCode/100 == 1 && answer.StatusCode != http.StatusSwitchingProtocols:
			continue // informational: the answer is still to come
		case answer.StatusCode/100 == 2 && in.Buffered() > 0:
			// The remote side says nothing before it was asked, so this is the proxy's.
			return 0, errors.New("the proxy sent more than the head of its answer")
		}
		return answer.StatusCode, nil
	}
}

// Error says that the proxy opened no tunnel. Its text holds neither addresses nor
// anything that the proxy sent.
type Error struct {
	Status int   // that the proxy answered with; zero if there was no usable answer
	err    error // why there was none; nil if there was one
}

// Error implements [error].
func (e *Error) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("the egress proxy answered %d", e.Status)
	}
	return "no connection through the egress proxy"
}

// Unwrap returns why there was no usable answer, nil if there was one.
func (e *Error) Unwrap() error { return e.err }
