package http1

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// reference is a server of net/http, with the settings of the sidecar's own that say what it takes.
type reference struct {
	server http.Server
	conns  chan net.Conn
	served sync.WaitGroup
}

// newReference starts a reference, which the caller closes.
func newReference() *reference {
	r := &reference{conns: make(chan net.Conn)}
	r.server = http.Server{
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, in *http.Request) {
			in.Context().Value(sentKey{}).(*sent).request = in
			panic(http.ErrAbortHandler) // ends the connection at once
		}),
		ConnContext:                  func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, sentKey{}, c) },
		MaxHeaderBytes:               1 << 20,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(io.Discard, "", 0),
	}
	r.served.Go(func() { _ = r.server.Serve(listener{r.conns}) })
	return r
}

func (r *reference) close() {
	_ = r.server.Close()
	r.served.Wait()
}

// serve has the server read b, which is all that comes over a connection. It returns the request that
// has reached the handler, or nil and what the server has answered by itself.
func (r *reference) serve(b []byte) (*http.Request, string) {
	c := &sent{Reader: bytes.NewReader(b), closed: make(chan struct{})}
	r.conns <- c
	<-c.closed
	return c.request, c.answer.String()
}

// listener hands out the connections of a channel. That stays open: the last Accept ends with Close.
type listener struct{ conns chan net.Conn }

func (l listener) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l listener) Close() error { close(l.conns); return nil }
func (listener) Addr() net.Addr { return &net.TCPAddr{} }

type sentKey struct{}

// sent is a connection over which some bytes come, and then the end.
type sent struct {
	*bytes.Reader
	answer  bytes.Buffer
	request *http.Request // as it reached the handler
	closed  chan struct{}
	once    sync.Once
}

func (c *sent) Read(b []byte) (int, error)     { return c.Reader.Read(b) }
func (c *sent) Write(b []byte) (int, error)    { return c.answer.Write(b) }
func (c *sent) Close() error                   { c.once.Do(func() { close(c.closed) }); return nil }
func (*sent) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*sent) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*sent) SetDeadline(time.Time) error      { return nil }
func (*sent) SetReadDeadline(time.Time) error  { return nil }
func (*sent) SetWriteDeadline(time.Time) error { return nil }
