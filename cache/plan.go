package cache

import "time"

// minPause keeps an entry that cannot be served now from coming due at once.
const minPause = 100 * time.Millisecond

// plan puts e into the refresh queue: for when its token becomes stale, or when another
// attempt may be made. A load that is under way plans anew when it ends. e.mu is held.
func (c *Cache) plan(e *entry, now instant) {
	if e.gone.Load() || e.load != nil {
		return
	}
	t := e.token.Load()
	if t.fresh(now) && !e.rejections.due(t) {
		c.schedule(e, now.add(t.staleAt.until(now)))
		return
	}
	needed := e.neededAt(now)
	_, stopped := e.source.breaker.state()
	wait := spread(max(stopped.end(needed).until(now), 0))
	if e.failure != nil {
		wait = max(wait, e.failure.pause.end(needed).until(now))
	}
	c.schedule(e, now.add(max(wait, e.promise.left(), minPause)))
}

// nextAttempt returns how long no token request will be made for e, whose load has just
// failed. e.mu is held.
func (c *Cache) nextAttempt(e *entry, now instant) time.Duration {
	needed := e.neededAt(now)
	_, stopped := e.source.breaker.state()
	return max(e.failure.pause.end(needed).until(now), stopped.end(needed).until(now), time.Millisecond)
}

// neededAt returns when e needs another token: when the one it holds ends, or now.
func (e *entry) neededAt(now instant) instant {
	if t := e.token.Load(); t.usable(now) {
		return t.invalidAt
	}
	return now
}

// spread returns d and up to a tenth more: all keys of an upstream wait for the same
// breaker, and must not come at the same time.
func spread(d time.Duration) time.Duration { return time.Duration(float64(d) * (0.8 + jitter()/4)) }

// schedule has e come due at time at, unless it has gone meanwhile.
func (c *Cache) schedule(e *entry, at instant) {
	c.refreshes.set(e, at)
	if e.gone.Load() {
		c.refreshes.remove(e)
	}
}

// wake has an entry that rested refreshed, because it is used again.
func (c *Cache) wake(e *entry, now instant) {
	if e.resting.Load() && e.resting.Swap(false) {
		c.schedule(e, now)
	}
}
