package metrics

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Upstream is the series of one upstream. Those that every request changes have
// their labels looked up, so that a request pays for atomic operations and no more.
// Its methods are safe for concurrent use and block on nothing.
type Upstream struct {
	// The results of token_lookups_total.
	Fresh, Stale, Waited, Failed, Refused prometheus.Counter

	m        *Metrics
	name     string
	duration prometheus.Observer
	target   prometheus.Observer
	// requests_total without a problem by method (its place in methods, the last place for
	// others) and by status less 100; nil before the first of its kind. A look-up by labels
	// takes eight times as long, and allocates.
	requests [len(methods) + 1][500]atomic.Pointer[prometheus.Counter]
}

// targetCauses are the usual causes of target_failures_total; further ones come as they do.
var targetCauses = []string{"connection_refused", "connection_timeout", "dns_error", "tls_certificate_error", "http_response_timeout"}

// methods have a label of their own; all others share "other".
var methods = [...]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete,
	http.MethodPatch, http.MethodHead, http.MethodOptions}

// otherMethod is the label of all methods that have none of their own.
const otherMethod = "other"

// MethodLabel returns a method as it is counted: "other" for a word that a caller may have made up.
func MethodLabel(method string) string {
	if slices.Contains(methods[:], method) {
		return method
	}
	return otherMethod
}

// Upstream returns the series of one upstream. The name must come from the
// configuration: each name is a label for good. Counters start at 0 with every
// label they can have, so that increases are whole from the first event on.
func (m *Metrics) Upstream(name string) *Upstream {
	label := prometheus.Labels{"upstream": name}
	startAtZero(m.tokenRequests.MustCurryWith(label), "ok", "credential", "subject", "scope", "throttled", "unavailable", "malformed")
	startAtZero(m.rejections.MustCurryWith(label), "replaced", "adopted", "cooled_down", "failed")
	startAtZero(m.redirects.MustCurryWith(label), "own", "foreign", "refused")
	startAtZero(m.refreshes.MustCurryWith(label), "ok", "failed")
	startAtZero(m.narrowScope, name)
	startAtZero(m.unaskedBytes, name)
	for _, cause := range targetCauses {
		m.targetFailures.WithLabelValues(name, cause)
	}
	m.clockSkew.WithLabelValues(name)
	m.requests.WithLabelValues(name, http.MethodGet, "200", "") // the others as they come: there are thousands
	m.waitSeconds.WithLabelValues(name)
	m.tokenReqSeconds.WithLabelValues(name)
	return &Upstream{
		Fresh:    m.lookups.WithLabelValues(name, "fresh"),
		Stale:    m.lookups.WithLabelValues(name, "stale"),
		Waited:   m.lookups.WithLabelValues(name, "waited"),
		Failed:   m.lookups.WithLabelValues(name, "failed"),
		Refused:  m.lookups.WithLabelValues(name, "refused"),
		m:        m,
		name:     name,
		duration: m.requestSeconds.WithLabelValues(name),
		target:   m.targetSeconds.WithLabelValues(name),
	}
}

// Lookups returns how many look-ups of tokens there were, and how many of them did not have to
// wait, as the objective in the chart's rules counts them: without those of refused subjects.
func (m *Metrics) Lookups(upstream string) (atOnce, all uint64) {
	for _, result := range []string{"fresh", "stale", "waited", "failed"} {
		var now dto.Metric
		_ = m.lookups.WithLabelValues(upstream, result).Write(&now) // it cannot fail
		n := uint64(now.GetCounter().GetValue())
		if all += n; result == "fresh" || result == "stale" {
			atOnce += n
		}
	}
	return atOnce, all
}

// Request counts one request that has ended, and returns its method as it is counted. A
// method or status outside the known sets counts as "other": a caller or a target must not
// make new series. problem is one of the codes of the proxy, "" where the answer of the target went
// through whole. traceID, if there is one, becomes the exemplar of the duration.
func (u *Upstream) Request(method string, status int, problem string, took time.Duration, traceID string) string {
	observe(u.duration, took, traceID)
	row := slices.Index(methods[:], method)
	if row < 0 {
		row, method = len(methods), otherMethod
	}
	if status < 100 || status > 599 {
		u.m.requests.WithLabelValues(u.name, method, "other", problem).Inc()
		return method
	}
	if problem != "" {
		u.m.requests.WithLabelValues(u.name, method, strconv.Itoa(status), problem).Inc()
		return method
	}
	slot := &u.requests[row][status-100]
	counter := slot.Load()
	if counter == nil {
		found := u.m.requests.WithLabelValues(u.name, method, strconv.Itoa(status), "")
		counter = &found
		slot.Store(counter)
	}
	(*counter).Inc()
	return method
}

// TargetAnswered records how long a target took until the head of its answer.
func (u *Upstream) TargetAnswered(took time.Duration) { u.target.Observe(took.Seconds()) }

// TargetFailed counts one request that had no answer of its target, or not all of one. The cause is one of a fixed
// set: a proxy error type of RFC 9209.
func (u *Upstream) TargetFailed(cause string) {
	u.m.targetFailures.WithLabelValues(u.name, cause).Inc()
}

// ClockSkew records the clock of the token endpoint minus ours.
func (u *Upstream) ClockSkew(d time.Duration) { u.m.clockSkew.WithLabelValues(u.name).Set(d.Seconds()) }

// TokenWait records that a request waited for a token. The trace id of ctx, if it has one, becomes
// the exemplar.
func (u *Upstream) TokenWait(ctx context.Context, d time.Duration) {
	traceID, _ := ctx.Value(traceKey{}).(string)
	observe(u.m.waitSeconds.WithLabelValues(u.name), d, traceID)
}

// traceKey is the key of WithTraceID.
type traceKey struct{}

// WithTraceID returns ctx with a trace id, in the form of W3C Trace Context, for the exemplars of
// what is done under it.
func WithTraceID(ctx context.Context, traceID string) context.Context {
	return context.WithValue(ctx, traceKey{}, traceID)
}

// observe records a duration, with the trace id as its exemplar if there is one.
func observe(histogram prometheus.Observer, took time.Duration, traceID string) {
	if exemplars, ok := histogram.(prometheus.ExemplarObserver); ok && traceID != "" {
		exemplars.ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": strings.Clone(traceID)}) // it may be a part of the whole head
		return
	}
	histogram.Observe(took.Seconds())
}

// TokenRequest records one token request; outcome is "ok" or a class of failure.
func (u *Upstream) TokenRequest(outcome string, took time.Duration) {
	u.m.tokenReqSeconds.WithLabelValues(u.name).Observe(took.Seconds())
	u.m.tokenRequests.WithLabelValues(u.name, outcome).Inc()
}

// Refresh counts one attempt to replace a token ahead of its expiry.
func (u *Upstream) Refresh(ok bool) { u.m.refreshes.WithLabelValues(u.name, outcome(ok)).Inc() }

// Rejection counts one token that a target answered 401 to, by what was done:
// replaced, adopted, cooled_down or failed.
func (u *Upstream) Rejection(action string) { u.m.rejections.WithLabelValues(u.name, action).Inc() }

// Redirect counts one redirect of a target, by where it leads: own, foreign or refused.
func (u *Upstream) Redirect(to string) { u.m.redirects.WithLabelValues(u.name, to).Inc() }

// NarrowScope counts one token that was granted less scope than was asked for.
func (u *Upstream) NarrowScope() { u.m.narrowScope.WithLabelValues(u.name).Inc() }

// UnaskedBytes counts one time that a target was seen to send bytes unasked.
func (u *Upstream) UnaskedBytes() { u.m.unaskedBytes.WithLabelValues(u.name).Inc() }

// Budget is the series of an upstream's budget. Its methods are safe for concurrent
// use and block on nothing.
type Budget struct {
	Waiting prometheus.Gauge // loads that wait for their turn
	slots   *prometheus.CounterVec
}

// Budget returns the series of the budget of all replicas and sets the one that tells
// it, in token requests per second. Without a call there are none.
func (u *Upstream) Budget(perSecond float64) *Budget {
	u.m.budget.WithLabelValues(u.name).Set(perSecond)
	b := &Budget{u.m.budgetWaiting.WithLabelValues(u.name),
		u.m.budgetSlots.MustCurryWith(prometheus.Labels{"upstream": u.name})}
	startAtZero(b.slots, "now", "later", "put_off", "deferred", "stopped", "without")
	return b
}

// Slot counts one answer to a load that asked for a turn: now, later, put_off,
// deferred, stopped or without.
func (b *Budget) Slot(outcome string) { b.slots.WithLabelValues(outcome).Inc() }
