package cache

import (
	"container/list"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"unique"

	"token-sidecar/upstream"
)

// table keeps entries by key and bounds their number. Which of them has to go is decided
// by the CLOCK algorithm (Corbató, 1969): entries are considered in the order of their
// arrival, and one whose token was used since it was considered last goes to the end
// instead. So a scan over many subjects, each asked for once, does not wash out those in
// use.
type table struct {
	seed     maphash.Seed // of the hash that chooses the shard of a subject
	shards   [64]shard
	capacity int
	removed  func(*entry) // is called for each entry that goes, with mu held

	mu       sync.Mutex // guards the rest
	arrivals list.List  // of *entry, the next to be considered first
}

// shard is a part of the table's entries: those of the subjects whose hash chooses it. Its
// lock is held for a look-up, or for the writing of one entry, and requests share it; whoever
// writes holds table.mu as well.
type shard struct {
	mu      sync.RWMutex // guards entries
	entries map[upstream.Key]*entry
}

func newTable(capacity int, removed func(*entry)) *table {
	return &table{seed: maphash.MakeSeed(), capacity: capacity, removed: removed}
}

func (t *table) shardOf(key *upstream.Key) *shard {
	return &t.shards[maphash.String(t.seed, key.Subject)%uint64(len(t.shards))]
}

// find returns the entry of key, nil if there is none. By the time that it is used it
// may have gone; what it holds is still the key's.
func (t *table) find(key *upstream.Key) *entry {
	s := t.shardOf(key)
	s.mu.RLock()
	e := s.entries[*key]
	s.mu.RUnlock()
	return e
}

// set has find return e for key from now on; nil is none. t.mu is held.
func (t *table) set(key upstream.Key, e *entry) {
	s := t.shardOf(&key)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e == nil:
		delete(s.entries, key)
	case s.entries == nil:
		s.entries = map[upstream.Key]*entry{key: e}
	default:
		s.entries[key] = e
	}
}

// each calls f for every entry, with no lock held. Entries that come or go meanwhile may be
// missed.
func (t *table) each(f func(*entry)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		entries := slices.AppendSeq(make([]*entry, 0, len(s.entries)), maps.Values(s.entries))
		s.mu.RUnlock()
		for _, e := range entries {
			f(e)
		}
	}
}

// findOrAdd returns the entry of key, and a new one if there was none. If the table is
// full, another entry goes for it. The entry stays until the caller releases it.
func (t *table) findOrAdd(key upstream.Key, s *source) *entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.find(&key); e != nil {
		e.users++
		return e
	}
	t.trim(t.capacity - 1)
	// The parts may be cut out of a whole request, which they would keep alive. There
	// are few scopes: one copy of each serves all entries.
	key.Subject, key.Scope = strings.Clone(key.Subject), unique.Make(key.Scope).Value()
	e := &entry{key: key, source: s, users: 1}
	e.arrival = t.arrivals.PushBack(e)
	t.set(key, e)
	return e
}

// keep has e stay in the table until it is released. It reports false if e has gone: its
// key has another entry by now, or none.
func (t *table) keep(e *entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.gone.Load() {
		return false
	}
	e.users++
	return true
}

// release ends what findOrAdd or keep began. While entries had to stay, the table may have
// grown beyond its capacity: now it shrinks.
func (t *table) release(e *entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.users--
	t.trim(t.capacity)
}

// remove takes e out of the table, unless it has users, who see to what becomes of it.
func (t *table) remove(e *entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !e.gone.Load() && e.users == 0 {
		t.drop(e)
	}
}

// drop takes e, which is in the table, out of it. t.mu is held.
func (t *table) drop(e *entry) {
	e.gone.Store(true)
	t.arrivals.Remove(e.arrival)
	t.set(e.key, nil)
	t.removed(e)
}

// trim lets entries go until there are at most so many, or no more may go. t.mu is held.
func (t *table) trim(most int) {
	for t.arrivals.Len() > most {
		e := t.victim()
		if e == nil {
			return
		}
		t.drop(e)
	}
}

// victim returns the entry that has to go, nil if none was found that may: those that
// are pinned or have users stay. If all others that it meets are in use, the first of
// them goes. The search is short, so that no insertion is slow; what it leaves over goes
// with a later one. t.mu is held.
func (t *table) victim() *entry {
	var first *entry
	for range 1000 {
		next := t.arrivals.Front()
		e := next.Value.(*entry)
		t.arrivals.MoveToBack(next)
		if e.pinned.Load() || e.users > 0 {
			continue
		}
		if !e.hot.Swap(false) {
			return e
		}
		if first == nil {
			first = e
		}
	}
	return first
}
