package cache

import (
	"container/list"
	"sync"
	"sync/atomic"

	"token-sidecar/upstream"
)

// entry is what the cache knows of one key. A request that finds a token reads it
// without a lock; whatever changes the entry holds mu.
//
// Locks are taken in this order: entry.mu, then table.mu, then refreshQueue.mu. Under
// entry.mu also those of a requestQueue, an endpointBreaker and a budget may be taken, one
// at a time, and Cache.life, which may be taken under that of a requestQueue too.
type entry struct {
	// What a look-up needs stands together at the beginning.
	token   atomic.Pointer[cachedToken] // nil: there is none; stored under mu
	source  *source
	used    atomic.Bool // since its last refresh began
	hot     atomic.Bool // found in memory since the table last considered letting it go
	resting atomic.Bool // its token is stale and nobody uses it: the next use refreshes it
	pinned  atomic.Bool // kept fresh whether it is used or not
	gone    atomic.Bool // no longer in the table, and never again; set under table.mu

	key upstream.Key

	mu         sync.Mutex // guards the next five, and is never held over I/O
	load       *load      // nil: none is under way
	failure    *failure   // of the last load; nil: it did not fail
	rejections rejections // what targets said of its tokens
	promise    *promise   // to a request for which no token request could be made in time; nil: there is none
	lookAfter  instant    // no look at the shared tokens before, while no token request may be made

	users      int32         // that it stays in the table for: its load, and whoever asks for one; guarded by table.mu
	arrival    *list.Element // in the table; guarded by table.mu
	queueTime  int64         // monotonic time at which it is due; guarded by refreshQueue.mu
	queuePlace int           // in the refreshQueue, see heapOf; guarded by its mu
}

// touch marks a use of the token in memory. It writes only when that changes something,
// so that many cores can use one entry without taking its memory from each other.
func (e *entry) touch() {
	if !e.used.Load() {
		e.used.Store(true)
	}
	if !e.hot.Load() {
		e.hot.Store(true)
	}
}

func (e *entry) before(other *entry) bool { return e.queueTime < other.queueTime }
func (e *entry) place() *int              { return &e.queuePlace }
