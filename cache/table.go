package cache

import (
	"strings"
	"sync"
	"sync/atomic"
	"unique"

	"token-sidecar/upstream"
)

// entry is what the cache knows of one key.
type entry struct {
	key     upstream.Key
	source  *source
	slot    atomic.Pointer[slot] // in the index; once gone is set, perhaps another's
	held    atomic.Pointer[held] // nil: no token; written through table.hold
	resting atomic.Bool          // stale and unused: the next use refreshes it
	pinned  atomic.Bool
	gone    atomic.Bool  // no longer in the table
	holders atomic.Int32 // of the entry, which stays for them: its flight, and whoever asks for it; grows under table.mu

	mu         sync.Mutex // guards the five below; never held over I/O
	flight     *flight
	failure    *failure   // nil: none
	rejections rejections // what targets said of its tokens
	promise    promise    // to a request that had no turn
	peekAfter  instant    // no look at the shared tokens before, while token requests are forbidden

	prev, succ *entry // in its queue; guarded by table.mu
	at         int64  // when it is due; guarded by agenda.mu
	pos        int32  // in the agenda's heap, counted from 1; 0: not in it; guarded by agenda.mu
	main       bool   // in which queue; guarded by table.mu
}

// used reports whether e was used since its last refresh began.
func (e *entry) used() bool { return e.slot.Load().marks.Load()&usedMark != 0 }

// setUsed notes a use, and is not touch: what is asked for once is not hot.
func (e *entry) setUsed() { e.slot.Load().marks.Or(usedMark) }

// takeUsed is used, and forgets it.
func (e *entry) takeUsed() bool { return e.slot.Load().marks.And(^uint32(usedMark))&usedMark != 0 }

// hits returns how often e was used since it was queued, up to maxHits.
func (e *entry) hits() uint32 { return e.slot.Load().marks.Load() & maxHits }

func (e *entry) setHits(n uint32) {
	marks := &e.slot.Load().marks
	marks.Store(marks.Load()&usedMark | n)
}

// table keeps entries by key and bounds their number. Which has to go is
// decided by S3-FIFO (Yang et al., SOSP 2023), without its ghost queue: new
// keys pass through a small queue and reach the main one only if used again,
// so that a scan over many subjects does not wash out those in use.
type table struct {
	tagger   tagger
	index    index
	capacity int

	mu    sync.Mutex // guards the queues and all writes to the index
	small queue
	main  queue
}

func newTable(capacity int, upstreams []upstream.Upstream) *table {
	return &table{tagger: newTagger(upstreams), capacity: capacity}
}

// get returns the entry of key, nil if there is none. The caller releases it.
func (t *table) get(key upstream.Key) *entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.index.find(t.tagger.tag(&key)); s != nil {
		e := s.entry.Load()
		e.holders.Add(1)
		return e
	}
	return nil
}

// hold has e hold h from now on; nil is no token. e.mu is held.
func (t *table) hold(e *entry, h *held) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.held.Store(h)
	if !e.gone.Load() {
		e.slot.Load().set(h)
	}
}

// take has e stay until release. It reports false if e is gone: its key has
// another entry by now, or none.
func (t *table) take(e *entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.gone.Load() {
		return false
	}
	e.holders.Add(1)
	return true
}

func (e *entry) release() (holders int32) { return e.holders.Add(-1) }

// getOrAdd returns the entry of key, a new one if there was none. A full table
// lets another entry go for it. The caller releases it.
func (t *table) getOrAdd(key upstream.Key, s *source, a *agenda) *entry {
	tag := t.tagger.tag(&key)
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.index.find(tag); s != nil {
		e := s.entry.Load()
		e.holders.Add(1)
		return e
	}
	t.trim(t.capacity-1, a)
	// The parts may be cut out of a whole request, which they would keep alive.
	// There are few scopes: one copy of each serves all entries.
	key.Subject, key.Scope = strings.Clone(key.Subject), unique.Make(key.Scope).Value()
	e := &entry{key: key, source: s}
	e.holders.Add(1)
	t.small.push(e)
	t.index.add(e, tag)
	return e
}

// trim lets entries go until there are so many, or no more may go: pinned ones
// and holders are bounded too. t.mu is held.
func (t *table) trim(most int, a *agenda) {
	for t.small.len+t.main.len > most {
		victim := t.victim()
		if victim == nil {
			return
		}
		t.unlink(victim)
		a.remove(victim)
	}
}

// giveBack releases e, and lets go what is too many if e need not stay.
func (t *table) giveBack(e *entry, a *agenda) {
	if e.release() > 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trim(t.capacity, a)
}

// remove takes e out of the table.
func (t *table) remove(e *entry, a *agenda) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !e.gone.Load() {
		t.unlink(e)
		a.remove(e)
	}
}

// unlink takes e out of its queue and the index.
func (t *table) unlink(e *entry) {
	e.gone.Store(true)
	t.queueOf(e).remove(e)
	t.index.remove(e)
}

func (t *table) queueOf(e *entry) *queue {
	if e.main {
		return &t.main
	}
	return &t.small
}

// victim chooses the entry to let go, nil if none was found that may be: those
// that are pinned or have a holder stay. The search is short, so that many of them do
// not make every insertion slow; what it leaves over goes with the next. If all
// that it meets are in use, the first of them goes.
func (t *table) victim() *entry {
	var first *entry
	for range 1000 {
		if t.small.len*10 >= t.capacity || t.main.len == 0 {
			e := t.small.pop()
			if e.hits() == 0 && !e.stays() {
				t.small.push(e)
				return e
			}
			e.main = true
			e.setHits(0)
			t.main.push(e)
			continue
		}
		e := t.main.pop()
		n := e.hits()
		t.main.push(e)
		if e.stays() {
			continue
		}
		if n == 0 {
			return e
		}
		e.setHits(n - 1)
		if first == nil {
			first = e
		}
	}
	return first
}

func (e *entry) stays() bool { return e.pinned.Load() || e.holders.Load() > 0 }

// queue is a first-in first-out list of entries through their own links.
type queue struct {
	first, last *entry
	len         int
}

func (q *queue) push(e *entry) {
	e.prev, e.succ = q.last, nil
	if q.last == nil {
		q.first = e
	} else {
		q.last.succ = e
	}
	q.last = e
	q.len++
}

func (q *queue) pop() *entry {
	e := q.first
	q.remove(e)
	return e
}

func (q *queue) remove(e *entry) {
	if e.prev == nil {
		q.first = e.succ
	} else {
		e.prev.succ = e.succ
	}
	if e.succ == nil {
		q.last = e.prev
	} else {
		e.succ.prev = e.prev
	}
	e.prev, e.succ = nil, nil
	q.len--
}
