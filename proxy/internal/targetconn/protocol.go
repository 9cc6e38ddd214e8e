package targetconn

import (
	"context"
	"net/url"
	"sync"
)

// Protocol is what is known of the protocol that a target chooses if it is offered
// both HTTP/2 and HTTP/1.1 (ALPN, RFC 7301). It is safe for concurrent use.
type Protocol struct {
	mu     sync.Mutex // guards all below; it is never held over I/O
	known  bool
	http2  bool
	asking chan struct{} // closed when the request that finds out has done so, or failed; nil if there is none
}

// NewProtocol returns what is known of target before the first connection: nothing, but
// that it speaks HTTP/1.1 if it does not speak TLS.
func NewProtocol(target *url.URL) *Protocol {
	return &Protocol{known: target.Scheme == "http"}
}

// HTTP1 reports whether the target is known to choose HTTP/1.1.
func (p *Protocol) HTTP1() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known && !p.http2
}

// set notes what the target has chosen.
func (p *Protocol) set(http2 bool) {
	p.mu.Lock()
	p.known, p.http2 = true, http2
	p.mu.Unlock()
}

// forget has the next request find out again.
func (p *Protocol) forget() {
	p.mu.Lock()
	p.known = false
	p.mu.Unlock()
}

// Ask lets one request go ahead of the others while nothing is known of the target, so
// that they can share its connection if that turns out to speak HTTP/2. It returns at
// once for that request, and for any once something is known. For the others it blocks
// until the first one has called the function that Ask returned to it, or until ctx
// ends. Every caller must call the function, as soon as it has a connection or none is
// to be had. It may be called more than once.
func (p *Protocol) Ask(ctx context.Context) (done func()) {
	p.mu.Lock()
	first := p.asking
	if p.known || first != nil {
		p.mu.Unlock()
		if first != nil {
			select {
			case <-first:
			case <-ctx.Done():
			}
		}
		return func() {}
	}
	mine := make(chan struct{})
	p.asking = mine
	p.mu.Unlock()
	return sync.OnceFunc(func() {
		p.mu.Lock()
		p.asking = nil
		p.mu.Unlock()
		close(mine)
	})
}
