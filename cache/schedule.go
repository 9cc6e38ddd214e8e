package cache

import (
	"errors"
	"time"

	"token-sidecar/upstream"
)

// runAgenda serves the entries as they come due, until the cache is closed.
func (c *Cache) runAgenda() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	w := c.newWatch()
	for c.ctx.Err() == nil {
		if changed := w.changed(c.now()); len(changed) > 0 {
			c.reconsider(changed)
		}
		e, wait := c.agenda.next(c.now())
		if e != nil {
			c.due(e)
			continue
		}
		timer.Reset(min(wait, lookAround))
		select {
		case <-timer.C:
		case <-c.agenda.wake:
		case <-c.ctx.Done():
		}
	}
}

// lookAround is how soon the agenda notices what makes its times wrong.
const lookAround = time.Second

// watch notices what changes when entries are due: a wall clock that was set forward,
// or a machine that was suspended, during which the monotonic clock stands still; a
// credential that was replaced; a token endpoint that works again.
type watch struct {
	sources map[*source]endpointState // as they were seen last
	next    instant                   // when to look again
	ahead   int64                     // of the wall clock before the monotonic one
}

// endpointState is what the failures of an endpoint's keys depend on.
type endpointState struct {
	credential upstream.Fingerprint
	recoveries int
}

func (s *source) state() endpointState {
	return endpointState{s.Fingerprint(), s.gate.recovered()}
}

func (c *Cache) newWatch() *watch {
	w := &watch{sources: map[*source]endpointState{}}
	for _, s := range c.sources {
		w.sources[s] = endpointState{}
	}
	w.changed(c.now())
	return w
}

// changed returns the upstreams of which something has changed, and their state now.
// It looks once per lookAround.
func (w *watch) changed(now instant) map[*source]endpointState {
	if !w.next.reached(now) {
		return nil
	}
	w.next = now.add(lookAround)
	ahead := now.wall - now.mono
	jumped := ahead > w.ahead+int64(lookAround)
	w.ahead = ahead
	changed := map[*source]endpointState{}
	for s, before := range w.sources {
		if state := s.state(); jumped || state != before {
			changed[s], w.sources[s] = state, state
		}
	}
	return changed
}

// reconsider plans the entries of the upstreams that have changed anew.
func (c *Cache) reconsider(changed map[*source]endpointState) {
	c.table.index.each(func(e *entry) {
		state, ok := changed[e.source]
		if !ok {
			return
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.failure.void(state) {
			e.failure = nil
		}
		c.plan(e, c.now())
	})
}

// due does what the time has come for: refresh the token of e, or let e go if
// nobody used it.
func (c *Cache) due(e *entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := c.now()
	h := e.held.Load()
	usable := h != nil && needUsable.met(h, now)
	promised := time.Until(e.promise.at) + keepPromise
	switch {
	case e.gone.Load() || e.flight != nil:
		// A flight plans anew when it ends.
	case usable && !h.staleAt.reached(now) && !e.rejections.due(h):
		c.plan(e, now)
	case !usable && !e.pinned.Load() && promised > 0:
		c.schedule(e, now.add(promised)) // the turn is for the request, if it comes again
	case e.pinned.Load() || (e.used() && (usable || !e.failure.lasting())):
		c.refresh(e, h, now)
	case usable:
		c.schedule(e, h.invalidAt)
		e.resting.Store(true) // last: whoever revives e has it come due sooner
	default:
		c.table.remove(e, &c.agenda)
	}
}

// keepPromise is how long a request that had no turn is remembered after the time at
// which it may come again.
const keepPromise = 10 * time.Second

// refresh starts a load for e, which holds h, without a request that waits for it.
func (c *Cache) refresh(e *entry, h *held, now instant) {
	f := &flight{used: e.takeUsed(), needed: now}
	if f.refresh = h != nil && needUsable.met(h, now); f.refresh {
		f.needed = h.invalidAt
		f.turn = turnOfRefresh(e.source.line, h.invalidAt.until(now))
	} else {
		// Behind every request, as long as nobody asks for it.
		last := time.Now().Add(4 * e.source.line.patience)
		f.turn = newTurn(last, last)
	}
	if e.rejections.due(h) {
		f.rejected, f.needed, f.turn = h.token, now, c.turnOfRequest(e, needUsable)
	}
	err := c.launch(e, f, now)
	if err == nil {
		return
	}
	if f.used {
		e.setUsed()
	}
	var known *Error
	if errors.As(err, &known) {
		c.schedule(e, now.add(max(spread(known.RetryAfter), minPause)))
	}
}

// turnOfRefresh returns the turn of a load that replaces a token which is usable for
// another left. Its deadline leaves time for those who are before it and for the token
// request.
func turnOfRefresh(l *line, left time.Duration) *turn {
	now := time.Now()
	return newTurn(now.Add(left-3*l.patience), now.Add(left))
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
	h := e.held.Load()
	if h != nil && !h.staleAt.reached(now) && !e.rejections.due(h) {
		c.schedule(e, now.add(h.staleAt.until(now)))
		return
	}
	needed := now
	if h != nil && needUsable.met(h, now) {
		needed = h.invalidAt
	}
	pause := spread(e.source.gate.shut(now, needed))
	if e.failure != nil {
		pause = max(pause, e.failure.pause.end(needed).until(now))
	}
	c.schedule(e, now.add(max(pause, time.Until(e.promise.at), minPause)))
}

// spread returns d and up to a tenth more: all keys of an upstream wait for the same
// gate, and must not come at the same time.
func spread(d time.Duration) time.Duration { return time.Duration(float64(d) * (0.8 + jitter()/4)) }

var _ upstream.TokenSource = (*Cache)(nil)
