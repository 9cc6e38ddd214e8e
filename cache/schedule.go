package cache

import (
	"time"

	"token-sidecar/upstream"
)

// runAgenda serves the entries as they come due, until the cache is closed.
func (c *Cache) runAgenda() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for c.ctx.Err() == nil {
		e, wait := c.agenda.next(c.now())
		if e != nil {
			c.due(e)
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-c.agenda.wake:
		case <-c.ctx.Done():
		}
	}
}

// due does what the time has come for: refresh the token of e, or let e go if
// nobody used it.
func (c *Cache) due(e *entry) {
	e.mu.Lock()
	now := c.now()
	h := e.held.Load()
	usable := h != nil && !h.invalidAt.reached(now)
	switch {
	case e.gone.Load() || e.flight != nil:
		// A flight plans anew when it ends.
	case usable && !h.staleAt.reached(now):
		c.plan(e, now)
	case e.pinned.Load() || (e.used() && (usable || !e.failure.lasting())):
		used := e.takeUsed()
		if c.launch(e, &flight{refresh: usable, used: used}, now) != nil {
			if used {
				e.setUsed()
			}
			c.plan(e, now)
		}
	case usable:
		c.schedule(e, h.invalidAt)
		e.resting.Store(true) // last: whoever revives e has it come due sooner
	default:
		c.table.remove(e, &c.agenda)
	}
	e.mu.Unlock()
}

// revive refreshes an entry that rested, because it is used again.
func (c *Cache) revive(e *entry, now instant) {
	if e.resting.Swap(false) {
		c.schedule(e, now)
	}
}

// schedule puts e on the agenda, and on none if e has gone meanwhile.
func (c *Cache) schedule(e *entry, at instant) {
	c.agenda.set(e, at)
	if e.gone.Load() {
		c.agenda.remove(e)
	}
}

// minPause keeps an entry that cannot be served now from coming due at once.
const minPause = 100 * time.Millisecond

// plan puts e on the agenda: when its token becomes stale, or when another
// attempt may be made. e.mu is held.
func (c *Cache) plan(e *entry, now instant) {
	if e.gone.Load() || e.flight != nil {
		return
	}
	if h := e.held.Load(); h != nil && !h.staleAt.reached(now) {
		c.schedule(e, h.staleAt)
		return
	}
	// All keys of an upstream wait for the same gate: not all at the same time.
	pause := time.Duration(float64(e.source.gate.shut(now)) * (0.8 + jitter()/4))
	if e.failure.pending(now) != nil {
		pause = max(pause, e.failure.until.until(now))
	}
	c.schedule(e, now.add(max(pause, minPause)))
}

var _ upstream.TokenSource = (*Cache)(nil)
