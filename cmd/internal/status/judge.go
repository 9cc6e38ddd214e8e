package status

import (
	"time"

	"token-sidecar/cache"
	"token-sidecar/upstream"
)

// severity says whether somebody has to look.
type severity string

const (
	severityOK      severity = "ok"
	severityInfo    severity = "info"    // nothing is wrong, and nothing is there yet
	severityWarning severity = "warning" // something fails; requests are served
	severityError   severity = "error"   // requests are refused, or will be unless somebody acts
)

// worse returns the graver of two; that there is nothing yet is not grave.
func worse(a, b severity) severity {
	for _, s := range [...]severity{severityError, severityWarning} {
		if a == s || b == s {
			return s
		}
	}
	return severityOK
}

// verdict is the state of an upstream: its name for machines, which
// docs/status.md explains, and in words.
type verdict struct {
	state    string
	severity severity
	label    string
	meaning  string
}

// lately is for how long a request that was put off counts.
const lately = time.Minute

// judge tells how an upstream does by what the cache knows of it.
func judge(s cache.SourceStatus) verdict {
	served := s.Fresh+s.Stale > 0
	if s.Pinned.Keys > 0 {
		served = s.Pinned.Usable == s.Pinned.Keys
	}
	if failure := failureOf(s); failure != nil {
		return judgeFailure(failure.Class, served)
	}
	b, short := s.Budget, severityWarning
	if !served {
		short = severityError
	}
	switch {
	case b.Stopped != "":
		return verdict{"fleet_stopped", short, "stopped by another replica", "Another replica met trouble at the token endpoint: " +
			"all replicas together make one token request a second at most, until one succeeds. Tokens in memory serve until they expire."}
	case !b.PutOff.IsZero() && time.Since(b.PutOff) < lately:
		return verdict{"budget_spent", short, "budget spent", "All replicas together need more token requests than their budget allows: " +
			"requests without a token in memory wait for their turn, or are answered 503 with the time at which it is."}
	case s.Pinned.Usable < s.Pinned.Keys:
		return verdict{"starting", severityInfo, "starting", "The first token is on its way; requests wait for it."}
	case !served:
		return verdict{"idle", severityInfo, "idle", "No token is in memory; the next request fetches one."}
	}
	return verdict{"ok", severityOK, "ok", "Requests get their token from memory, and each is replaced ahead of expiry."}
}

// judgeFailure tells what a failure means, while tokens in memory still serve
// and when they do not. The statuses are those of the proxy's problems.
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
