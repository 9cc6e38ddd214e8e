package status

import (
	"time"

	"token-sidecar/upstream"
)

// Report is what the page tells, in the form of its JSON. docs/status.md documents
// the members.
type Report struct {
	Severity  severity         `json:"severity"`
	Draining  bool             `json:"draining"`
	Time      time.Time        `json:"time"`
	Started   time.Time        `json:"started"`
	Uptime    float64          `json:"uptime_seconds"`
	Version   string           `json:"version"`
	GoVersion string           `json:"go_version"`
	Redis     redisReport      `json:"redis"`
	Audit     auditReport      `json:"audit"`
	Upstreams []upstreamReport `json:"upstreams"`
}

// redisReport tells how the sharing of tokens through Redis does.
type redisReport struct {
	State    string    `json:"state"`
	Severity severity  `json:"severity"`
	Since    time.Time `json:"since,omitzero"`
	Cause    string    `json:"cause,omitempty"`
	Missing  []string  `json:"missing,omitempty"` // rights that the user of Redis lacks
}

// auditReport tells whether the lines of the audit are written.
type auditReport struct {
	State    string   `json:"state"`
	Severity severity `json:"severity"`
	Cause    string   `json:"cause,omitempty"`
}

// upstreamReport tells how one upstream does.
type upstreamReport struct {
	Name     string   `json:"name"`
	State    string   `json:"state"`
	Severity severity `json:"severity"`
	Label    string   `json:"label"`
	Meaning  string   `json:"meaning"`

	Tokens      tokensReport        `json:"tokens"`
	Pinned      *pinnedReport       `json:"pinned,omitempty"`
	NextRefresh time.Time           `json:"next_refresh,omitzero"`
	Loading     int                 `json:"loading"`
	Retrying    int                 `json:"retrying"`
	Refused     int                 `json:"refused"`
	Failure     *failureReport      `json:"failure,omitempty"`
	NextAttempt time.Time           `json:"next_attempt,omitzero"`
	Last        *tokenRequestReport `json:"last_token_request,omitempty"`
	Budget      *budgetReport       `json:"budget,omitempty"`
	Connections connectionsReport   `json:"connections"`
	Objective   *objectiveReport    `json:"objective,omitempty"`
}

// objectiveReport compares with the objective of the alerts: of 1,000 requests 999 find their
// token in memory.
type objectiveReport struct {
	Requests   uint64  `json:"requests"` // that needed a token, since the start
	AtOnce     float64 `json:"at_once"`  // share of them that found it in memory
	BudgetLeft float64 `json:"error_budget_left"`
}

// tokensReport counts the keys in memory by the state of their token.
type tokensReport struct {
	Fresh   int `json:"fresh"`
	Stale   int `json:"stale"`
	Invalid int `json:"invalid"`
}

// pinnedReport tells of the tokens that need no subject, which are replaced whether
// they are used or not. Expiry is the first end among them.
type pinnedReport struct {
	Keys        int       `json:"keys"`
	Usable      int       `json:"usable"`
	Loading     int       `json:"loading"`
	Expiry      time.Time `json:"expiry,omitzero"`
	NextRefresh time.Time `json:"next_refresh,omitzero"`
}

// connectionsReport counts the connections to the targets of an upstream.
type connectionsReport struct {
	InUse      int    `json:"in_use"`
	Idle       int    `json:"idle"`
	Shared     int    `json:"shared"`
	Opened     uint64 `json:"opened"`
	Distrusted bool   `json:"distrusted"`

	Unreachable string `json:"unreachable,omitempty"` // why the last request had no answer
}

// failureReport is why token requests fail.
type failureReport struct {
	Class  upstream.Class `json:"class"`
	Code   string         `json:"code,omitempty"`
	Status int            `json:"status,omitempty"`
	Reason string         `json:"reason"`
	Skew   float64        `json:"clock_skew_seconds,omitempty"` // the provider's clock minus ours, by its answer
}

// tokenRequestReport is one token request and what came of it.
type tokenRequestReport struct {
	Time     time.Time      `json:"time"`
	Duration float64        `json:"duration_seconds"`
	Outcome  string         `json:"outcome"` // ok or the class of failure
	Failure  *failureReport `json:"failure,omitempty"`
}

// budgetReport tells of the limit on the token requests of all replicas together.
type budgetReport struct {
	PerSecond    float64        `json:"per_second"`
	Waiting      int            `json:"waiting"`
	PutOff       time.Time      `json:"put_off,omitzero"`
	WithoutRedis bool           `json:"without_redis"`
	Stopped      upstream.Class `json:"stopped,omitempty"`
	StoppedUntil time.Time      `json:"stopped_until,omitzero"`
}

// severity says whether somebody has to look.
type severity string

// From nothing to do to something to do at once.
const (
	severityOK      severity = "ok"
	severityInfo    severity = "info"    // nothing is wrong, and nothing is there yet
	severityWarning severity = "warning" // something fails; requests are served
	severityError   severity = "error"   // requests are refused, or will be unless somebody acts
)

// worse returns the graver of two severities. Info counts as ok here.
func worse(a, b severity) severity {
	for _, s := range [...]severity{severityError, severityWarning} {
		if a == s || b == s {
			return s
		}
	}
	return severityOK
}
