package targetconn

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
)

// perTransport is how many requests have one [Transport] at a time, and so usually one connection:
// what all of their apps leave unread fits into its buffer, and no answer has to wait for somebody
// who does not read another one.
const perTransport = connBuffer / streamBuffer

// Transports are all that the requests to one target have. Requests share a Transport, and with it
// a connection if the target speaks HTTP/2, as long as it serves fewer than 64. Only when all do is there
// another one. It is safe for concurrent use.
type Transports struct {
	fresh    func(open *atomic.Int64) *http.Transport
	protocol *Protocol

	mu      sync.Mutex // guards all below, and what is said so of each Transport; it is never held over I/O
	all     []*Transport
	waiting int           // requests that wait for somebody else's connection
	room    chan struct{} // closed when one of them may have room; another one follows
}

// Transport is one of [Transports].
type Transport struct {
	*http.Transport
	of   *Transports
	open atomic.Int64 // connections

	serves, waits int     // requests; guarded by of.mu, as is all below
	asking        *asking // nil if no request opens the first connection now
}

// asking is a request that opens the first connection of a Transport, while others wait for it.
type asking struct {
	ended  chan struct{} // closed when it has a connection, or has given up
	failed bool          // none is to be had; set before
}

// NewTransports returns Transports that fresh makes. Each counts its connections in open and tells
// protocol what the target chooses to speak.
func NewTransports(protocol *Protocol, fresh func(open *atomic.Int64) *http.Transport) *Transports {
	return &Transports{fresh: fresh, protocol: protocol, room: make(chan struct{})}
}

// Take returns a Transport for one request, which the caller must give back with Release once the
// body of the answer is closed.
//
// Of the requests that have a Transport without a connection one goes ahead of the others, so that
// they can share what it opens if that speaks HTTP/2. For the others Take blocks until the first one
// has called asked, there is room on another connection, or ctx ends. Every caller must call asked as
// soon as it has a connection, and once none is to be had; it may be called more than once.
func (s *Transports) Take(ctx context.Context) (t *Transport, asked func(connected bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		t = s.find()
		switch {
		case t.shares():
			t.serves++
			return t, func(bool) {}
		case t.asking == nil:
			t.serves++
			first := &asking{ended: make(chan struct{})}
			t.asking = first
			return t, func(connected bool) { t.asked(first, !connected && ctx.Err() == nil) }
		}
		if first := t.asking; !t.wait(ctx, first) || first.failed {
			t.serves++ // it finds out by itself
			return t, func(bool) {}
		}
	}
}

// find returns the first Transport with room on a connection, or else the first with room for a
// request that opens one or waits for that. The caller holds the lock.
func (s *Transports) find() *Transport {
	var next *Transport
	for _, t := range s.all {
		switch room := t.serves+t.waits < perTransport; {
		case t.serves < perTransport && t.shares():
			return t
		case room && next == nil && !t.shares():
			next = t
		}
	}
	if next == nil {
		next = &Transport{of: s}
		next.Transport = s.fresh(&next.open)
		s.all = append(s.all, next)
	}
	return next
}

// shares reports whether another request need not wait for a connection: there is one, or each has its own.
// The caller holds the lock.
func (t *Transport) shares() bool {
	return t.of.protocol.HTTP1() || t.asking == nil && t.open.Load() > 0
}

// wait waits until another request has a connection, or there is room elsewhere. It reports false
// if ctx has ended. The caller holds the lock, and has it again afterwards, but not meanwhile.
func (t *Transport) wait(ctx context.Context, first *asking) bool {
	s := t.of
	t.waits++
	s.waiting++
	room := s.room
	s.mu.Unlock()
	select {
	case <-first.ended:
	case <-room:
	case <-ctx.Done():
	}
	s.mu.Lock()
	t.waits--
	s.waiting--
	return ctx.Err() == nil
}

// asked lets the requests go on that wait for the one that opens the first connection. If that has
// failed each finds out by itself, and else, as when its app has left, another one asks.
func (t *Transport) asked(first *asking, failed bool) {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	if t.asking == first {
		first.failed = failed
		close(first.ended)
		t.asking = nil
	}
}

// Release gives a Transport back, for one request.
func (t *Transport) Release() {
	s := t.of
	s.mu.Lock()
	defer s.mu.Unlock()
	t.serves--
	if s.waiting > 0 {
		close(s.room)
		s.room = make(chan struct{})
	}
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
