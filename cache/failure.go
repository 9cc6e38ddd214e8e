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

// failure is the last failed load of a key, and when the next may begin. A nil
// *failure is none.
type failure struct {
	cause *upstream.Error
	until instant
	steps int // failures in a row
}

// pending returns an *Error while the time for another attempt has not come.
func (f *failure) pending(now instant) error {
	if f == nil || f.until.reached(now) {
		return nil
	}
	return &Error{f.cause, f.until.until(now)}
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

// note records a failed load. life is that of the token still held, zero if
// none is usable: a short-lived token leaves little time for the second attempt.
func (f *failure) note(name string, err error, now instant, life time.Duration) {
	var wait time.Duration
	var known *Error
	var cause *upstream.Error
	switch {
	case errors.As(err, &known): // of the parent in a chain
		f.cause, wait = known.Cause, known.RetryAfter
	case errors.As(err, &cause):
		f.cause = cause
		wait = f.pause(life)
	default:
		f.cause = &upstream.Error{Upstream: name, Class: upstream.ClassUnavailable,
			Reason: "the token request was broken off"}
		wait = f.pause(life)
	}
	f.steps++
	f.until = now.add(wait)
}

func (f *failure) pause(life time.Duration) time.Duration {
	switch f.cause.Class {
	case upstream.ClassSubject:
		return subjectPause
	case upstream.ClassScope:
		return scopePause
	}
	first := time.Second
	if life > 0 {
		first = min(max(life/20, 50*time.Millisecond), first)
	}
	return max(backoff(first, maxBackoff, f.steps), min(f.cause.RetryAfter, maxHonored))
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
func (f *failure) lasting() bool {
	return f != nil && (f.cause.Class == upstream.ClassSubject || f.cause.Class == upstream.ClassScope)
}
