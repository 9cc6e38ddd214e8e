package cache

import (
	"cmp"
	"slices"
	"time"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// SourceStatus is what the cache knows of one upstream at one moment. It holds no token,
// subject or scope. Times are of the wall clock; a zero time means that there is none.
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

	// Stopped is why no token requests are made but single attempts, of which the next is
	// due at StoppedUntil at the latest, until one succeeds; nil if they are made.
	Stopped      *upstream.Error
	StoppedUntil time.Time

	Pinned PinnedStatus
	Last   TokenRequest
	Budget BudgetStatus
}

// PinnedStatus is about the keys that are kept fresh whether they are used or not.
type PinnedStatus struct {
	Keys, Usable, Loading int
	Expiry                time.Time       // until when all that are usable are so
	NextRefresh           time.Time       // or the next attempt; zero while all are loading
	Failure               *upstream.Error // of one of them; nil if none failed last
}

// Status returns what is known of each upstream, sorted by name. It walks through all
// keys, one lock at a time, and waits for no I/O.
func (c *Cache) Status() []SourceStatus {
	wall, now := time.Now(), c.now()
	bySource := map[*source]*SourceStatus{}
	for name, s := range c.sources {
		status := &SourceStatus{Upstream: name, Budget: s.budget.status()}
		var stopped pause
		if status.Stopped, stopped = s.breaker.state(); status.Stopped != nil {
			status.StoppedUntil = wall.Add(max(stopped.until.until(now), 0))
		}
		if last := s.lastRequest.Load(); last != nil {
			status.Last = *last
		}
		bySource[s] = status
	}
	c.table.each(func(e *entry) { c.describe(e, wall, now, bySource[e.source]) })
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
	due, t, loading := c.refreshes.dueAt(e), e.token.Load(), e.load != nil
	failed, needed, pinned := e.failure, e.neededAt(now), e.pinned.Load()
	e.mu.Unlock()
	switch {
	case !t.usable(now):
		status.Invalid++
	case t.fresh(now):
		status.Fresh++
	default:
		status.Stale++
	}
	next := time.Time{}
	switch {
	case loading:
		status.Loading++
	case due != 0 && (pinned || e.used.Load() && !e.resting.Load()):
		next = wall.Add(max(time.Duration(due-now.mono), 0))
	}
	status.NextRefresh = sooner(status.NextRefresh, next)
	switch {
	case failed == nil:
	case failed.lasting():
		status.Refused++
	default:
		status.Retrying++
		at := wall.Add(max(failed.pause.end(needed).until(now), 0))
		if status.Failure == nil || at.Before(status.NextAttempt) {
			status.Failure, status.NextAttempt = failed.cause, at
		}
	}
	if pinned {
		status.Pinned.add(t, wall, now, loading, next, failed)
	}
}

// add adds what is known of one pinned key, which holds t, to p.
func (p *PinnedStatus) add(t *cachedToken, wall time.Time, now instant, loading bool, next time.Time, failed *failure) {
	p.Keys++
	p.NextRefresh = sooner(p.NextRefresh, next)
	if t.usable(now) {
		p.Usable++
		p.Expiry = sooner(p.Expiry, wall.Add(t.invalidAt.until(now)))
	}
	if loading {
		p.Loading++
	}
	if failed != nil {
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

// tokens returns the tokens of each upstream by state, for a scrape.
func (c *Cache) tokens() []metrics.Tokens {
	var all []metrics.Tokens
	for _, s := range c.Status() {
		t := metrics.Tokens{Upstream: s.Upstream, Fresh: s.Fresh, Stale: s.Stale, Invalid: s.Invalid, HasPinned: s.Pinned.Keys > 0}
		if s.Pinned.Keys == s.Pinned.Usable && t.HasPinned {
			t.PinnedLife = time.Until(s.Pinned.Expiry)
		}
		all = append(all, t)
	}
	return all
}
