// Package metrics holds every series of the program, in one struct on a registry
// of its own. It imports no other package of the program. Labels are names of
// upstreams, and words and numbers from fixed sets: never a subject, a scope, a path
// or anything else that a caller chooses.
//
// What happens to requests and tokens is counted as it happens: upstream.go has the
// series of one upstream, with the labels of the busiest looked up once. Numbers that
// other packages keep anyway, of tokens in memory and of open connections, are asked
// for at each scrape, in collect.go. metrics.go is the list of all series, with what
// each of them means, and serves them to Prometheus.
package metrics

import (
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const namespace = "token_sidecar"

// Metrics is the set of series; the help texts, here and in collect.go, say what each one
// counts. Its methods are safe for concurrent use and wait for no I/O.
type Metrics struct {
	registry *prometheus.Registry
	version  string

	requests        *prometheus.CounterVec
	requestSeconds  *prometheus.HistogramVec
	targetSeconds   *prometheus.HistogramVec
	lookups         *prometheus.CounterVec
	waitSeconds     *prometheus.HistogramVec
	tokenRequests   *prometheus.CounterVec
	tokenReqSeconds *prometheus.HistogramVec
	refreshes       *prometheus.CounterVec
	rejections      *prometheus.CounterVec
	redisOperations *prometheus.CounterVec
	narrowScope     *prometheus.CounterVec
	targetFailures  *prometheus.CounterVec
	clockSkew       *prometheus.GaugeVec
	unaskedBytes    *prometheus.CounterVec
	redirects       *prometheus.CounterVec
	secretReloads   *prometheus.CounterVec
	secretsNotTaken prometheus.Gauge
	budget          *prometheus.GaugeVec
	budgetWaiting   *prometheus.GaugeVec
	budgetSlots     *prometheus.CounterVec
	auditLines      *prometheus.CounterVec
	logDropped      prometheus.Counter
}

// New returns the series on a fresh registry, with Go and process collectors
// and build_info carrying version.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), version: version}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.define(factory{promauto.With(m.registry)})
	startAtZero(m.secretReloads, "ok", "failed")
	return m
}

// define makes all series whose values are kept here.
func (m *Metrics) define(f factory) {
	m.defineTargets(f)
	m.requests = f.counters("requests_total",
		"Requests that ended, by upstream, method and status code; problem says what the sidecar refused or failed in, or what broke the answer off, and is empty where the target's answer went through.",
		"upstream", "method", "code", "problem")
	m.requestSeconds = f.histograms("request_duration_seconds",
		"Time from a request's arrival to the end of its answer.", prometheus.DefBuckets, "upstream")
	m.lookups = f.counters("token_lookups_total",
		"Token look-ups of requests: fresh and stale came from memory at once, waited had to wait for a load, failed got none, refused got none since the provider refuses the subject.",
		"upstream", "result")
	m.waitSeconds = f.histograms("token_wait_seconds",
		"How long requests waited for a token. Requests that did not wait are not in it.",
		[]float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}, "upstream")
	m.tokenRequests = f.counters("token_requests_total",
		"Token requests, by outcome: ok, or the class of failure.", "upstream", "outcome")
	m.tokenReqSeconds = f.histograms("token_request_duration_seconds",
		"Duration of token requests.", prometheus.DefBuckets, "upstream")
	m.refreshes = f.counters("refreshes_total",
		"Tokens replaced ahead of expiry, by outcome.", "upstream", "outcome")
	m.rejections = f.counters("rejections_total",
		"Tokens that a target answered 401 to, by what was done: replaced, adopted (a newer one was there), cooled_down (replaced a short while ago), failed (no token request may be made now).",
		"upstream", "action")
	m.redisOperations = f.counters("redis_operations_total",
		"Operations on the shared cache, by outcome: ok, miss, invalid (a value that does not open), busy (another replica holds the lease), lost (the lease), error, skipped (Redis is left alone after errors).",
		"operation", "outcome")
	m.narrowScope = f.counters("narrow_scope_total",
		"Tokens that were granted less scope than was asked for.", "upstream")
	m.clockSkew = f.gauges("clock_skew_seconds",
		"The clock of the token endpoint minus ours, by the date of its last refusal; 0 if they agree, and once a token request succeeds.", "upstream")
	m.secretReloads = f.counters("secret_reloads_total",
		"Secret files read again after a change, by outcome.", "outcome")
	m.secretsNotTaken = f.gauges("secrets_not_taken",
		"Secret files whose value is not in use now: it is faulty, or takes effect only after a restart.").WithLabelValues()
	m.budget = f.gauges("token_budget",
		"Token requests per second that all replicas may make together. Upstreams without a budget are not in it.", "upstream")
	m.budgetWaiting = f.gauges("token_budget_waiting",
		"Loads of this replica that wait for their turn within the budget.", "upstream")
	m.budgetSlots = f.counters("token_budget_slots_total",
		"Answers to loads that asked for a turn within the budget: now, later (a turn was kept for it), put_off (none within the time it can wait: a request was told when to come again), deferred (the same for a refresh, which tries again by itself), stopped (the token endpoint fails or asked for quiet, as a replica found), without (Redis could not be asked, so that this replica's TOKEN_RATE alone holds).",
		"upstream", "outcome")
	m.auditLines = f.counters("audit_lines_total",
		"Lines of the audit, by outcome: written, failed (the request was refused), dropped (of an answer; nobody waits for it). Without an audit there are none.",
		"outcome")
	m.logDropped = f.counters("log_lines_dropped_total",
		"Log lines dropped because nobody reads the log fast enough.").WithLabelValues()
	f.gauges("build_info", "Always 1; the labels tell the build.", "version", "go_version").
		WithLabelValues(m.version, runtime.Version()).Set(1)
}

// defineTargets makes those about targets.
func (m *Metrics) defineTargets(f factory) {
	m.targetSeconds = f.histograms("target_duration_seconds",
		"Time from sending a request to its target until the head of the answer.", prometheus.DefBuckets, "upstream")
	m.targetFailures = f.counters("target_failures_total",
		"Requests that had no answer of their target that could be used, or not all of one, by cause: a proxy error type of RFC 9209 section 2.3.", "upstream", "cause")
	m.unaskedBytes = f.counters("target_unasked_bytes_total",
		"Times that a target was seen to send bytes that belong to no answer; for an hour afterwards no HTTP/1.1 connection to it is kept.", "upstream")
	m.redirects = f.counters("redirects_total",
		"Redirects that targets answered with, by where they lead: own (to the route's own target, through the sidecar), foreign (elsewhere), refused (to the sidecar itself or another route, or ambiguous; the app got a 502).",
		"upstream", "to")
}

// factory makes families of series, which it registers at once.
type factory struct{ promauto.Factory }

func (f factory) counters(name, help string, labels ...string) *prometheus.CounterVec {
	return f.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func (f factory) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return f.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func (f factory) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return f.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
}

// Handler serves the series in the formats that Prometheus asks for, of which OpenMetrics has the
// exemplars, to at most four scrapers at a time.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, EnableOpenMetrics: true})
}

// Gatherer gives the series to code in the same process.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Version returns the version that build_info carries.
func (m *Metrics) Version() string { return m.version }

// redisOutcomes are the words that package shared uses as outcome of its
// operations, beside error and skipped.
var redisOutcomes = map[string][]string{
	"get":     {"ok", "miss", "invalid"},
	"acquire": {"ok", "miss", "invalid"},
	"lease":   {"ok", "busy"},
	"renew":   {"ok", "lost"},
	"store":   {"ok", "lost"},
	"release": {"ok", "lost"},
	"forget":  {"ok", "lost"},
	"add":     {"ok"},
	"budget":  {"ok"},
}

// ExpectRedis has the series of all operations on the shared cache start at 0, so
// that increases are whole from the first error on. Without it they do not exist
// before the first operation, as is right where there is no shared cache.
func (m *Metrics) ExpectRedis() {
	for operation, outcomes := range redisOutcomes {
		ofOperation := m.redisOperations.MustCurryWith(prometheus.Labels{"operation": operation})
		startAtZero(ofOperation, append([]string{"error", "skipped"}, outcomes...)...)
	}
}

// startAtZero makes the series with these values of the only label that is left.
// Prometheus sees an increase only of a series that was there before.
func startAtZero(counters *prometheus.CounterVec, values ...string) {
	for _, value := range values {
		counters.WithLabelValues(value)
	}
}

// RedisOperation counts one operation on the shared cache.
func (m *Metrics) RedisOperation(operation, outcome string) {
	m.redisOperations.WithLabelValues(operation, outcome).Inc()
}

// ExpectAudit has the series of the audit start at 0.
func (m *Metrics) ExpectAudit() { startAtZero(m.auditLines, "written", "failed", "dropped") }

// AuditLines counts lines of the audit, by what became of them: written, failed or dropped.
func (m *Metrics) AuditLines(outcome string, lines int) {
	m.auditLines.WithLabelValues(outcome).Add(float64(lines))
}

// SecretReload counts one changed secret file, whose new value is in use (ok) or was
// refused, and says of how many files the value is not in use now.
func (m *Metrics) SecretReload(ok bool, notTaken int) {
	m.secretReloads.WithLabelValues(outcome(ok)).Inc()
	m.secretsNotTaken.Set(float64(notTaken))
}

// LogDropped counts n log lines that nobody will see.
func (m *Metrics) LogDropped(n int) { m.logDropped.Add(float64(n)) }

func outcome(ok bool) string {
	if ok {
		return "ok"
	}
	return "failed"
}
