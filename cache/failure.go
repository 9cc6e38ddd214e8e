package cache

import (
	"errors"
	"fmt"
	"time"

	"token-sidecar/upstream"
)

// Error says why there is no token, and when to ask again. It holds no
// secret and no subject.
type Error struct {
	// Cause is what went wrong.
	Cause *upstream.Error
	// RetryAfter is how long no token request will be made for this key,
	// more than zero.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	return fmt.Sprintf("no token, next attempt in %s: %v", e.RetryAfter.Round(time.Second), e.Cause)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// unasked says that a load came to nothing without a token request, for reasons of our
// own: it is no failure of the key or of the token endpoint.
type unasked struct {
	reason  *Error
	promise time.Time     // when a request may come again and will have its turn; zero: it has none to wait for
	again   time.Duration // when a load that no request waits for tries again; zero: as after any
}

// promise is the time at which a request that had no turn may come again. The zero
// promise is none: no request was refused.
type promise struct {
	at    time.Time
	cause *upstream.Error // why it had none
}

func (u *unasked) Error() string { return u.reason.Error() }

// failure is the last failed load of a key, and when the next may begin. A nil
// *failure is none. It never changes.
type failure struct {
	cause    *upstream.Error
	pause    pause
	steps    int           // failures in a row
	endpoint endpointState // then: with another credential, or after a recovery, all may be well
}

// void reports whether f says nothing any more, now that the endpoint's state is now.
func (f *failure) void(now endpointState) bool {
	return f == nil || f.endpoint.credential != now.credential || (f.endpoint.recoveries != now.recoveries && !f.lasting())
}

// pending returns an *Error while the time for another attempt has not come, for
// somebody who needs a token at needed.
func (f *failure) pending(now, needed instant) error {
	if f == nil || f.pause.end(needed).reached(now) {
		return nil
	}
	return &Error{f.cause, max(f.pause.end(needed).until(now), time.Millisecond)}
}

// How long a refusal stands before the provider is asked again. A subject may
// be let in any minute (a user connects a source); a scope takes a change of
// settings on either side.
const (
	subjectPause = 30 * time.Second
	scopePause   = 5 * time.Minute
)

const (
	maxBackoff = 15 * time.Second
	maxHonored = 5 * time.Minute // of a Retry-After
)

// newFailure returns what err, of a load for a key of the upstream name, means after
// the failure before, which may be nil. life is that of the token still held, zero if
// none is usable: a short-lived token leaves little time for the second attempt.
func newFailure(before *failure, name string, err error, now instant, life time.Duration) *failure {
	f := &failure{}
	if before != nil {
		f.steps = before.steps
	}
	var known *Error
	switch {
	case errors.As(err, &known): // of the parent in a chain
		f.cause = known.Cause
		at := now.add(known.RetryAfter)
		f.pause = pause{at, at}
	case errors.As(err, &f.cause):
		f.pause = f.paused(now, life)
	default:
		f.cause = brokenOff(name)
		f.pause = f.paused(now, life)
	}
	f.steps++
	return f
}

// brokenOff is the failure of a load that ended in none of the ways it should.
func brokenOff(name string) *upstream.Error {
	return &upstream.Error{Upstream: name, Class: upstream.ClassUnavailable, Reason: "the token request was broken off"}
}

func (f *failure) paused(now instant, life time.Duration) pause {
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

// backoff returns first doubled steps times, at most limit, varied so that
// those who failed together do not come back together.
func backoff(first, limit time.Duration, steps int) time.Duration {
	d := first << min(steps, 20)
	if d > limit || d <= 0 {
		d = limit
	}
	return time.Duration(float64(d) * jitter())
}

// lasting reports whether the provider decided against this key, so that
// asking again without a request is no use.
func (f *failure) lasting() bool { return f != nil && decided(f.cause.Class) }

// decided reports whether a failure of class is a decision of the provider against one key.
func decided(class upstream.Class) bool {
	return class == upstream.ClassSubject || class == upstream.ClassScope
}

// causeOf returns the failed token request that err is, nil if it is none.
func causeOf(err error) *upstream.Error {
	var cause *upstream.Error
	if errors.As(err, &cause) {
		return cause
	}
	return nil
}

// fail notes a failed load. e.mu is held.
func (c *Cache) fail(e *entry, f *flight, err error, now instant) {
	var life time.Duration
	if h := e.held.Load(); h != nil && !h.invalidAt.reached(now) {
		life = h.life
	}
	e.failure = newFailure(e.failure, e.key.Upstream, err, now, life)
	e.failure.endpoint = endpointState{f.credential, e.source.gate.recovered()}
	if !f.rejected.IsZero() && e.failure.lasting() {
		// The target refuses this token and the provider gives no other.
		c.table.hold(e, nil)
	}
	if c.ctx.Err() == nil {
		c.config.Log.Warn().Str("upstream", e.key.Upstream).Str("kind", string(e.key.Kind)).
			Stringer("retry_in", c.nextAttempt(e, now).Round(time.Millisecond)).
			Str("error", e.failure.cause.Error()).Msg("token request failed")
	}
}

// nextAttempt returns how long no token request will be made for e, which has failed
// just now. e.mu is held.
func (c *Cache) nextAttempt(e *entry, now instant) time.Duration {
	needed := now
	if h := e.held.Load(); h != nil && !h.invalidAt.reached(now) {
		needed = h.invalidAt
	}
	wait := max(e.failure.pause.end(needed).until(now), e.source.gate.shut(now, needed))
	return max(wait, time.Millisecond)
}
