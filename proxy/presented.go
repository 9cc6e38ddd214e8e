package proxy

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"

	"token-sidecar/metrics"
	"token-sidecar/proxy/internal/targetconn"
	"token-sidecar/upstream"
)

// connectionSet are the connections to one target that present one client certificate, or
// none. A token may be bound to the certificate that it was issued under (RFC 8705 section
// 3), so the token decides which set a request uses. It is safe for concurrent use.
type connectionSet struct {
	kept     *targetconn.Pool[upstream.Key] // HTTP/1.1, for the lean way
	dialers  [2]*targetconn.Dialer          // of requests and upgrades
	requests *targetconn.Transports         // for what goes the general way, but for the next two
	uploads  *http.Transport                // opens a connection for each upload
	upgrades *http.Transport                // HTTP/1.1 only, since HTTP/2 has no upgrades
}

// newConnectionSet returns the set that presents certificate, which may be nil. No connection
// is open yet. makeRoom is called before one is opened.
func newConnectionSet(c Config, makeRoom func(), r upstream.Route, protocol *targetconn.Protocol, certificate *upstream.ClientCertificate) *connectionSet {
	both := targetconn.NewDialer(c.Roots, certificate.TLS(), "h2", "http/1.1")
	http1 := targetconn.NewDialer(c.Roots, certificate.TLS(), "http/1.1")
	for _, d := range []*targetconn.Dialer{both, http1} {
		dial := c.Egress.Through(d.DialContext)
		d.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			makeRoom()
			return dial(ctx, network, address)
		}
	}
	return &connectionSet{
		kept:    targetconn.NewPool[upstream.Key](http1, r.Target, protocol),
		dialers: [2]*targetconn.Dialer{both, http1},
		requests: targetconn.NewTransports(protocol, func(open *atomic.Int64) *http.Transport {
			return targetconn.NewTransport(both, protocol, c.TargetTimeout, open)
		}),
		uploads:  targetconn.NewTransport(both, protocol, c.TargetTimeout, nil),
		upgrades: targetconn.NewTransport(http1, nil, c.TargetTimeout, nil),
	}
}

// closeIdle closes the connections that no request uses now. Kept ones that are in use are
// closed after that.
func (w *connectionSet) closeIdle() {
	w.kept.CloseIdle()
	w.requests.CloseIdle()
}

// freeIdle closes the connections that no request uses now. Others will be kept.
func (w *connectionSet) freeIdle() {
	w.kept.FreeIdle()
	w.requests.CloseIdle()
}

// addTo adds the numbers of these connections to sum.
func (w *connectionSet) addTo(sum *metrics.Connections) {
	kept := w.kept.Figures()
	sum.InUse, sum.Idle, sum.Opened = sum.InUse+kept.InUse, sum.Idle+kept.Idle, sum.Opened+kept.Opened
	for _, d := range w.dialers {
		open, opened := d.Figures()
		sum.Shared, sum.Opened = sum.Shared+open, sum.Opened+opened
	}
	sum.Distrusted = sum.Distrusted || kept.Distrusted
}

// connectionSets are the connections to one target: those that present no client certificate,
// those of the client certificate in use, and those of the one before it, for requests that
// had their token already when it was replaced.
type connectionSets struct {
	plain *connectionSet // that presents none
	fresh func(certificate *upstream.ClientCertificate) *connectionSet

	latest atomic.Pointer[presented] // nil: no token was bound to a certificate yet
	opened atomic.Uint64             // connections of certificates that are forgotten
}

// presented is the set of one client certificate.
type presented struct {
	*connectionSet
	certificate *upstream.ClientCertificate
	before      *presented // of the certificate before; nil: there was none, or it is forgotten
}

// of returns the connections over which token may be sent: those that present the client
// certificate under which it was issued. If that has just come into use, the set is made. Of
// the set before, the requests under way go on, and no connection is kept after them.
func (c *connectionSets) of(token upstream.Token) *connectionSet {
	certificate := token.Certificate()
	if certificate == nil {
		return c.plain
	}
	latest := c.latest.Load()
	for p := latest; p != nil; p = p.before {
		if p.certificate == certificate {
			return p.connectionSet
		}
	}
	if !certificate.InUse() { // it was replaced twice since the request got its token
		w := c.fresh(certificate)
		w.closeIdle()
		return w
	}
	next := &presented{connectionSet: c.fresh(certificate), certificate: certificate}
	if latest != nil {
		next.kept.Distrust(latest.kept)
		next.before = &presented{connectionSet: latest.connectionSet, certificate: latest.certificate}
	}
	if !c.latest.CompareAndSwap(latest, next) {
		return c.of(token)
	}
	if latest != nil {
		latest.closeIdle()
		if latest.before != nil {
			var gone metrics.Connections
			latest.before.addTo(&gone)
			c.opened.Add(gone.Opened)
		}
	}
	return next.connectionSet
}

// closeIdle closes the connections that no request uses now.
func (c *connectionSets) closeIdle() {
	c.plain.closeIdle()
	for p := c.latest.Load(); p != nil; p = p.before {
		p.closeIdle()
	}
}

// freeIdle closes the connections that no request uses now. Others will be kept.
func (c *connectionSets) freeIdle() {
	c.plain.freeIdle()
	for p := c.latest.Load(); p != nil; p = p.before {
		p.freeIdle()
	}
}

// addTo adds the numbers of these connections to sum.
func (c *connectionSets) addTo(sum *metrics.Connections) {
	c.plain.addTo(sum)
	sum.Opened += c.opened.Load()
	for p := c.latest.Load(); p != nil; p = p.before {
		p.connectionSet.addTo(sum)
	}
}
