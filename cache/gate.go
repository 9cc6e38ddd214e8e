package cache

import (
	"errors"
	"sync"
	"time"

	"token-sidecar/upstream"
)

// gate stops the token requests of a whole upstream: when the credential is
// refused, until it changes or a slow retry succeeds; when the endpoint asks
// for quiet; and when it fails for several keys in a row, so that an outage is
// probed once per step and not once per key. The zero gate is open.
type gate struct {
	mu       sync.Mutex // guards all below
	cause    *upstream.Error
	until    instant
	steps    int
	closings int                  // so far: a failure of a request from before the last one is no news
	probing  bool                 // one request is under way to see whether it works again
	refused  upstream.Fingerprint // the credential that was refused
	last     upstream.Key         // that failed last
	run      int                  // failures in a row of different keys
}

const (
	credentialPause    = time.Minute
	maxCredentialPause = 10 * time.Minute
	failuresToClose    = 3
)

// enter asks to make a token request. It returns an *Error if the gate is
// closed. Otherwise the caller must report to leave how it went, and when it began.
func (g *gate) enter(now instant, credential upstream.Fingerprint) (began int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.cause == nil:
	case g.cause.Class == upstream.ClassCredential && credential != g.refused:
		g.cause, g.steps = nil, 0
	case !g.until.reached(now):
		return 0, &Error{g.cause, g.until.until(now)}
	case g.probing:
		return 0, &Error{g.cause, time.Second}
	default:
		g.probing = true
	}
	return g.closings, nil
}

// leave reports how a token request for key went that began after so many
// closings. Errors of a parent in a chain are not its own and say nothing.
func (g *gate) leave(began int, key upstream.Key, err error, now instant, credential upstream.Fingerprint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if began == g.closings {
		g.probing = false
	}
	var parent *Error
	var cause *upstream.Error
	if errors.As(err, &parent) || (err != nil && !errors.As(err, &cause)) {
		return
	}
	if err == nil || cause.Class == upstream.ClassSubject || cause.Class == upstream.ClassScope {
		g.cause, g.steps, g.run, g.last = nil, 0, 0, upstream.Key{}
		return
	}
	if began != g.closings {
		return
	}
	var wait time.Duration
	switch cause.Class {
	case upstream.ClassCredential:
		g.refused = credential
		wait = backoff(credentialPause, maxCredentialPause, g.steps)
	case upstream.ClassThrottled:
		wait = backoff(time.Second, maxBackoff, g.steps)
	default:
		if key != g.last {
			g.last = key
			g.run++
		}
		if g.run < failuresToClose && g.cause == nil {
			return
		}
		wait = backoff(time.Second, maxBackoff, g.steps)
	}
	if g.cause == nil {
		g.closings++
		g.probing = false
	}
	g.steps++
	g.cause = cause
	g.until = now.add(max(wait, min(cause.RetryAfter, maxHonored)))
}

// shut returns how long the gate stays closed, 0 if it is open.
func (g *gate) shut(now instant) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause == nil {
		return 0
	}
	return max(g.until.until(now), 0)
}
