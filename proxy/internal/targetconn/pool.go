// Package targetconn opens, keeps and judges the connections to targets. It knows
// addresses, certificate authorities, timeouts and connections. It does not know
// what the requests are about that are sent on them.
//
// There are two kinds of connections. Those of a [Pool] speak HTTP/1.1, and the
// caller writes requests and reads answers itself, one exchange at a time, without
// any goroutine in between. Those of an [http.Transport] serve all other requests: they
// speak HTTP/2, where stream numbers tell whose an answer is, or serve one request each.
//
// The files, in the order in which a request meets them:
//
//   - try.go is none of a request's: it opens a connection only to see whether that works.
//   - pool.go hands out the connections of a Pool and takes them back; idle.go has the order
//     of those that nobody uses now.
//   - transports.go spreads requests over several of http.Transport, so that none has to wait for
//     what others do not read; transport.go makes one, and what its connections have in common.
//   - dial.go opens a connection of either kind.
//   - conn.go is a connection of a Pool, which the caller writes to and reads from; answer.go reads
//     the head of an answer.
//   - records.go lies below TLS and knows whether what was read of it ends with
//     a whole record.
//   - protocol.go knows whether a target speaks HTTP/2 or HTTP/1.1.
//
// Package peek, below this one, finds out whether a kept connection is still good.
package targetconn

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/url"
	"sync"
	"time"
)

const (
	maxIdle     = 512              // idle connections to one target, of all keys together
	idleTimeout = 60 * time.Second // an idle connection is closed after this time
	distrustFor = time.Hour        // a target that sent bytes unasked has no connection kept for this time
)

// Pool keeps the HTTP/1.1 connections to one target. Bytes that a target sends after
// its answer are taken for the answer to the next request on that connection, and no
// look at the connection finds those that are still on their way. Therefore:
//
//   - a kept connection serves only requests of one key, so that what is mixed up is
//     never somebody else's;
//   - once a target was seen to send bytes unasked, none of its connections is kept for
//     an hour.
//
// Of the connections of a key it hands out the one that was used last, so that those
// that are only needed at busy times grow old and are closed. It is safe for concurrent
// use.
type Pool[K comparable] struct {
	// Dialer opens the connections. It must offer no other protocol than http/1.1,
	// and stays the same once Get was called.
	Dialer *Dialer

	// Unasked, if not nil, is called when the target was seen to send bytes unasked,
	// but not while connections are not kept for that reason already. It must not
	// block, and stays the same once Get was called.
	Unasked func()

	protocol *Protocol
	address  string // host and port
	tls      bool   // the target speaks TLS

	mu            sync.Mutex // guards all below; it is never held over I/O
	idle          idleConns[K]
	open          int         // connections in use and idle, and those being opened
	opened        uint64      // connections opened so far
	distrustUntil time.Time   // until then no connection is kept
	sweep         *time.Timer // runs sweepIdle; nil if there is no need
	closed        bool        // connections are no longer kept
}

// NewPool returns a Pool without connections. They will be opened by dialer, to the
// scheme, host and port of target. The port may be missing: then it is that of the
// scheme, which is http or https (RFC 9110 sections 4.2.1 and 4.2.2). protocol is what
// is known of the target.
func NewPool[K comparable](dialer *Dialer, target *url.URL, protocol *Protocol) *Pool[K] {
	return &Pool[K]{Dialer: dialer, protocol: protocol, address: Address(target), tls: target.Scheme == "https"}
}

// Address returns host and port of target, whose scheme is http or https.
func Address(target *url.URL) string {
	port := "443"
	if target.Scheme == "http" {
		port = "80"
	}
	return net.JoinHostPort(target.Hostname(), cmp.Or(target.Port(), port))
}

// Figures are the numbers of connections of a Pool at one moment.
type Figures struct {
	InUse, Idle int    // now; those being opened are in use
	Opened      uint64 // so far, with attempts that failed
	Distrusted  bool   // the target sent bytes unasked within the last hour, so none is kept
}

// Figures returns the numbers of now. It does not block.
func (p *Pool[K]) Figures() Figures {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Figures{p.open - p.idle.count, p.idle.count, p.opened, time.Now().Before(p.distrustUntil)}
}

// Get returns a connection for a request of the given key. The caller owns it until it
// gives it to Put or to Drop; it must do one of them, once. If kept is true this is an
// idle connection of the key if there is one that the target has neither closed nor
// sent anything on. Otherwise Get opens a connection and blocks until that is done, for
// 20 s at most and no longer than ctx lives. How many connections are in use at a time
// is up to the caller. Get returns ErrNotHTTP1, or what went wrong with the connection:
// an error of package net, of crypto/tls or of ctx.
func (p *Pool[K]) Get(ctx context.Context, key K, kept bool) (*Conn, error) {
	for kept {
		c := p.popIdle(key)
		if c == nil {
			break
		}
		if c.untouched() {
			c.reused = true
			return c, nil
		}
		c.checkUnasked()
		p.Drop(c)
	}
	if p.protocol.RefusesHTTP1() {
		return nil, ErrNotHTTP1
	}
	p.addOpen(1)
	c, err := p.dial(ctx)
	if err != nil {
		p.addOpen(-1)
		if errors.Is(err, ErrNotHTTP1) {
			p.protocol.setRefused()
		}
		return nil, err
	}
	c.idleEntry = &idleEntry[K]{conn: c, key: key}
	return c, nil
}

// popIdle removes from the idle connections the one of the key that was used last, and
// returns it. It returns nil if there is none.
func (p *Pool[K]) popIdle(key K) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	newest := p.idle.newest[key]
	if newest == nil {
		return nil
	}
	p.idle.remove(newest)
	return newest.conn
}

// addOpen counts a connection that is about to be opened, for n of 1, or one that is no
// more, for n of -1.
func (p *Pool[K]) addOpen(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open += n; n > 0 {
		p.opened++
	}
}

// Put takes c back, to hand it out again. The connection must be in the state in
// which Get returned it, or [Conn.Finish] must have returned true for it. If enough
// connections are idle the one that was idle for longest is closed. Put does not block.
func (p *Pool[K]) Put(c *Conn) {
	if surplus := p.keep(c); surplus != nil {
		p.Drop(surplus)
	}
}

// keep adds c to the idle connections. It returns the one that is to be dropped for it,
// which may be c itself, or nil.
func (p *Pool[K]) keep(c *Conn) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.closed || now.Before(p.distrustUntil) {
		return c
	}
	p.idle.add(c.idleEntry.(*idleEntry[K]), now)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(idleTimeout, p.sweepIdle)
	}
	if p.idle.count <= maxIdle {
		return nil
	}
	oldest := p.idle.oldest()
	p.idle.remove(oldest)
	return oldest.conn
}

// Drop closes c, in whatever state it is, and forgets it. If the target was seen to
// send bytes unasked on it, all idle connections are closed too, and none is kept for
// an hour. Drop does not block.
func (p *Pool[K]) Drop(c *Conn) {
	c.close()
	p.addOpen(-1)
	if c.unasked {
		p.distrust()
	}
}

// distrust closes the idle connections, and keeps none for an hour.
func (p *Pool[K]) distrust() {
	now := time.Now()
	p.mu.Lock()
	news := !now.Before(p.distrustUntil)
	p.distrustUntil = now.Add(distrustFor)
	idle := p.removeIdle(0)
	p.mu.Unlock()
	for _, c := range idle {
		p.Drop(c)
	}
	if news && p.Unasked != nil {
		p.Unasked()
	}
}

// Distrust has p keep no connection for as long as other, a Pool of the same target, keeps
// none because the target sent bytes unasked. It does not block.
func (p *Pool[K]) Distrust(other *Pool[K]) {
	other.mu.Lock()
	until := other.distrustUntil
	other.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.distrustUntil = until
}

// sweepIdle closes the connections that were idle for too long, and comes back later if
// any are left. It also is the look at what the target sent on connections that no
// request comes for.
func (p *Pool[K]) sweepIdle() {
	p.mu.Lock()
	old := p.removeIdle(idleTimeout)
	p.sweep = nil
	if p.idle.count > 0 {
		p.sweep = time.AfterFunc(idleTimeout, p.sweepIdle)
	}
	p.mu.Unlock()
	for _, c := range old {
		if !c.untouched() {
			c.checkUnasked()
		}
		p.Drop(c)
	}
}

// FreeIdle closes all idle connections. It does not block.
func (p *Pool[K]) FreeIdle() {
	p.mu.Lock()
	idle := p.removeIdle(0)
	p.mu.Unlock()
	for _, c := range idle {
		p.Drop(c)
	}
}

// CloseIdle closes all idle connections, and has Put close those that are in use
// now and any later one: the Pool still opens connections, but keeps none. It does
// not block.
func (p *Pool[K]) CloseIdle() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.FreeIdle()
}

// removeIdle removes the connections that have been idle for at least so long, and returns
// them. The caller holds mu, and drops them without it.
func (p *Pool[K]) removeIdle(atLeast time.Duration) (removed []*Conn) {
	for oldest := p.idle.oldest(); oldest != nil && time.Since(oldest.since) >= atLeast; oldest = p.idle.oldest() {
		p.idle.remove(oldest)
		removed = append(removed, oldest.conn)
	}
	if p.idle.count == 0 && p.sweep != nil {
		p.sweep.Stop()
		p.sweep = nil
	}
	return removed
}
