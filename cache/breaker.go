package cache

import (
	"errors"
	"slices"
	"sync"
	"time"

	"token-sidecar/upstream"
)

// endpointBreaker stops the token requests of a whole upstream: when the credential is
// refused, until it changes or a slow retry succeeds; when the endpoint asks for quiet;
// and when it fails for several keys in a row, so that an outage is probed once per step
// and not once per key. It is closed while token requests are made, as the zero
// endpointBreaker is, and open while they are stopped.
type endpointBreaker struct {
	mu         sync.Mutex           // guards all below
	cause      *upstream.Error      // why it is open; nil while it is closed
	pause      pause                // how long it is open
	steps      int                  // how often it opened or a probe failed, in a row
	generation int                  // how often it has opened; what began in an older generation does not count
	recoveries int                  // how often it has closed
	probing    bool                 // one token request is under way to see whether the endpoint works again
	refused    upstream.Fingerprint // the credential that was refused
	failed     []upstream.Key       // keys that failed in a row, without a success, while it is closed
	doubted    upstream.Key         // whose refusal may have been meant for the credential; the zero Key is none
}

const (
	credentialPause    = time.Minute
	maxCredentialPause = 10 * time.Minute
	failuresToOpen     = 3
)

// credentialRefused returns an *Error if the credential is refused, which concerns all
// keys, whatever else is known of them.
func (b *endpointBreaker) credentialRefused(now instant, credential upstream.Fingerprint) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cause == nil || b.cause.Class != upstream.ClassCredential || credential != b.refused || b.pause.until.reached(now) {
		return nil
	}
	return &Error{b.cause, max(b.pause.until.until(now), time.Millisecond)}
}

// allow asks to make a token request for a token that is needed at needed. It returns an
// *Error if the breaker is open. Otherwise the caller must tell report how it went, with
// the generation.
func (b *endpointBreaker) allow(now, needed instant, credential upstream.Fingerprint) (generation int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	end := b.pause.end(needed)
	switch {
	case b.cause == nil:
	case b.cause.Class == upstream.ClassCredential && credential != b.refused:
		b.close()
	case !end.reached(now):
		return 0, &Error{b.cause, max(end.until(now), time.Millisecond)}
	case b.probing:
		return 0, &Error{b.cause, time.Second}
	default:
		b.probing = true
	}
	return b.generation, nil
}

// close has token requests be made again. b.mu is held.
func (b *endpointBreaker) close() {
	b.cause, b.pause, b.steps, b.probing = nil, pause{}, 0, false
	b.failed, b.doubted = nil, upstream.Key{}
	b.recoveries++
}

// report says how a token request for key went that began in generation. It returns what
// err turned out to mean, which is err itself unless a refusal that might have been the
// key's is the credential's. Errors of a parent in a chain are not the endpoint's own and
// say nothing, and neither does errNoRequest.
func (b *endpointBreaker) report(generation int, key upstream.Key, err error, now instant, credential upstream.Fingerprint) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if generation != b.generation {
		return err
	}
	b.probing = false
	var parent *Error
	cause := causeOf(err)
	if errors.As(err, &parent) || err != nil && cause == nil {
		return err
	}
	if err != nil && b.doubts(cause, key) {
		meant := *cause
		meant.Class, meant.Reason = upstream.ClassCredential, "the credential is refused, by the same answer for several keys"
		cause, err = &meant, &meant
	}
	if err == nil || decided(cause.Class) {
		doubted := b.doubted
		if b.cause != nil {
			b.close()
		}
		b.steps, b.failed, b.doubted = 0, nil, upstream.Key{}
		if err != nil {
			b.doubted = doubted
		}
		return err
	}
	if b.cause == nil && endpointWide(cause.Class) {
		if !slices.Contains(b.failed, key) {
			b.failed = append(b.failed, key)
		}
		if len(b.failed) < failuresToOpen {
			return err
		}
	}
	b.open(cause, now, credential)
	return err
}

// errNoRequest says that a load did not ask the token endpoint: because the token came
// from another replica, or because no token request could be made in time.
var errNoRequest = errors.New("the token endpoint was not asked")

// doubts reports whether a refusal that leaves open whether it is meant for key or for
// the credential is meant for the latter, as it is if another key met it, too. b.mu is
// held.
func (b *endpointBreaker) doubts(cause *upstream.Error, key upstream.Key) bool {
	if !cause.Unsure {
		return false
	}
	before := b.doubted
	b.doubted = key
	return before != upstream.Key{} && before != key || b.cause != nil && b.cause.Class == upstream.ClassCredential
}

// open stops token requests, or leaves them stopped for longer. b.mu is held.
func (b *endpointBreaker) open(cause *upstream.Error, now instant, credential upstream.Fingerprint) {
	asked := min(cause.RetryAfter, maxHonored)
	wait, soonest := backoff(time.Second, maxBackoff, b.steps), time.Duration(0)
	switch cause.Class {
	case upstream.ClassCredential:
		b.refused = credential
		wait = backoff(credentialPause, maxCredentialPause, b.steps)
		soonest = wait
	case upstream.ClassThrottled:
		soonest = wait
	default:
		soonest = probePause()
	}
	if b.cause == nil {
		b.generation++
		b.failed = nil
	}
	b.steps++
	b.cause = cause
	b.pause = pause{until: now.add(max(wait, asked)), soonest: now.add(max(min(soonest, wait), asked))}
}

// recovered returns how often the breaker has closed so far.
func (b *endpointBreaker) recovered() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.recoveries
}

// opened returns why the breaker is open and for how long, nil if it is closed.
func (b *endpointBreaker) opened() (*upstream.Error, pause) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cause, b.pause
}
