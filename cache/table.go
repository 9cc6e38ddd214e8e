package cache

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"unique"

	"token-sidecar/upstream"
)

// entry is what the cache knows of one key.
type entry struct {
	// What a look-up reads comes first: with many entries each cache line costs
	// more than all the code.
	hash    uint64
	next    atomic.Pointer[entry] // in its bucket; written under table.mu
	held    atomic.Pointer[held]  // nil: no token
	source  *source
	hits    atomic.Uint32 // how often used since it was queued, up to maxHits
	used    atomic.Bool   // since the last refresh began
	resting atomic.Bool   // stale and unused: the next use refreshes it
	pinned  atomic.Bool
	gone    atomic.Bool // no longer in the table
	flying  atomic.Bool // flight is not nil
	key     upstream.Key

	mu        sync.Mutex // guards the four below; never held over I/O
	flight    *flight
	failure   failure
	replaced  instant // when a token was last replaced on a target's word; zero: never
	peekAfter instant // no look at the shared tokens before, while token requests are forbidden

	// Guarded by table.mu.
	main       bool
	prev, succ *entry

	// Guarded by agenda.mu.
	at  int64
	pos int // in the heap, counted from 1; 0: not in it
}

const maxHits = 3

// touch notes a use. It writes only when that changes something, so that many
// cores can use one entry without taking its cache line from each other.
func (e *entry) touch() {
	if !e.used.Load() {
		e.used.Store(true)
	}
	if n := e.hits.Load(); n < maxHits {
		e.hits.Store(n + 1)
	}
}

// table finds entries by key and bounds their number. Look-ups take no lock:
// a bucket is a list that readers may walk while it changes. Which entry has
// to go is decided by S3-FIFO (Yang et al., SOSP 2023), without its ghost
// queue: new keys pass through a small queue and reach the main one only if
// used again, so that a scan over many subjects does not wash out those in use.
type table struct {
	seed     maphash.Seed
	buckets  []atomic.Pointer[entry] // never grows: the number of entries is bounded
	capacity int

	mu    sync.Mutex // guards the queues and all writes to buckets
	small queue
	main  queue
}

func newTable(capacity int) *table {
	size := 64
	for size < capacity {
		size *= 2
	}
	return &table{seed: maphash.MakeSeed(), buckets: make([]atomic.Pointer[entry], size), capacity: capacity}
}

func (t *table) bucket(hash uint64) *atomic.Pointer[entry] {
	return &t.buckets[hash&uint64(len(t.buckets)-1)]
}

func (t *table) get(key upstream.Key) *entry {
	return t.find(key, maphash.Comparable(t.seed, key))
}

func (t *table) find(key upstream.Key, hash uint64) *entry {
	for e := t.bucket(hash).Load(); e != nil; e = e.next.Load() {
		if e.hash == hash && e.key == key {
			return e
		}
	}
	return nil
}

// getOrAdd returns the entry of key, a new one if there was none. A full table
// lets another entry go for it.
func (t *table) getOrAdd(key upstream.Key, s *source, a *agenda) *entry {
	hash := maphash.Comparable(t.seed, key)
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.find(key, hash); e != nil {
		return e
	}
	for t.small.len+t.main.len >= t.capacity {
		victim := t.victim()
		if victim == nil {
			break // pinned or loading entries are bounded too
		}
		t.unlink(victim)
		a.remove(victim)
	}
	// The parts may be cut out of a whole request, which they would keep alive.
	// There are few scopes: one copy of each serves all entries.
	key.Subject, key.Scope = strings.Clone(key.Subject), unique.Make(key.Scope).Value()
	e := &entry{key: key, hash: hash, source: s}
	t.small.push(e)
	head := t.bucket(hash)
	e.next.Store(head.Load())
	head.Store(e)
	return e
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

// unlink takes e out of its queue and bucket. Its own next stays: a reader
// that stands on e must find its way on.
func (t *table) unlink(e *entry) {
	e.gone.Store(true)
	t.queueOf(e).remove(e)
	link := t.bucket(e.hash)
	for cur := link.Load(); cur != e; cur = link.Load() {
		link = &cur.next
	}
	link.Store(e.next.Load())
}

func (t *table) queueOf(e *entry) *queue {
	if e.main {
		return &t.main
	}
	return &t.small
}

// victim chooses the entry to let go, nil if none was found that may be: those
// that are pinned or loading stay. The search is short, so that many of them do
// not make every insertion slow; what it leaves over goes with the next.
func (t *table) victim() *entry {
	for range 1000 {
		if t.small.len*10 >= t.capacity || t.main.len == 0 {
			e := t.small.pop()
			if e.hits.Load() == 0 && !e.stays() {
				t.small.push(e)
				return e
			}
			e.main = true
			e.hits.Store(0)
			t.main.push(e)
			continue
		}
		e := t.main.pop()
		n := e.hits.Load()
		t.main.push(e)
		if n == 0 && !e.stays() {
			return e
		}
		if n > 0 {
			e.hits.Store(n - 1)
		}
	}
	return nil
}

func (e *entry) stays() bool { return e.pinned.Load() || e.flying.Load() }

// each calls f for every entry. Entries that come or go meanwhile may be missed.
func (t *table) each(f func(*entry)) {
	for i := range t.buckets {
		for e := t.buckets[i].Load(); e != nil; e = e.next.Load() {
			f(e)
		}
	}
}

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
