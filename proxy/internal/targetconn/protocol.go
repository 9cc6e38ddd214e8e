package targetconn

import (
	"errors"
	"net/url"
	"sync"
	"sync/atomic"
)

// ErrNotHTTP1 is the error of [Pool.Get] that says that the target has not chosen
// HTTP/1.1 over TLS when that was offered. An [http.Transport] can still serve the request.
var ErrNotHTTP1 = errors.New("the target does not speak HTTP/1.1")

// Protocol is what is known of the protocol that a target chooses if it is offered
// both HTTP/2 and HTTP/1.1 (ALPN, RFC 7301). It is safe for concurrent use.
type Protocol struct {
	refused atomic.Bool // the target did not choose HTTP/1.1 when only that was offered

	mu    sync.Mutex // guards all below; it is never held over I/O
	known bool
	http2 bool // what the target has chosen, if it is known
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

// RefusesHTTP1 reports whether the target is known not to speak HTTP/1.1. It takes no lock.
func (p *Protocol) RefusesHTTP1() bool { return p.refused.Load() }

// setChosen records what the target has chosen of both.
func (p *Protocol) setChosen(http2 bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known, p.http2 = true, http2
	if !http2 {
		p.refused.Store(false)
	}
}

// setRefused records that the target did not choose HTTP/1.1 when only that was offered.
// Unless it is known to choose HTTP/2, the next request that offers both finds out again.
func (p *Protocol) setRefused() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = p.known && p.http2
	p.refused.Store(true)
}
