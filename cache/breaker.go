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
	closings   int                  // how often it has closed
	probing    bool                 // one token request is under way to see whether the endpoint works again
	refused    upstream.Fingerprint // the credential that was refused
	failed     []upstream.Key       // keys that failed in a row, without a success, while it is closed
	doubted    upstream.Key         // the key that was refused last in a way that may be meant for the credential; the zero Key is none
}

const (
	credentialPause    = time.Minute
	maxCredentialPause = 10 * time.Minute
	failuresToOpen     = 3
)

// checkCredential returns an *Error if the credential is refused, which concerns all
// keys, whatever else is known of them.
func (b *endpointBreaker) checkCredential(now instant, credential upstream.Fingerprint) error {
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
	b.closings++
}

// report says how a token request for key went that began in generation. It returns what err
// means: a refusal of which the provider leaves open whether it is meant for the key or for
// the credential becomes one of the credential if other keys met it too, and every other
// error stays as it is. Errors of a token that was to buy this one are not the endpoint's own
// and say nothing of it, and neither does errNotAsked.
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
	if err != nil && b.meansCredential(cause, key) {
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

// errNotAsked says that a load did not ask the token endpoint: because the token came
// from another replica, or because no token request could be made in time.
var errNotAsked = errors.New("the token endpoint was not asked")

// meansCredential reports whether a refusal of key is meant for the credential although the
// provider leaves that open: it is if another key was refused so before. It remembers key for
// the next time. b.mu is held.
func (b *endpointBreaker) meansCredential(cause *upstream.Error, key upstream.Key) bool {
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

// closed returns how often the breaker has closed so far.
func (b *endpointBreaker) closed() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closings
}

// state returns why the breaker is open and for how long, nil if it is closed.
func (b *endpointBreaker) state() (*upstream.Error, pause) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cause, b.pause
}
