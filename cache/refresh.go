package cache

import (
	"errors"
	"time"
)

// runRefreshes serves the entries as they come due, until the cache is closed.
func (c *Cache) runRefreshes() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	w := c.newSourceWatch()
	for c.ctx.Err() == nil {
		if changed := w.changed(c.now()); len(changed) > 0 {
			c.replan(changed)
		}
		e, wait := c.refreshes.next(c.now())
		if e != nil {
			c.handleDue(e)
			continue
		}
		timer.Reset(min(wait, watchInterval))
		select {
		case <-timer.C:
		case <-c.refreshes.wake:
		case <-c.ctx.Done():
		}
	}
}

// watchInterval is how soon a change is noticed by which entries are due at other times.
const watchInterval = time.Second

// sourceWatch notices what changes when entries are due: a wall clock that was set
// forward, or a machine that was suspended, during which the monotonic clock stands
// still; a credential that was replaced; a token endpoint that works again. One
// goroutine uses it.
type sourceWatch struct {
	sources map[*source]endpointVersion // as they were seen last
	next    instant                     // when to look again
	ahead   int64                       // of the wall clock before the monotonic one
}

func (c *Cache) newSourceWatch() *sourceWatch {
	w := &sourceWatch{sources: map[*source]endpointVersion{}}
	for _, s := range c.sources {
		w.sources[s] = endpointVersion{}
	}
	w.changed(c.now())
	return w
}

// changed returns the upstreams of which something has changed, and their versions now.
// It looks once in a watchInterval.
func (w *sourceWatch) changed(now instant) map[*source]endpointVersion {
	if !w.next.reached(now) {
		return nil
	}
	w.next = now.add(watchInterval)
	ahead := now.wall - now.mono
	jumped := ahead > w.ahead+int64(watchInterval)
	w.ahead = ahead
	changed := map[*source]endpointVersion{}
	for s, before := range w.sources {
		if version := s.version(); jumped || version != before {
			changed[s], w.sources[s] = version, version
		}
	}
	return changed
}

// replan plans the entries of the upstreams that have changed anew.
func (c *Cache) replan(changed map[*source]endpointVersion) {
	c.table.each(func(e *entry) {
		version, ok := changed[e.source]
		if !ok {
			return
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.failure.outdated(version) {
			e.failure = nil
		}
		c.plan(e, c.now())
	})
}

// handleDue does what the time has come for: it refreshes the token of e if that is stale and
// in use, lets e rest until its token is invalid if it is not in use, and then lets e go. If
// there is nothing to do yet, it plans e anew.
func (c *Cache) handleDue(e *entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := c.now()
	t := e.token.Load()
	usable := t.usable(now)
	promised := e.promise.left() + keepPromise
	switch {
	case e.gone.Load() || e.load != nil:
		// A load plans anew when it ends.
	case t.fresh(now) && !e.rejections.due(t):
		c.plan(e, now)
	case !usable && !e.pinned.Load() && promised > 0:
		c.schedule(e, now.add(promised)) // the token request is for the request, if it comes again
	case e.pinned.Load() || !e.key.OnDemand() && (e.used.Load() && (usable || !e.failure.lasting())):
		c.refresh(e, t, now)
	case usable:
		c.schedule(e, t.invalidAt)
		e.resting.Store(!e.key.OnDemand()) // last: whoever wakes e has it come due sooner
	default:
		c.table.remove(e)
	}
}

// keepPromise is how long a request that was refused is remembered after the time at
// which it may come again.
const keepPromise = 10 * time.Second

// refresh starts a load for e, which holds t, without a request that waits for it. e.mu
// is held.
func (c *Cache) refresh(e *entry, t *cachedToken, now instant) {
	l := &load{used: e.used.Swap(false), needed: now}
	if l.refresh = t.usable(now); l.refresh {
		l.needed = t.invalidAt
		l.waiter = waiterOfRefresh(e.source.queue, t.invalidAt.until(now))
	} else {
		// Behind every request, as long as nobody asks for it.
		last := time.Now().Add(4 * e.source.queue.patience)
		l.waiter = newWaiter(last, last)
	}
	if e.rejections.due(t) {
		l.rejected, l.needed, l.waiter = t.token, now, c.waiterOfRequest(e, needUsable)
	}
	err := c.startLoad(e, l, now)
	if err == nil {
		return
	}
	if l.used {
		e.used.Store(true)
	}
	var known *Error
	if errors.As(err, &known) {
		c.schedule(e, now.add(max(spread(known.RetryAfter), minPause)))
	}
}
