package status

import (
	"math"
	"runtime"
	"strings"
	"time"

	"token-sidecar/cache"
	"token-sidecar/upstream"
)

// report gathers the facts and what they mean. It asks no provider and no Redis.
func (c *Config) report() Report {
	now := time.Now()
	r := Report{
		Severity:  severityOK,
		Draining:  c.Draining(),
		Time:      stamp(now),
		Started:   stamp(c.Started),
		Uptime:    now.Sub(c.Started).Round(time.Millisecond).Seconds(),
		Version:   c.Version,
		GoVersion: runtime.Version(),
		Redis:     c.redisReport(),
		Audit:     c.auditReport(),
		Upstreams: []upstreamReport{},
	}
	sources := map[string]cache.SourceStatus{}
	for _, status := range c.Cache() {
		sources[status.Upstream] = status
	}
	connections := map[string]connectionsReport{}
	for _, n := range c.Connections() {
		connections[n.Upstream] = connectionsReport{n.InUse, n.Idle, n.Shared, n.Opened, n.Distrusted, n.Unreachable}
	}
	for _, name := range c.Upstreams {
		u := reportOf(sources[name])
		u.Connections = connections[name]
		u.judgeTarget()
		u.Objective = objectiveOf(c.Lookups(name))
		r.Upstreams = append(r.Upstreams, u)
		r.Severity = worse(r.Severity, u.Severity)
	}
	r.Severity = worse(worse(r.Severity, r.Redis.Severity), r.Audit.Severity)
	return r
}

// redisReport tells how Redis does, by the operations that were tried so far.
func (c *Config) redisReport() redisReport {
	if c.Redis == nil {
		return redisReport{State: "off", Severity: severityInfo}
	}
	switch status := c.Redis(); {
	case !status.Since.IsZero():
		return redisReport{State: "left_alone", Severity: severityWarning, Since: stamp(status.Since), Cause: status.Cause}
	case status.Working:
		return redisReport{State: "sharing", Severity: severityOK}
	case status.Cause != "":
		return redisReport{State: "failing", Severity: severityWarning, Cause: status.Cause, Missing: strings.Fields(status.Missing)}
	}
	return redisReport{State: "unused", Severity: severityInfo}
}

// auditReport tells what became of the last line.
func (c *Config) auditReport() auditReport {
	if c.Audit == nil {
		return auditReport{State: "off", Severity: severityInfo}
	}
	if cause := c.Audit(); cause != "" {
		return auditReport{State: "failing", Severity: severityError, Cause: cause}
	}
	return auditReport{State: "on", Severity: severityOK}
}

// mayWait is the share of requests that the objective lets wait for their token.
const mayWait = 0.001

// objectiveOf compares with the objective; nil if there was no request.
func objectiveOf(atOnce, all uint64) *objectiveReport {
	if all == 0 {
		return nil
	}
	waited := float64(all-atOnce) / float64(all)
	round := func(x float64) float64 { return math.Round(x*1e6) / 1e6 }
	return &objectiveReport{all, round(1 - waited), round(1 - waited/mayWait)}
}

// reportOf returns what the cache knows of one upstream, and what that means.
func reportOf(s cache.SourceStatus) upstreamReport {
	v := judge(s)
	r := upstreamReport{
		Name: s.Upstream, State: v.state, Severity: v.severity, Label: v.label, Meaning: v.meaning,
		Tokens:      tokensReport{s.Fresh, s.Stale, s.Invalid},
		NextRefresh: stamp(s.NextRefresh),
		Loading:     s.Loading,
		Retrying:    s.Retrying,
		Refused:     s.Refused,
		Failure:     failureShown(failureOf(s)),
	}
	switch {
	case s.Stopped != nil:
		r.NextAttempt = stamp(s.StoppedUntil)
	case s.Pinned.Failure != nil:
		r.NextAttempt = stamp(s.Pinned.NextRefresh)
	case s.Failure != nil:
		r.NextAttempt = stamp(s.NextAttempt)
	}
	if p := s.Pinned; p.Keys > 0 {
		r.Pinned = &pinnedReport{p.Keys, p.Usable, p.Loading, stamp(p.Expiry), stamp(p.NextRefresh)}
	}
	if b := s.Budget; b.Rate > 0 {
		r.Budget = &budgetReport{b.Rate, b.Waiting, stamp(b.PutOff), b.Without, b.Stopped, stamp(b.StoppedUntil)}
	}
	if last := s.Last; !last.Began.IsZero() {
		r.Last = &tokenRequestReport{stamp(last.Began), last.Took.Round(time.Microsecond).Seconds(), "ok", failureShown(last.Failure)}
		if last.Failure != nil {
			r.Last.Outcome = string(last.Failure.Class)
		}
	}
	return r
}

// failureShown returns the parts of a failure that are in words of this program or
// from a table of known codes, and nothing else that a provider sent.
func failureShown(e *upstream.Error) *failureReport {
	if e == nil {
		return nil
	}
	return &failureReport{e.Class, e.Code, e.Status, e.Reason, e.Skew.Round(time.Second).Seconds()}
}

// stamp returns t as the report writes it: in UTC and whole milliseconds. The
// zero time stays zero, so that its member is left out.
func stamp(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}
