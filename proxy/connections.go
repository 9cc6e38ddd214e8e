package proxy

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"token-sidecar/metrics"
	"token-sidecar/proxy/internal/targetconn"
	"token-sidecar/upstream"
)

// connections are those to one target, and the places for exchanges with it. The routes of
// an upstream that have the same target share them. Its methods are safe for concurrent use.
type connections struct {
	sets connectionSets // the connections, by the client certificate that they present

	upstream string               // its name
	protocol *targetconn.Protocol // what the target chooses to speak

	slots struct{ requests, uploads, upgrades slots }

	unreachable atomic.Pointer[string] // why the last exchange had no answer; nil if it had one
	log         zerolog.Logger         // is told when that begins and ends
	telling     rate.Sometimes         // since an exchange may fail beside others that do not
	told        atomic.Bool            // that it began
}

// How many exchanges with one target go on at a time.
const (
	maxRequests = 2048 // requests with no body, or with a small one that is here already
	maxUploads  = 256  // requests whose body is sent on as it comes
	maxUpgrades = 1024 // upgraded connections
)

// newConnections returns the connections to the target of r, none of which is open yet.
func newConnections(p *Proxy, r upstream.Route, upstreamName string, series *metrics.Upstream) *connections {
	to := &connections{upstream: upstreamName, protocol: targetconn.NewProtocol(r.Target), telling: rate.Sometimes{Interval: time.Minute},
		log: p.config.Log.With().Str("upstream", upstreamName).Str("target", r.Target.Host).Logger()}
	to.sets.fresh = func(certificate *upstream.ClientCertificate) *connectionSet {
		w := newConnectionSet(p.config, p.makeRoom, r, to.protocol, certificate)
		w.kept.Unasked = func() {
			series.UnaskedBytes()
			to.log.Warn().Msg("the target sent bytes that belong to no answer; for an hour each HTTP/1.1 request to it has a connection of its own")
		}
		return w
	}
	to.sets.plain = to.sets.fresh(nil)
	to.slots.requests, to.slots.uploads, to.slots.upgrades = make(slots, maxRequests), make(slots, maxUploads), make(slots, maxUpgrades)
	return to
}

// lean reports whether requests of r may use kept HTTP/1.1 connections. Where a route
// takes a subject they may only if the target does not speak HTTP/2: that tells the
// answers of all subjects apart, and one connection serves them all.
func (c *connections) lean(r *route) bool {
	return r.Subject == upstream.SubjectRefused && !c.protocol.RefusesHTTP1() || c.protocol.HTTP1()
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

// addTo adds the numbers of these connections to sum.
func (c *connections) addTo(sum *metrics.Connections) {
	c.sets.addTo(sum)
	if cause := c.unreachable.Load(); cause != nil {
		sum.Unreachable = *cause
	}
}

// answered notes that the target sent the head of an answer.
func (c *connections) answered() {
	if c.unreachable.Load() != nil && c.unreachable.Swap(nil) != nil && c.told.Swap(false) {
		c.log.Info().Msg("the target answers again")
	}
}

// failed notes that it did not, and why: cause is a proxy error type of RFC 9209.
func (c *connections) failed(cause string) {
	if before := c.unreachable.Swap(&cause); before == nil || *before != cause {
		c.telling.Do(func() {
			c.told.Store(true)
			c.log.Warn().Str("cause", cause).Msg("a request had no answer of the target")
		})
	}
}

// makeRoom closes the connections to all targets that no request uses now, if as many are open as
// there should be. It does not block.
func (p *Proxy) makeRoom() {
	if p.config.MaxTargetConnections == 0 {
		return
	}
	open := 0
	for _, c := range p.Connections() {
		open += c.InUse + c.Idle + c.Shared // with the one that is about to be opened, if it is for the lean way
	}
	if open <= p.config.MaxTargetConnections {
		return
	}
	for _, c := range p.targets {
		c.sets.freeIdle()
	}
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
