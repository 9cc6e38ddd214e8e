package cache

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"token-sidecar/upstream"
)

// SourceStatus is what the cache knows of one upstream at one moment. It holds
// no token, subject or scope. Times are of the wall clock; a zero time means
// that there is none.
type SourceStatus struct {
	Upstream string

	// Keys in memory by the state of their token; one without a token is invalid.
	Fresh, Stale, Invalid int
	// Loading is how many keys have a load under way.
	Loading int
	// Retrying and Refused are how many keys had a failed load and no better one
	// since: with more attempts to come, or with the provider decided against
	// the key's subject or scope.
	Retrying, Refused int
	// NextRefresh is when the next token of any key in use is replaced.
	NextRefresh time.Time
	// Failure is that of the retried key whose turn is next, and NextAttempt
	// when it is; nil if no key is retried.
	Failure     *upstream.Error
	NextAttempt time.Time

	// Stopped is why no token request is made for any key, until StoppedUntil or
	// until one attempt after it succeeds; nil if they are made.
	Stopped      *upstream.Error
	StoppedUntil time.Time

	Pinned PinnedStatus
	Last   TokenRequest
	Budget BudgetStatus
}

// BudgetStatus is about the token requests that all replicas may make together. The
// zero BudgetStatus is no budget.
type BudgetStatus struct {
	Rate    float64 // token requests per second
	Waiting int     // loads of this replica that wait for their turn within it
	// PutOff is when a request was told last that no turn comes in the time that it
	// can wait, and when to come again.
	PutOff time.Time
	// Without reports that Redis could not be asked last, so that TOKEN_RATE alone
	// holds for each replica.
	Without bool
	// Stopped is why the fleet makes no token requests but one a second, as a replica
	// found; empty if it goes on. StoppedUntil is when the next may be made.
	Stopped      upstream.Class
	StoppedUntil time.Time
}

// PinnedStatus is about the keys that are kept fresh whether they are used or not.
type PinnedStatus struct {
	Keys, Usable, Loading int
	Expiry                time.Time       // of the usable token that is the first not to be used any more
	NextRefresh           time.Time       // or the next attempt; zero while all are loading
	Failure               *upstream.Error // of one of them; nil if none failed last
}

// TokenRequest is one token request that was made. The zero TokenRequest is none.
type TokenRequest struct {
	Began   time.Time
	Took    time.Duration
	Failure *upstream.Error // nil: it brought a token
}

// Status returns what is known of each upstream, sorted by name. It walks
// through all keys, one lock at a time, and waits for no I/O.
func (c *Cache) Status() []SourceStatus {
	wall, now := time.Now(), c.now()
	bySource := map[*source]*SourceStatus{}
	for name, s := range c.sources {
		status := &SourceStatus{Upstream: name}
		var wait time.Duration
		if status.Stopped, wait = s.gate.closed(now); status.Stopped != nil {
			status.StoppedUntil = wall.Add(wait)
		}
		if last := s.last.Load(); last != nil {
			status.Last = *last
		}
		status.Budget = s.budget.status()
		bySource[s] = status
	}
	c.table.index.each(func(e *entry) { c.describe(e, wall, now, bySource[e.source]) })
	all := make([]SourceStatus, 0, len(bySource))
	for _, s := range bySource {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b SourceStatus) int { return cmp.Compare(a.Upstream, b.Upstream) })
	return all
}

// describe adds what is known of e to status.
func (c *Cache) describe(e *entry, wall time.Time, now instant, status *SourceStatus) {
	e.mu.Lock()
	due, h := c.agenda.dueAt(e), e.held.Load()
	var failed failure
	if e.failure != nil {
		failed = *e.failure
	}
	flying := e.flight != nil
	e.mu.Unlock()
	usable := h != nil && !h.invalidAt.reached(now)
	switch {
	case !usable:
		status.Invalid++
	case h.staleAt.reached(now):
		status.Stale++
	default:
		status.Fresh++
	}
	pinned := e.pinned.Load()
	if flying {
		status.Loading++
	}
	next := time.Time{}
	if due != 0 && !flying && (pinned || (e.used() && !e.resting.Load())) {
		next = wall.Add(max(time.Duration(due-now.mono), 0))
	}
	status.NextRefresh = sooner(status.NextRefresh, next)
	switch {
	case failed.cause == nil:
	case failed.lasting():
		status.Refused++
	default:
		status.Retrying++
		needed := now
		if usable {
			needed = h.invalidAt
		}
		at := wall.Add(max(failed.pause.end(needed).until(now), 0))
		if status.Failure == nil || at.Before(status.NextAttempt) {
			status.Failure, status.NextAttempt = failed.cause, at
		}
	}
	if !pinned {
		return
	}
	p := &status.Pinned
	p.Keys++
	p.NextRefresh = sooner(p.NextRefresh, next)
	if usable {
		p.Usable++
		p.Expiry = sooner(p.Expiry, wall.Add(h.invalidAt.until(now)))
	}
	if flying {
		p.Loading++
	}
	if failed.cause != nil {
		p.Failure = failed.cause
	}
}

// sooner returns the earlier of two times, of which the zero one is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// dueAt returns when e is due by the monotonic clock, 0 if it is not on the agenda.
func (a *agenda) dueAt(e *entry) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.pos == 0 {
		return 0
	}
	return e.at
}

// closed returns why the gate is closed and how long at least, nil if it is open.
func (g *gate) closed(now instant) (*upstream.Error, time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cause, max(g.pause.until.until(now), 0)
}

// note keeps a token request for Status.
func (s *source) note(began time.Time, err error) {
	last := &TokenRequest{Began: began, Took: time.Since(began)}
	if err != nil && !errors.As(err, &last.Failure) {
		last.Failure = brokenOff(s.Name())
	}
	s.last.Store(last)
}
