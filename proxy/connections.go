package proxy

import (
	"net/http"

	"token-sidecar/metrics"
	"token-sidecar/proxy/internal/targetconn"
	"token-sidecar/upstream"
)

// connections are those to one target. The routes of an upstream that have the
// same target share them.
type connections struct {
	kept     *targetconn.Pool[upstream.Key] // HTTP/1.1, for what goes the lean way
	protocol *targetconn.Protocol           // what the target chooses to speak
	dialers  [2]*targetconn.Dialer          // of requests and upgrades
	requests *http.Transport                // for what goes the general way, but upgrades
	upgrades *http.Transport                // HTTP/1.1 only, since HTTP/2 has no upgrades

	slots struct{ requests, uploads, upgrades slots }
}

// newConnections returns the connections to the target of r, none of which is open yet.
func newConnections(c Config, r upstream.Route, upstreamName string, series *metrics.Upstream) *connections {
	protocol := targetconn.NewProtocol(r.Target)
	both, old := targetconn.NewDialer(c.Roots, "h2", "http/1.1"), targetconn.NewDialer(c.Roots, "http/1.1")
	to := &connections{
		kept:     targetconn.NewPool[upstream.Key](targetconn.NewDialer(c.Roots, "http/1.1"), r.Target, protocol),
		protocol: protocol,
		dialers:  [2]*targetconn.Dialer{both, old},
		requests: targetconn.NewTransport(both, protocol, c.TargetTimeout),
		upgrades: targetconn.NewTransport(old, nil, c.TargetTimeout),
	}
	to.slots.requests, to.slots.uploads, to.slots.upgrades = make(slots, maxRequests), make(slots, maxUploads), make(slots, maxUpgrades)
	to.kept.Unasked = func() {
		series.UnaskedBytes()
		c.Log.Warn().Str("upstream", upstreamName).Str("target", r.Target.Host).
			Msg("the target sent bytes that belong to no answer; for an hour each HTTP/1.1 request to it has a connection of its own")
	}
	return to
}

// slotsFor returns the slots of which a request needs one: those for a body that is sent
// on as it comes, those for an upgrade, or those for any other.
func (c *connections) slotsFor(streams, upgrade bool) slots {
	switch {
	case upgrade:
		return c.slots.upgrades
	case streams:
		return c.slots.uploads
	}
	return c.slots.requests
}

// lean reports whether requests of r may use kept HTTP/1.1 connections. Where a route
// takes a subject they may only if the target does not speak HTTP/2: that tells the
// answers of all subjects apart, and one connection serves them all.
func (c *connections) lean(r *route) bool {
	return r.Subject == upstream.SubjectRefused || c.protocol.HTTP1()
}

// closeIdle closes those that nobody uses now.
func (c *connections) closeIdle() {
	c.kept.CloseIdle()
	c.requests.CloseIdleConnections()
	c.upgrades.CloseIdleConnections()
}

// target is where the routes of an upstream send requests.
type target struct {
	upstream    string
	connections *connections
}

// Connections returns the numbers for each upstream, in the order of the
// configuration. It is safe for concurrent use.
func (p *Proxy) Connections() []metrics.Connections {
	var all []metrics.Connections
	for _, t := range p.targets {
		if len(all) == 0 || all[len(all)-1].Upstream != t.upstream {
			all = append(all, metrics.Connections{Upstream: t.upstream})
		}
		sum, kept := &all[len(all)-1], t.connections.kept.Figures()
		sum.InUse, sum.Idle, sum.Opened = sum.InUse+kept.InUse, sum.Idle+kept.Idle, sum.Opened+kept.Opened
		for _, d := range t.connections.dialers {
			open, opened := d.Figures()
			sum.Shared, sum.Opened = sum.Shared+open, sum.Opened+opened
		}
		sum.Distrusted = sum.Distrusted || kept.Distrusted
	}
	return all
}
