package proxy

import (
	"context"
	"net/http"
	"time"

	"token-sidecar/metrics"
	"token-sidecar/proxy/internal/targetconn"
	"token-sidecar/upstream"
)

// connections are those to one target, and the places for exchanges with it. The routes of
// an upstream that have the same target share them. Its methods are safe for concurrent use.
type connections struct {
	upstream string                         // its name
	kept     *targetconn.Pool[upstream.Key] // HTTP/1.1, for the lean way
	protocol *targetconn.Protocol           // what the target chooses to speak
	dialers  [2]*targetconn.Dialer          // of requests and upgrades
	requests *http.Transport                // for what goes the general way, except upgrades
	upgrades *http.Transport                // HTTP/1.1 only, since HTTP/2 has no upgrades

	slots struct{ requests, uploads, upgrades slots }
}

// How many exchanges with one target go on at a time.
const (
	maxRequests = 2048 // requests with no body, or with a small one that is here already
	maxUploads  = 256  // requests whose body is sent on as it comes
	maxUpgrades = 1024 // upgraded connections
)

// newConnections returns the connections to the target of r, none of which is open yet.
func newConnections(c Config, r upstream.Route, upstreamName string, series *metrics.Upstream) *connections {
	protocol := targetconn.NewProtocol(r.Target)
	both, http1 := targetconn.NewDialer(c.Roots, "h2", "http/1.1"), targetconn.NewDialer(c.Roots, "http/1.1")
	for _, d := range []*targetconn.Dialer{both, http1} {
		d.DialContext = c.Egress.Through(d.DialContext)
	}
	to := &connections{
		upstream: upstreamName,
		kept:     targetconn.NewPool[upstream.Key](http1, r.Target, protocol),
		protocol: protocol,
		dialers:  [2]*targetconn.Dialer{both, http1},
		requests: targetconn.NewTransport(both, protocol, c.TargetTimeout),
		upgrades: targetconn.NewTransport(http1, nil, c.TargetTimeout),
	}
	to.slots.requests, to.slots.uploads, to.slots.upgrades = make(slots, maxRequests), make(slots, maxUploads), make(slots, maxUpgrades)
	to.kept.Unasked = func() {
		series.UnaskedBytes()
		c.Log.Warn().Str("upstream", upstreamName).Str("target", r.Target.Host).
			Msg("the target sent bytes that belong to no answer; for an hour each HTTP/1.1 request to it has a connection of its own")
	}
	return to
}

// lean reports whether requests of r may use kept HTTP/1.1 connections. Where a route
// takes a subject they may only if the target does not speak HTTP/2: that tells the
// answers of all subjects apart, and one connection serves them all.
func (c *connections) lean(r *route) bool {
	return r.Subject == upstream.SubjectRefused || c.protocol.HTTP1()
}

// slotsFor returns the slots of which a request needs one: an upload is a request whose
// body is sent on as it comes.
func (c *connections) slotsFor(upload, upgrade bool) slots {
	switch {
	case upgrade:
		return c.slots.upgrades
	case upload:
		return c.slots.uploads
	}
	return c.slots.requests
}

// closeIdle closes the connections that no request uses now.
func (c *connections) closeIdle() {
	c.kept.CloseIdle()
	c.requests.CloseIdleConnections()
	c.upgrades.CloseIdleConnections()
}

// addTo adds the numbers of these connections to sum.
func (c *connections) addTo(sum *metrics.Connections) {
	kept := c.kept.Figures()
	sum.InUse, sum.Idle, sum.Opened = sum.InUse+kept.InUse, sum.Idle+kept.Idle, sum.Opened+kept.Opened
	for _, d := range c.dialers {
		open, opened := d.Figures()
		sum.Shared, sum.Opened = sum.Shared+open, sum.Opened+opened
	}
	sum.Distrusted = sum.Distrusted || kept.Distrusted
}

// slots bounds how many exchanges go on at a time: each of them has a value in the channel.
// Plain requests, uploads and upgraded connections have slots of their own, so that those
// which take long leave room for the others.
type slots chan struct{}

// slotWait is how long a request waits for a slot.
const slotWait = 2 * time.Second

// acquire takes a slot, which the caller must release. It blocks for slotWait at most, or
// until ctx ends, and returns errBusy or the error of ctx then.
func (s slots) acquire(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	default:
	}
	wait := time.NewTimer(slotWait)
	defer wait.Stop()
	select {
	case s <- struct{}{}:
		return nil
	case <-wait.C:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release gives a slot back.
func (s slots) release() { <-s }
