package status

import (
	"time"

	"token-sidecar/cache"
	"token-sidecar/upstream"
)

// verdict is what the facts about an upstream mean.
type verdict struct {
	state    string // its name for programs, listed in docs/status.md
	severity severity
	label    string // the state in two or three words
	meaning  string // what it means for the requests of the app, in a sentence or two
}

// budgetMemory is for how long after a request was put off the budget counts as spent.
const budgetMemory = time.Minute

// judge returns what the facts about an upstream mean. A failure that this replica
// met itself goes before what it learned of others.
func judge(s cache.SourceStatus) verdict {
	served := s.Fresh+s.Stale > 0
	if s.Pinned.Keys > 0 {
		served = s.Pinned.Usable == s.Pinned.Keys
	}
	if failure := failureOf(s); failure != nil {
		return judgeFailure(failure.Class, served)
	}
	b, severity := s.Budget, severityWarning
	if !served {
		severity = severityError
	}
	switch {
	case b.Stopped != "":
		return verdict{"fleet_stopped", severity, "stopped by another replica", "Another replica met trouble at the token endpoint: " +
			"all replicas together make one token request a second at most, until one succeeds. Tokens in memory serve until they expire."}
	case !b.PutOff.IsZero() && time.Since(b.PutOff) < budgetMemory:
		return verdict{"budget_spent", severity, "budget spent", "All replicas together need more token requests than their budget allows: " +
			"requests without a token in memory wait for their turn, or are answered 503 with the time at which it is."}
	case s.Pinned.Usable < s.Pinned.Keys:
		return verdict{"starting", severityInfo, "starting", "The first token is on its way; requests wait for it."}
	case !served:
		return verdict{"idle", severityInfo, "idle", "No token is in memory; the next request fetches one."}
	}
	return verdict{"ok", severityOK, "ok", "Requests get their token from memory, and each is replaced ahead of expiry."}
}

// judgeTarget changes the verdict of an upstream whose token is no trouble, if its target is.
func (r *upstreamReport) judgeTarget() {
	if cause := r.Connections.Unreachable; cause != "" && (r.Severity == severityOK || r.Severity == severityInfo) {
		r.State, r.Severity, r.Label = "target_unreachable", severityError, "target unreachable"
		r.Meaning = "The last request to the API had no answer: " + cause + "."
	}
}

// failureOf returns the failure that decides the state of an upstream, nil if there
// is none: the one that stopped all its keys, else that of a pinned key, else that
// of any other key.
func failureOf(s cache.SourceStatus) *upstream.Error {
	switch {
	case s.Stopped != nil:
		return s.Stopped
	case s.Pinned.Failure != nil:
		return s.Pinned.Failure
	}
	return s.Failure
}

// judgeFailure returns what a failure of that class means. served says whether the
// tokens in memory are still enough for the requests of the app. The statuses in its
// words are those of the problems in package proxy.
func judgeFailure(class upstream.Class, served bool) verdict {
	v := verdict{severity: severityError}
	then := "Requests without a token in memory are answered 503."
	switch class {
	case upstream.ClassCredential:
		v.state, v.label = "credential_refused", "credential refused"
		v.meaning = "The provider refuses this sidecar’s credential: run token-sidecar check."
		then = "Requests without a token in memory are answered 502."
	case upstream.ClassSubject, upstream.ClassScope:
		v.state, v.label = "token_refused", "token refused"
		v.meaning = "The provider does not give this client the token that the settings ask for: run token-sidecar check."
		then = "Requests for it are answered 403."
	case upstream.ClassThrottled:
		v.state, v.label = "throttled", "throttled"
		v.meaning = "The token endpoint asks for fewer token requests."
	default:
		v.state, v.label = "failing", "failing"
		v.meaning = "Token requests fail and are tried again."
		if served {
			v.state, v.label = "retrying", "retrying"
		}
	}
	if served {
		then = "Tokens in memory serve until they expire."
		if class == upstream.ClassThrottled || v.state == "retrying" {
			v.severity = severityWarning
		}
	}
	v.meaning += " " + then
	return v
}
