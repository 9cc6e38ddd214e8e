package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Tokens is how many tokens of one upstream are in which state.
type Tokens struct {
	Upstream              string
	Fresh, Stale, Invalid int
	PinnedLife            time.Duration // least remaining life of a pinned token
	HasPinned             bool
}

// CollectTokens has each scrape ask source for the tokens series. It must be
// called once.
func (m *Metrics) CollectTokens(source func() []Tokens) {
	m.registry.MustRegister(&tokensCollector{source: source})
}

type tokensCollector struct {
	source func() []Tokens
	mu     sync.Mutex // one walk through the cache at a time
}

var (
	tokensDesc = prometheus.NewDesc(namespace+"_tokens",
		"Tokens in memory, by state.", []string{"upstream", "state"}, nil)
	expiryDesc = prometheus.NewDesc(namespace+"_token_expiry_seconds",
		"Least remaining life of a pinned token; 0 if one is missing.", []string{"upstream"}, nil)
)

// Describe implements [prometheus.Collector].
func (c *tokensCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- tokensDesc
	ch <- expiryDesc
}

// Collect implements [prometheus.Collector].
func (c *tokensCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.source() {
		gauge := func(state string, n int) {
			ch <- prometheus.MustNewConstMetric(tokensDesc, prometheus.GaugeValue, float64(n), t.Upstream, state)
		}
		gauge("fresh", t.Fresh)
		gauge("stale", t.Stale)
		gauge("invalid", t.Invalid)
		if t.HasPinned {
			ch <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, max(t.PinnedLife.Seconds(), 0), t.Upstream)
		}
	}
}

// Connections are the numbers of connections to the targets of one upstream.
type Connections struct {
	Upstream            string
	InUse, Idle, Shared int    // now; Shared are those of HTTP/2, of uploads and of upgrades
	Opened              uint64 // so far
	Distrusted          bool   // a target sent bytes unasked within the last hour
}

// CollectConnections has each scrape ask source for the series of connections. It must
// be called once.
func (m *Metrics) CollectConnections(source func() []Connections) {
	m.registry.MustRegister(connectionsCollector(source))
}

type connectionsCollector func() []Connections

var (
	connectionsDesc = prometheus.NewDesc(namespace+"_target_connections",
		"Connections to targets, by state: in_use serves a request, idle is kept for one of the same key, shared is of HTTP/2, an upload or an upgrade.",
		[]string{"upstream", "state"}, nil)
	openedDesc = prometheus.NewDesc(namespace+"_target_connections_opened_total",
		"Connections opened to targets.", []string{"upstream"}, nil)
	distrustedDesc = prometheus.NewDesc(namespace+"_target_distrusted",
		"1 while no HTTP/1.1 connection is kept because a target sent bytes unasked within the last hour.", []string{"upstream"}, nil)
)

// Describe implements [prometheus.Collector].
func (connectionsCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- connectionsDesc
	ch <- openedDesc
	ch <- distrustedDesc
}

// Collect implements [prometheus.Collector].
func (source connectionsCollector) Collect(ch chan<- prometheus.Metric) {
	for _, c := range source() {
		gauge := func(state string, n int) {
			ch <- prometheus.MustNewConstMetric(connectionsDesc, prometheus.GaugeValue, float64(n), c.Upstream, state)
		}
		gauge("in_use", c.InUse)
		gauge("idle", c.Idle)
		gauge("shared", c.Shared)
		ch <- prometheus.MustNewConstMetric(openedDesc, prometheus.CounterValue, float64(c.Opened), c.Upstream)
		distrusted := 0.0
		if c.Distrusted {
			distrusted = 1
		}
		ch <- prometheus.MustNewConstMetric(distrustedDesc, prometheus.GaugeValue, distrusted, c.Upstream)
	}
}
