package metrics

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Upstream is the series of one upstream with its labels looked up, so that a
// request pays for an atomic add and no more. Its methods are safe for
// concurrent use.
type Upstream struct {
	Fresh, Stale, Waited, Failed prometheus.Counter // token_lookups_total

	m        *Metrics
	narrow   prometheus.Counter
	unasked  prometheus.Counter
	name     string
	duration prometheus.Observer
	target   prometheus.Observer
	wait     prometheus.Observer
	tokenReq prometheus.Observer
	requests [len(methods) + 1][500]atomic.Pointer[requestCounter]
}

type requestCounter struct{ prometheus.Counter }

// The words that other rooms use as outcome, action and destination.
var (
	tokenRequestOutcomes = [...]string{"ok", "credential", "subject", "scope", "throttled", "unavailable", "malformed"}
	rejectionActions     = [...]string{"replaced", "adopted", "cooled_down", "failed"}
	redirectDestinations = [...]string{"own", "foreign", "refused"}
	budgetOutcomes       = [...]string{"now", "later", "put_off", "deferred", "stopped", "without"}
)

// methods get a label of their own; all others share "other".
var methods = [...]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete,
	http.MethodPatch, http.MethodHead, http.MethodOptions}

// Upstream returns the series of one upstream. The name must come from the
// configuration: each name is a label for good. Counters start at 0 with every
// label they can have, so that increases are whole from the first event on.
func (m *Metrics) Upstream(name string) *Upstream {
	for _, outcome := range tokenRequestOutcomes {
		m.tokenRequests.WithLabelValues(name, outcome)
	}
	for _, action := range rejectionActions {
		m.rejections.WithLabelValues(name, action)
	}
	for _, to := range redirectDestinations {
		m.redirects.WithLabelValues(name, to)
	}
	m.requests.WithLabelValues(name, http.MethodGet, "200") // the others come as they come
	m.refreshes.WithLabelValues(name, outcome(true))
	m.refreshes.WithLabelValues(name, outcome(false))
	return &Upstream{
		Fresh:    m.lookups.WithLabelValues(name, "fresh"),
		Stale:    m.lookups.WithLabelValues(name, "stale"),
		Waited:   m.lookups.WithLabelValues(name, "waited"),
		Failed:   m.lookups.WithLabelValues(name, "failed"),
		m:        m,
		narrow:   m.narrowScope.WithLabelValues(name),
		unasked:  m.unaskedBytes.WithLabelValues(name),
		name:     name,
		duration: m.requestSeconds.WithLabelValues(name),
		target:   m.targetSeconds.WithLabelValues(name),
		wait:     m.waitSeconds.WithLabelValues(name),
		tokenReq: m.tokenReqSeconds.WithLabelValues(name),
	}
}

// Request counts one answered request. A method or status outside the known
// sets counts as "other": a caller or a target must not make new series.
func (u *Upstream) Request(method string, status int, took time.Duration) {
	u.duration.Observe(took.Seconds())
	row, methodLabel := len(methods), "other"
	for i, known := range methods {
		if method == known {
			row, methodLabel = i, known
			break
		}
	}
	if status < 100 || status > 599 {
		u.m.requests.WithLabelValues(u.name, methodLabel, "other").Inc()
		return
	}
	slot := &u.requests[row][status-100]
	counter := slot.Load()
	if counter == nil {
		counter = &requestCounter{u.m.requests.WithLabelValues(u.name, methodLabel, strconv.Itoa(status))}
		slot.Store(counter)
	}
	counter.Inc()
}

// TargetAnswered records how long a target took until the head of its answer.
func (u *Upstream) TargetAnswered(took time.Duration) { u.target.Observe(took.Seconds()) }

// TokenWait records that a request waited for a token.
func (u *Upstream) TokenWait(d time.Duration) { u.wait.Observe(d.Seconds()) }

// TokenRequest records one token request; outcome is "ok" or a class of failure.
func (u *Upstream) TokenRequest(outcome string, took time.Duration) {
	u.tokenReq.Observe(took.Seconds())
	u.m.tokenRequests.WithLabelValues(u.name, outcome).Inc()
}

// Refresh counts one attempt to replace a token ahead of its expiry.
func (u *Upstream) Refresh(ok bool) { u.m.refreshes.WithLabelValues(u.name, outcome(ok)).Inc() }

// Rejection counts one token that a target answered 401 to, and what was done.
func (u *Upstream) Rejection(action string) { u.m.rejections.WithLabelValues(u.name, action).Inc() }

// Redirect counts one redirect of a target, by where it leads.
func (u *Upstream) Redirect(to string) { u.m.redirects.WithLabelValues(u.name, to).Inc() }

// NarrowScope counts one token that was granted less scope than was asked for.
func (u *Upstream) NarrowScope() { u.narrow.Inc() }

// UnaskedBytes counts one time that a target was seen to send bytes unasked.
func (u *Upstream) UnaskedBytes() { u.unasked.Inc() }

// Budget is the series of an upstream's budget, with its labels looked up. Its methods
// are safe for concurrent use.
type Budget struct {
	Waiting prometheus.Gauge // loads that wait for their turn
	slots   map[string]prometheus.Counter
}

// Budget returns the series of the budget of all replicas, of so many token requests
// per second, and sets it. Without a call there are none.
func (u *Upstream) Budget(perSecond float64) *Budget {
	u.m.budget.WithLabelValues(u.name).Set(perSecond)
	b := &Budget{Waiting: u.m.budgetWaiting.WithLabelValues(u.name), slots: map[string]prometheus.Counter{}}
	for _, outcome := range budgetOutcomes {
		b.slots[outcome] = u.m.budgetSlots.WithLabelValues(u.name, outcome)
	}
	return b
}

// Slot counts one answer to a load that asked for a turn: now, later, put_off,
// deferred, stopped or without.
func (b *Budget) Slot(outcome string) { b.slots[outcome].Inc() }
