package cache

import (
	"errors"
	"slices"
	"sync"
	"time"

	"token-sidecar/upstream"
)

// gate stops the token requests of a whole upstream: when the credential is
// refused, until it changes or a slow retry succeeds; when the endpoint asks
// for quiet; and when it fails for several keys in a row, so that an outage is
// probed once per step and not once per key. The zero gate is open.
type gate struct {
	mu         sync.Mutex // guards all below
	cause      *upstream.Error
	pause      pause
	steps      int
	generation int                  // of what the gate knows: how often it has closed. The outcome of a load from before does not count
	recoveries int                  // how often it has opened
	probing    bool                 // one request is under way to see whether it works again
	refused    upstream.Fingerprint // the credential that was refused
	failed     []upstream.Key       // keys that failed, one after the other and without a success, while the gate is open
	doubted    upstream.Key         // whose refusal may have been meant for the credential; the zero Key is none
}

const (
	credentialPause    = time.Minute
	maxCredentialPause = 10 * time.Minute
	failuresToClose    = 3
)

// pause is the time in which no token request is made after a failure.
type pause struct {
	until   instant
	soonest instant // the end of the pause for those who have no token without it
}

// end returns when the pause ends for somebody who needs a token at needed.
func (p pause) end(needed instant) instant {
	if needed.mono < p.until.mono {
		return p.soonest
	}
	return p.until
}

// refusing returns an *Error if the credential is refused, which concerns all keys,
// whatever else is known of them.
func (g *gate) refusing(now instant, credential upstream.Fingerprint) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause == nil || g.cause.Class != upstream.ClassCredential || credential != g.refused || g.pause.until.reached(now) {
		return nil
	}
	return &Error{g.cause, max(g.pause.until.until(now), time.Millisecond)}
}

// enter asks to make a token request for a token that is needed at needed. It returns
// an *Error if the gate is closed. Otherwise the caller must report to leave how it
// went, and the generation.
func (g *gate) enter(now, needed instant, credential upstream.Fingerprint) (generation int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	end := g.pause.end(needed)
	switch {
	case g.cause == nil:
	case g.cause.Class == upstream.ClassCredential && credential != g.refused:
		g.open()
	case !end.reached(now):
		return 0, &Error{g.cause, max(end.until(now), time.Millisecond)}
	case g.probing:
		return 0, &Error{g.cause, time.Second}
	default:
		g.probing = true
	}
	return g.generation, nil
}

func (g *gate) open() {
	g.cause, g.steps, g.probing = nil, 0, false
	g.failed, g.doubted = nil, upstream.Key{}
	g.recoveries++
}

// leave reports how a token request for key went that began in generation. It returns
// what err turned out to mean, which is err itself unless a refusal that might have
// been the key's is the credential's. Errors of a parent in a chain are not its own
// and say nothing.
func (g *gate) leave(generation int, key upstream.Key, err error, now instant, credential upstream.Fingerprint) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if generation != g.generation {
		return err
	}
	g.probing = false
	var parent *Error
	var cause *upstream.Error
	if errors.As(err, &parent) || (err != nil && !errors.As(err, &cause)) {
		return err
	}
	if err != nil && g.doubts(cause, key) {
		meant := *cause
		meant.Class, meant.Reason = upstream.ClassCredential, "the credential is refused, by the same answer for several keys"
		cause, err = &meant, &meant
	}
	if err == nil || cause.Class == upstream.ClassSubject || cause.Class == upstream.ClassScope {
		doubted := g.doubted
		if g.cause != nil {
			g.open()
		}
		g.steps, g.failed = 0, nil
		if err == nil {
			doubted = upstream.Key{}
		}
		g.doubted = doubted
		return err
	}
	if g.cause == nil && endpointWide(cause.Class) {
		if !slices.Contains(g.failed, key) {
			g.failed = append(g.failed, key)
		}
		if len(g.failed) < failuresToClose {
			return err
		}
	}
	g.close(cause, now, credential)
	return err
}

// doubts reports whether a refusal that leaves open whether it is meant for key or for
// the credential is meant for the latter, as it is if another key met it, too.
func (g *gate) doubts(cause *upstream.Error, key upstream.Key) bool {
	if !cause.Unsure {
		return false
	}
	before := g.doubted
	g.doubted = key
	return before != upstream.Key{} && before != key || g.cause != nil && g.cause.Class == upstream.ClassCredential
}

// close closes the gate or leaves it closed for longer.
func (g *gate) close(cause *upstream.Error, now instant, credential upstream.Fingerprint) {
	asked := min(cause.RetryAfter, maxHonored)
	wait, soonest := backoff(time.Second, maxBackoff, g.steps), time.Duration(0)
	switch cause.Class {
	case upstream.ClassCredential:
		g.refused = credential
		wait = backoff(credentialPause, maxCredentialPause, g.steps)
		soonest = wait
	case upstream.ClassThrottled:
		soonest = wait
	default:
		soonest = probePause()
	}
	if g.cause == nil {
		g.generation++
		g.failed = nil
	}
	g.steps++
	g.cause = cause
	g.pause = pause{until: now.add(max(wait, asked)), soonest: now.add(max(min(soonest, wait), asked))}
}

// probePause is how soon a failing endpoint is asked again while somebody has no
// token: within a second, so that a recovery is noticed.
func probePause() time.Duration {
	return time.Duration(float64(900*time.Millisecond) * (0.9 + jitter()/10))
}

// endpointWide reports whether failures of a class tell of the token endpoint rather
// than of one key, and say nothing of the credential.
func endpointWide(class upstream.Class) bool {
	return class == upstream.ClassUnavailable || class == upstream.ClassMalformed
}

// recovered returns how often the gate has opened so far.
func (g *gate) recovered() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.recoveries
}

// shut returns how long the gate stays closed for somebody who needs a token at
// needed, 0 if it is open.
func (g *gate) shut(now, needed instant) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause == nil {
		return 0
	}
	return max(g.pause.end(needed).until(now), 0)
}
