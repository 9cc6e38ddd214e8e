package status

import (
	"runtime"
	"strings"
	"time"

	"token-sidecar/cache"
	"token-sidecar/upstream"
)

// Report is what the page tells, in the form of its JSON.
// docs/status.md documents the members.
type Report struct {
	Severity  severity         `json:"severity"`
	Draining  bool             `json:"draining"`
	Time      time.Time        `json:"time"`
	Started   time.Time        `json:"started"`
	Uptime    float64          `json:"uptime_seconds"`
	Version   string           `json:"version"`
	GoVersion string           `json:"go_version"`
	Redis     redisReport      `json:"redis"`
	Upstreams []upstreamReport `json:"upstreams"`
}

type redisReport struct {
	State    string    `json:"state"`
	Severity severity  `json:"severity"`
	Since    time.Time `json:"since,omitzero"`
	Cause    string    `json:"cause,omitempty"`
	Missing  []string  `json:"missing,omitempty"` // rights
}

type upstreamReport struct {
	Name     string   `json:"name"`
	State    string   `json:"state"`
	Severity severity `json:"severity"`
	Label    string   `json:"label"`
	Meaning  string   `json:"meaning"`

	Tokens      tokensReport       `json:"tokens"`
	Pinned      *pinnedReport      `json:"pinned,omitempty"`
	NextRefresh time.Time          `json:"next_refresh,omitzero"`
	Loading     int                `json:"loading"`
	Retrying    int                `json:"retrying"`
	Refused     int                `json:"refused"`
	Failure     *failureReport     `json:"failure,omitempty"`
	NextAttempt time.Time          `json:"next_attempt,omitzero"`
	Last        *tokenRequestShown `json:"last_token_request,omitempty"`
	Budget      *budgetReport      `json:"budget,omitempty"`
	Connections connectionsReport  `json:"connections"`
	Recent      []recentReport     `json:"recent"`
}

type tokensReport struct {
	Fresh   int `json:"fresh"`
	Stale   int `json:"stale"`
	Invalid int `json:"invalid"`
}

type pinnedReport struct {
	Keys        int       `json:"keys"`
	Usable      int       `json:"usable"`
	Loading     int       `json:"loading"`
	Expiry      time.Time `json:"expiry,omitzero"`
	NextRefresh time.Time `json:"next_refresh,omitzero"`
}

// connectionsReport are the connections to the targets of an upstream.
type connectionsReport struct {
	InUse      int    `json:"in_use"`
	Idle       int    `json:"idle"`
	Shared     int    `json:"shared"`
	Opened     uint64 `json:"opened"`
	Distrusted bool   `json:"distrusted"`
}

type failureReport struct {
	Class  upstream.Class `json:"class"`
	Code   string         `json:"code,omitempty"`
	Status int            `json:"status,omitempty"`
	Reason string         `json:"reason"`
}

type tokenRequestShown struct {
	Time     time.Time      `json:"time"`
	Duration float64        `json:"duration_seconds"`
	Outcome  string         `json:"outcome"` // ok or the class of failure
	Failure  *failureReport `json:"failure,omitempty"`
}

// budgetReport is about the token requests that all replicas may make together.
type budgetReport struct {
	PerSecond    float64        `json:"per_second"`
	Waiting      int            `json:"waiting"`
	PutOff       time.Time      `json:"put_off,omitzero"`
	WithoutRedis bool           `json:"without_redis"`
	Stopped      upstream.Class `json:"stopped,omitempty"`
	StoppedUntil time.Time      `json:"stopped_until,omitzero"`
}

// report gathers the facts. It asks no provider and no Redis.
func (c *Config) report(h *history) Report {
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
		Upstreams: []upstreamReport{},
	}
	known := map[string]cache.SourceStatus{}
	for _, status := range c.Cache() {
		known[status.Upstream] = status
	}
	open := map[string]connectionsReport{}
	for _, n := range c.Connections() {
		open[n.Upstream] = connectionsReport{n.InUse, n.Idle, n.Shared, n.Opened, n.Distrusted}
	}
	for _, name := range c.Upstreams {
		shown := reportOf(known[name])
		shown.Connections = open[name]
		shown.Recent = h.recent(name)
		r.Upstreams = append(r.Upstreams, shown)
		r.Severity = worse(r.Severity, shown.Severity)
	}
	r.Severity = worse(r.Severity, r.Redis.Severity)
	return r
}

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

// reportOf is what the cache knows of one upstream, and what it means.
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
		r.Last = &tokenRequestShown{stamp(last.Began), last.Took.Round(time.Microsecond).Seconds(), "ok", failureShown(last.Failure)}
		if last.Failure != nil {
			r.Last.Outcome = string(last.Failure.Class)
		}
	}
	return r
}

// failureOf returns the failure that decides the state of an upstream: that of
// all its keys, else of the pinned ones, else of another; nil if none does.
func failureOf(s cache.SourceStatus) *upstream.Error {
	switch {
	case s.Stopped != nil:
		return s.Stopped
	case s.Pinned.Failure != nil:
		return s.Pinned.Failure
	}
	return s.Failure
}

// failureShown keeps of a failure what is known to be ours or from a table.
func failureShown(e *upstream.Error) *failureReport {
	if e == nil {
		return nil
	}
	return &failureReport{e.Class, e.Code, e.Status, e.Reason}
}

// stamp puts a time in the form of the report.
func stamp(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}
