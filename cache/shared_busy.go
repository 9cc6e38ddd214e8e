package cache

import (
	"time"

	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

// busyLease is the wait for a lease that others hold.
type busyLease struct {
	began  time.Time // of the wait
	holder string
	since  time.Time // when the holder was first seen
}

// tooLong notes who holds the lease, and reports whether that holder has had it for
// longer than any replica may: then it is none.
func (b *busyLease) tooLong(holder string, longest time.Duration) bool {
	if b.holder != holder {
		b.holder, b.since = holder, time.Now()
	}
	return time.Since(b.since) > longest+shared.LeaseTime
}

// patient reports whether to wait on. A wait that was in vain does not end in a token
// request without the lease: all who wait would make one together, of an endpoint that
// hangs.
func (b *busyLease) patient(longest time.Duration) bool {
	if b.began.IsZero() {
		b.began = time.Now()
	}
	return time.Since(b.began) < longest+2*shared.LeaseTime
}

// longestHold returns how long a replica may hold a lease that it renews: for its token
// request, and before that for its turn.
func (l *sharedLoad) longestHold() time.Duration {
	if l.e.source.budget == nil {
		return l.c.config.TokenTimeout
	}
	return l.c.config.TokenTimeout + 2*l.e.source.line.patience
}

func busyError(name string) *Error {
	return &Error{RetryAfter: time.Second, Cause: &upstream.Error{Upstream: name,
		Class: upstream.ClassUnavailable, Reason: "other replicas ask for this token, and have got none so far"}}
}
