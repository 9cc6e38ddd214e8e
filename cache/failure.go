package cache

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"token-sidecar/upstream"
)

// Error says why there is no token, and when to ask again. It holds no secret and no
// subject.
type Error struct {
	// Cause is what went wrong.
	Cause *upstream.Error
	// RetryAfter is how long no token request will be made for this key, more than zero.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	return fmt.Sprintf("no token, next attempt in %s: %v", e.RetryAfter.Round(time.Second), e.Cause)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// deferred is the error of a load that made no token request, for reasons of our own, and
// may do so later: it is no failure of the key or of the token endpoint.
type deferred struct {
	reason  *Error
	promise *promise      // when a request may come again and will be served; nil: there is no such time
	again   time.Duration // after which a load that no request waits for tries again; zero: as after any other
}

func (n *deferred) Error() string { return n.reason.Error() }

// promise is the time at which a request that was refused may come again, and is served
// then. A nil *promise is none. It never changes.
type promise struct {
	at    time.Time
	cause *upstream.Error // why the request was refused
}

// promised returns the deferred of a request that is refused for reason, and may come again
// when that says.
func promised(reason *Error) *deferred {
	return &deferred{reason: reason, promise: &promise{time.Now().Add(reason.RetryAfter), reason.Cause}}
}

// left returns how long it is until p, which may be nil, and less than zero if p has passed.
func (p *promise) left() time.Duration {
	if p == nil {
		return -time.Hour
	}
	return time.Until(p.at)
}

// pause is the time in which no token request is made after a failure.
type pause struct {
	until   instant
	soonest instant // the end of the pause for a key that has no usable token
}

// end returns when the pause ends for somebody who needs a token at needed.
func (p pause) end(needed instant) instant {
	if needed.mono < p.until.mono {
		return p.soonest
	}
	return p.until
}

// failure is the last failed load of a key, and when the next may begin. A nil *failure
// is none. It never changes.
type failure struct {
	cause    *upstream.Error
	pause    pause
	steps    int             // failures in a row
	endpoint endpointVersion // at that time
}

// endpointVersion tells what a failure was met under: the credential, and how often the
// breaker had closed. With another credential, or once the breaker has closed again, all
// may be well, and the failure says nothing any more.
type endpointVersion struct {
	credential upstream.Fingerprint
	closings   int
}

// outdated reports whether f says nothing any more, now that the endpoint is in version now.
func (f *failure) outdated(now endpointVersion) bool {
	return f == nil || f.endpoint.credential != now.credential || (f.endpoint.closings != now.closings && !f.lasting())
}

// pending returns an *Error while the time for another attempt has not come, for
// somebody who needs a token at needed.
func (f *failure) pending(now, needed instant) error {
	if f == nil || f.pause.end(needed).reached(now) {
		return nil
	}
	return &Error{f.cause, max(f.pause.end(needed).until(now), time.Millisecond)}
}

// lasting reports whether the provider decided against this key, so that nothing is
// gained by asking again until a request comes.
func (f *failure) lasting() bool { return f != nil && decided(f.cause.Class) }

// How long a refusal stands before the provider is asked again. A subject may be let in
// any minute (a user connects a source); a scope takes a change of settings on either
// side.
const (
	subjectPause = 30 * time.Second
	scopePause   = 5 * time.Minute
)

const (
	maxBackoff = 15 * time.Second
	maxHonored = 5 * time.Minute // of a Retry-After
)

// newFailure returns what err, of a load for a key of the upstream name, means after the
// failure before, which may be nil. life is that of the token still held, zero if none is
// usable: a short-lived token leaves little time for the second attempt.
func newFailure(before *failure, name string, err error, now instant, life time.Duration, state endpointVersion) *failure {
	f := &failure{cause: causeOf(err), endpoint: state}
	if before != nil {
		f.steps = before.steps
	}
	var parent *Error
	switch {
	case errors.As(err, &parent): // of the token that was to buy this one
		f.cause = parent.Cause
		at := now.add(parent.RetryAfter)
		f.pause = pause{at, at}
	case f.cause == nil:
		f.cause = brokenOff(name)
		fallthrough
	default:
		f.pause = f.pauseOf(now, life)
	}
	f.steps++
	return f
}

// brokenOff is the failure of a load that ended in none of the ways it should.
func brokenOff(name string) *upstream.Error {
	return &upstream.Error{Upstream: name, Class: upstream.ClassUnavailable, Reason: "the token request was broken off"}
}

// pauseOf returns the pause after f, of a key whose token lives for life.
func (f *failure) pauseOf(now instant, life time.Duration) pause {
	switch f.cause.Class {
	case upstream.ClassSubject:
		return pause{now.add(subjectPause), now.add(subjectPause)}
	case upstream.ClassScope:
		return pause{now.add(scopePause), now.add(scopePause)}
	}
	first := time.Second
	if life > 0 {
		first = min(max(life/20, 50*time.Millisecond), first)
	}
	wait := backoff(first, maxBackoff, f.steps)
	soonest := wait
	if endpointWide(f.cause.Class) {
		soonest = min(wait, probePause())
	}
	asked := min(f.cause.RetryAfter, maxHonored)
	return pause{now.add(max(wait, asked)), now.add(max(soonest, asked))}
}

// backoff returns first doubled steps times, at most limit, and varies that by a fifth so
// that those who failed together do not come back together.
func backoff(first, limit time.Duration, steps int) time.Duration {
	d := first << min(steps, 20)
	if d > limit || d <= 0 {
		d = limit
	}
	return time.Duration(float64(d) * jitter())
}

// jitter returns a factor between 0.8 and 1.2, so that what began together does not
// come back together.
func jitter() float64 { return 0.8 + 0.4*rand.Float64() }

// probePause returns how soon a failing endpoint is asked again while somebody has no
// token: within a second, so that a recovery is noticed.
func probePause() time.Duration {
	return time.Duration(float64(900*time.Millisecond) * (0.9 + jitter()/10))
}

// decided reports whether a failure of class is a decision of the provider against one key.
func decided(class upstream.Class) bool {
	return class == upstream.ClassSubject || class == upstream.ClassScope
}

// endpointWide reports whether failures of class tell of the token endpoint rather than
// of one key, and say nothing of the credential.
func endpointWide(class upstream.Class) bool {
	return class == upstream.ClassUnavailable || class == upstream.ClassMalformed
}

// causeOf returns the failed token request that err is, nil if it is none.
func causeOf(err error) *upstream.Error {
	var cause *upstream.Error
	errors.As(err, &cause)
	return cause
}
