package cache

import (
	"sync/atomic"

	"token-sidecar/upstream"
)

// index finds what is known of a key. Among a million tokens, the time of a
// look-up is that of waiting for memory, so that all it needs lies in one slot
// of 64 bytes, whose place depends on the key alone. Readers take no lock;
// writers hold table.mu.
//
// The slots of a shard are a hash table with open addressing, probed by pairs,
// which are neighbours in memory: a key is in the first slot that was not in use.
type index struct {
	shards [16]shard
}

// shard is a part of the index that grows and shrinks alone, so that no writer
// holds the lock for long.
type shard struct {
	slots atomic.Pointer[[]slot] // a power of two of them; nil: none yet
	live  int                    // guarded by table.mu, like the next
	dead  int                    // slots that were in use
}

// slot is what a look-up needs to know of one entry.
type slot struct {
	version atomic.Uint32 // odd while the rest is being written, marks aside
	marks   atomic.Uint32 // of use, see touch
	lo, hi  atomic.Uint64 // of the tag
	// The token and until when it is fresh. None: the zero Token, never fresh.
	staleWall, staleMono atomic.Int64
	token                upstream.AtomicToken
	entry                atomic.Pointer[entry]
	source               atomic.Pointer[source]
}

func (x *index) shard(t tag) *shard { return &x.shards[t.lo>>60] }

// pair returns the two slots in which a search for t begins, or goes on after
// turns other pairs, in their order.
func pair(slots []slot, t tag, turn int) (*slot, *slot) {
	at := (t.lo + 2*uint64(turn)) & uint64(len(slots)-1)
	return &slots[at], &slots[at^1]
}

// find returns the slot of the key with tag t, nil if there is none. It takes no
// lock, so the slot may be of another key by the time it is read: see read.
func (x *index) find(t tag) *slot {
	slots := x.shard(t).slots.Load()
	if slots == nil {
		return nil
	}
	for turn := 0; 2*turn < len(*slots); turn++ {
		a, b := pair(*slots, t, turn)
		switch a.lo.Load() {
		case t.lo:
			if a.hi.Load() == t.hi {
				return a
			}
		case freeTag:
			return nil
		}
		switch b.lo.Load() {
		case t.lo:
			if b.hi.Load() == t.hi {
				return b
			}
		case freeTag:
			return nil
		}
	}
	return nil
}

// read returns what s says of the key with tag t. It reports false if s is
// being written, or is of another key by now.
func (s *slot) read(t tag) (staleAt instant, token upstream.Token, of *source, ok bool) {
	version := s.version.Load()
	staleAt.wall, staleAt.mono = s.staleWall.Load(), s.staleMono.Load()
	token, of = s.token.Load(), s.source.Load()
	ours := s.lo.Load() == t.lo && s.hi.Load() == t.hi
	return staleAt, token, of, ours && version&1 == 0 && s.version.Load() == version
}

// Marks of use: how often an entry was used since it was queued, up to
// maxHits, and whether it was since its last refresh began.
const (
	maxHits  = 3
	usedMark = 4
)

// touch notes a use. It writes only when that changes something, so that many
// cores can use one slot without taking it from each other.
func (s *slot) touch() {
	if m := s.marks.Load(); m != usedMark|maxHits {
		s.marks.Store(usedMark | min(m&maxHits+1, maxHits))
	}
}

// set has look-ups see what h says; nil is no token. table.mu is held.
func (s *slot) set(h *held) {
	if h == nil {
		h = &held{} // of which both clocks say that it is over
	}
	s.version.Add(1)
	s.staleWall.Store(h.staleAt.wall)
	s.staleMono.Store(h.staleAt.mono)
	s.token.Store(h.token)
	s.version.Add(1)
}

// add gives e, which has no slot, one of its own. table.mu is held.
func (x *index) add(e *entry, t tag) {
	s := x.shard(t)
	slots := s.slots.Load()
	if slots == nil || 4*(s.live+s.dead+1) > 3*len(*slots) {
		slots = s.rebuild()
	}
	to := room(*slots, t)
	if to.lo.Load() == deadTag {
		s.dead--
	}
	s.live++
	to.version.Add(1)
	to.put(e, t, 0)
	to.version.Add(1)
}

// put writes all of a slot but its version.
func (s *slot) put(e *entry, t tag, marks uint32) {
	s.marks.Store(marks)
	s.staleWall.Store(0)
	s.staleMono.Store(0)
	s.token.Store(upstream.Token{})
	s.entry.Store(e)
	s.source.Store(e.source)
	s.lo.Store(t.lo)
	s.hi.Store(t.hi)
	e.slot.Store(s)
}

// room returns the first slot for t that is not in use.
func room(slots []slot, t tag) *slot {
	for turn := 0; ; turn++ {
		a, b := pair(slots, t, turn)
		if a.lo.Load() < firstTag {
			return a
		}
		if b.lo.Load() < firstTag {
			return b
		}
	}
}

// remove takes the slot from e. table.mu is held.
func (x *index) remove(e *entry) {
	s := e.slot.Load()
	at := x.shard(tag{lo: s.lo.Load()})
	s.version.Add(1)
	s.lo.Store(deadTag)
	s.entry.Store(nil)
	s.source.Store(nil)
	s.token.Store(upstream.Token{})
	s.version.Add(1)
	at.live--
	at.dead++
	if n := len(*at.slots.Load()); at.live < n/8 && at.dead > n/4 {
		at.rebuild()
	}
}

// rebuild makes room for more, and drops what is dead. Readers that are under
// way go on in the old slots, which nobody changes any more.
func (s *shard) rebuild() *[]slot {
	size := 8
	for size < 2*(s.live+1) {
		size *= 2
	}
	slots := make([]slot, size)
	if old := s.slots.Load(); old != nil {
		for i := range *old {
			from := &(*old)[i]
			e := from.entry.Load()
			if e == nil {
				continue
			}
			t := tag{from.lo.Load(), from.hi.Load()}
			to := room(slots, t)
			to.put(e, t, from.marks.Load())
			to.set(e.held.Load())
		}
	}
	gather(slots)
	s.dead = 0
	s.slots.Store(&slots)
	return &slots
}

// each calls f for every entry. Entries that come or go meanwhile may be missed.
func (x *index) each(f func(*entry)) {
	for i := range x.shards {
		slots := x.shards[i].slots.Load()
		if slots == nil {
			continue
		}
		for j := range *slots {
			if e := (*slots)[j].entry.Load(); e != nil {
				f(e)
			}
		}
	}
}
