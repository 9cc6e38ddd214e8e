package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Tokens is how many keys of one upstream have a token in which state; one without a token
// is invalid.
type Tokens struct {
	Upstream              string
	Fresh, Stale, Invalid int
	PinnedLife            time.Duration // least remaining life of a token that is kept fresh always; 0 if one of them is missing
	HasPinned             bool          // there are such tokens
}

// CollectTokens has each scrape ask source for the series of tokens, one scrape at a
// time. It must be called once.
func (m *Metrics) CollectTokens(source func() []Tokens) {
	states := desc("tokens", "Tokens in memory, by state.", "upstream", "state")
	expiry := desc("token_expiry_seconds", "Least remaining life of a pinned token; 0 if one is missing.", "upstream")
	m.registry.MustRegister(&collector{descs: []*prometheus.Desc{states, expiry}, collect: func(send sender) {
		for _, t := range source() {
			send.gauge(states, float64(t.Fresh), t.Upstream, "fresh")
			send.gauge(states, float64(t.Stale), t.Upstream, "stale")
			send.gauge(states, float64(t.Invalid), t.Upstream, "invalid")
			if t.HasPinned {
				send.gauge(expiry, max(t.PinnedLife.Seconds(), 0), t.Upstream)
			}
		}
	}})
}

// Connections are the numbers of connections to the targets of one upstream.
type Connections struct {
	Upstream            string
	InUse, Idle, Shared int    // now; Shared are those of net/http: of HTTP/2, of uploads, of upgrades, and for one request alone
	Opened              uint64 // since the start
	Distrusted          bool   // a target sent bytes unasked within the last hour
	Unreachable         string // why the last exchange with a target had no answer, as TargetFailed has it; empty if it had one
}

// CollectConnections has each scrape ask source for the series of connections, one
// scrape at a time. It must be called once.
func (m *Metrics) CollectConnections(source func() []Connections) {
	states := desc("target_connections", "Connections to targets, by state: in_use serves a request, idle is kept for one of the same key, shared is of HTTP/2, an upload or an upgrade.",
		"upstream", "state")
	opened := desc("target_connections_opened_total", "Connections opened to targets.", "upstream")
	distrusted := desc("target_distrusted", "1 while no HTTP/1.1 connection is kept because a target sent bytes unasked within the last hour.", "upstream")
	m.registry.MustRegister(&collector{descs: []*prometheus.Desc{states, opened, distrusted}, collect: func(send sender) {
		for _, c := range source() {
			send.gauge(states, float64(c.InUse), c.Upstream, "in_use")
			send.gauge(states, float64(c.Idle), c.Upstream, "idle")
			send.gauge(states, float64(c.Shared), c.Upstream, "shared")
			send <- prometheus.MustNewConstMetric(opened, prometheus.CounterValue, float64(c.Opened), c.Upstream)
			value := 0.0
			if c.Distrusted {
				value = 1
			}
			send.gauge(distrusted, value, c.Upstream)
		}
	}})
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// collector is series whose values collect sends anew at each scrape.
type collector struct {
	descs   []*prometheus.Desc
	collect func(sender)
	mu      sync.Mutex // held while collect runs: one walk through the cache at a time
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.collect(ch)
}

// sender takes the values of one scrape.
type sender chan<- prometheus.Metric

func (s sender) gauge(d *prometheus.Desc, value float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}
