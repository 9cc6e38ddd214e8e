package targetconn

import (
	"context"
	"net/http"
	"sync"
)

// perTransport is how many requests have one [Transport] at a time, and so one connection at
// most: what all of their apps leave unread fits into its buffer, and no answer has to wait
// for somebody who does not read another one.
const perTransport = connBuffer / streamBuffer

// Transports are all that the requests to one target have. Requests share a Transport, and with it
// a connection if the target speaks HTTP/2, as long as it serves fewer than 64. Only when all do is there
// another one. It is safe for concurrent use.
type Transports struct {
	fresh    func() *http.Transport
	protocol *Protocol

	mu  sync.Mutex // guards all below, and what is said so of each Transport; it is never held over I/O
	all []*Transport
}

// Transport is one of [Transports].
type Transport struct {
	*http.Transport
	of *Transports

	serves    int           // requests; guarded by of.mu, as is all below
	connected bool          // a request has had a connection
	asking    chan struct{} // closed when the request that opens the first connection has done so, or failed; nil if there is none
}

// NewTransports returns Transports that fresh makes, whose connections tell protocol what the
// target chooses to speak.
func NewTransports(protocol *Protocol, fresh func() *http.Transport) *Transports {
	return &Transports{fresh: fresh, protocol: protocol}
}

// Take returns a Transport for one request, which the caller must give back with Release once the
// body of the answer is closed.
//
// Of the requests that have a Transport without a connection one goes ahead of the others, so that
// they can share what it opens if that speaks HTTP/2. For the others Take blocks until the first one
// has called asked, or until ctx ends. Every caller must call that as soon as it has a connection,
// and once none is to be had; it may be called more than once.
func (s *Transports) Take(ctx context.Context) (t *Transport, asked func(connected bool)) {
	s.mu.Lock()
	t = s.free()
	t.serves++
	ahead, alone := t.asking, t.connected || s.protocol.HTTP1()
	if !alone && ahead == nil {
		t.asking = make(chan struct{})
		s.mu.Unlock()
		return t, t.asked
	}
	s.mu.Unlock()
	if !alone {
		select {
		case <-ahead:
		case <-ctx.Done():
		}
	}
	return t, func(bool) {}
}

// free returns the first Transport that has room for another request. The caller holds the lock.
func (s *Transports) free() *Transport {
	for _, t := range s.all {
		if t.serves < perTransport {
			return t
		}
	}
	t := &Transport{Transport: s.fresh(), of: s}
	s.all = append(s.all, t)
	return t
}

// asked lets the requests go on that wait for the one that opens the first connection.
func (t *Transport) asked(connected bool) {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	if t.connected = t.connected || connected; t.asking != nil {
		close(t.asking)
		t.asking = nil
	}
}

// Release gives a Transport back, for one request.
func (t *Transport) Release() {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.serves--
}

// CloseIdle closes the connections that no request uses now. It does not block.
func (s *Transports) CloseIdle() {
	s.mu.Lock()
	all := s.all // only ever grows
	s.mu.Unlock()
	for _, t := range all {
		t.CloseIdleConnections()
	}
}
