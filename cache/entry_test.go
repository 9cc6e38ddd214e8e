package cache

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

func numbered(i int) upstream.Key { return upstream.Key{Upstream: "up", Subject: fmt.Sprint(i)} }

// TestTokensStayWithTheirKeys has readers look for keys that come and go all the time:
// each token belongs to its key, and none is older than the last one that was there before
// the look-up.
//
// Case D10.
func TestTokensStayWithTheirKeys(t *testing.T) {
	const keys, rounds = 24, 4000
	c := emptyCache(1000)
	src := &source{metrics: metrics.New("test").Upstream("up")}
	long, over := instant{1 << 62, 1 << 62}, instant{}
	var newest [keys]atomic.Int64
	var stop atomic.Bool
	var found atomic.Int64
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for !stop.Load() {
				i := rand.N(keys)
				least := newest[i].Load()
				token, ok := c.Held(numbered(i), time.Now())
				if !ok {
					continue
				}
				var of int
				var number int64
				if _, err := fmt.Sscanf(token.AccessToken(), "t-%d-%d", &of, &number); err != nil || of != i || number < least {
					t.Errorf("key %d, at least %d: %v, %d of key %d", i, least, err, number, of)
					stop.Store(true)
				}
				found.Add(1)
			}
		})
	}
	hung := time.Now().Add(time.Minute)
	for round := 0; round < rounds || found.Load() < rounds/10; round++ {
		if stop.Load() || time.Now().After(hung) {
			break
		}
		i := rand.N(keys)
		e := c.table.findOrAdd(numbered(i), src)
		number := newest[i].Load() + 1
		token, err := upstream.NewToken(fmt.Sprintf("t-%d-%d", i, number), "", time.Now(), time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		cached := &cachedToken{staleAt: long, invalidAt: long, token: token}
		if round%3 == 0 {
			cached.staleAt = over // so that the other way is taken too
		}
		e.token.Store(cached)
		newest[i].Store(number)
		c.table.release(e)
		if rand.N(3) == 0 {
			if gone := numbered(rand.N(keys / 2)); c.table.find(&gone) != nil {
				e := c.table.find(&gone)
				c.table.remove(e)
			}
		}
	}
	stop.Store(true)
	readers.Wait()
	if found.Load() < rounds/10 {
		t.Errorf("only %d look-ups found a token in a minute", found.Load())
	}
}

// emptyCache returns a Cache that has room for so many keys, and runs nothing.
func emptyCache(capacity int) *Cache {
	c := &Cache{base: time.Now(), refreshes: refreshQueue{wake: make(chan struct{}, 1)}}
	c.table = newTable(capacity, c.refreshes.remove)
	return c
}

// TestFullTableOfKeysInUseLetsOneGo keeps to the bound although every entry is used all
// the time, and lets no entry go that is pinned.
//
// Case J1.
func TestFullTableOfKeysInUseLetsOneGo(t *testing.T) {
	const capacity = 500 // the search for one to let go ends after 1,000 steps: twice as many
	table := emptyCache(capacity).table
	for i := range capacity + 100 {
		table.release(table.findOrAdd(numbered(i), &source{}))
		table.each(func(e *entry) { e.touch() })
	}
	byKey := 0
	table.each(func(e *entry) { e.pinned.Store(true); byKey++ })
	if n := table.arrivals.Len(); n != capacity || byKey != n {
		t.Errorf("%d entries in order and %d by key, bound %d", n, byKey, capacity)
	}
	for i := range 10 {
		table.release(table.findOrAdd(numbered(-1-i), &source{}))
	}
	pinned := 0
	table.each(func(e *entry) {
		if e.pinned.Load() {
			pinned++
		}
	})
	if pinned != capacity {
		t.Errorf("%d of %d pinned entries are left", pinned, capacity)
	}
}

// TestEntriesWithALoadStay lets no entry go that has a load, and no more of the others stay
// than there is room for once the loads have ended.
func TestEntriesWithALoadStay(t *testing.T) {
	const capacity = 20
	table := emptyCache(capacity).table
	var loading []*entry
	for i := range 2 * capacity {
		e := table.findOrAdd(numbered(i), &source{})
		if !table.keep(e) {
			t.Fatal("an entry is gone at once")
		}
		table.release(e)
		loading = append(loading, e)
	}
	for i := range 200 {
		table.release(table.findOrAdd(numbered(1000+i), &source{}))
	}
	for _, e := range loading {
		if e.gone.Load() || table.find(&e.key) != e {
			t.Errorf("the entry of %s is gone", e.key.Subject)
		}
	}
	for _, e := range loading {
		table.release(e)
	}
	if n := table.arrivals.Len(); n != capacity {
		t.Errorf("%d entries, bound %d", n, capacity)
	}
}

// TestAnEntryAboutToBeUsedIsNotRemoved has an entry come due, unused and without a token, at
// the moment in which it is asked for.
func TestAnEntryAboutToBeUsedIsNotRemoved(t *testing.T) {
	table := emptyCache(10).table
	e := table.findOrAdd(numbered(1), &source{})
	if table.remove(e); e.gone.Load() {
		t.Error("it is gone")
	}
	table.release(e)
	if table.remove(e); !e.gone.Load() {
		t.Error("it is there although nobody uses it")
	}
}

// TestGoneEntriesStayGone has a load begin for an entry that the table has let go.
func TestGoneEntriesStayGone(t *testing.T) {
	c := emptyCache(10)
	e := c.table.findOrAdd(numbered(1), &source{})
	c.table.release(e)
	c.table.remove(e)
	if err := c.launch(e, &load{}); err != errGone || e.load != nil {
		t.Errorf("launch: %v", err)
	}
	if c.table.keep(e) {
		t.Error("it stays")
	}
	c.schedule(e, instant{1, 1})
	if next, _ := c.refreshes.next(instant{2, 2}); next != nil {
		t.Error("it is in the refresh queue")
	}
}

// TestRefreshQueueKeepsOrder sets, moves and removes entries at random, and compares with
// what comes out.
func TestRefreshQueueKeepsOrder(t *testing.T) {
	q := refreshQueue{wake: make(chan struct{}, 1)}
	all := make([]*entry, 200)
	for i := range all {
		all[i] = &entry{}
	}
	due := map[*entry]int64{}
	for range 5000 {
		e := all[rand.N(len(all))]
		if rand.N(3) == 0 {
			q.remove(e)
			delete(due, e)
		} else {
			due[e] = 1 + rand.Int64N(1000)
			q.set(e, instant{mono: due[e]})
		}
		if q.dueAt(e) != due[e] {
			t.Fatalf("due at %d, set for %d", q.dueAt(e), due[e])
		}
	}
	if _, wait := q.next(instant{}); wait <= 0 || wait > 1000 {
		t.Errorf("the first is due in %d", wait)
	}
	last := int64(0)
	for range len(due) {
		e, _ := q.next(instant{mono: 1000})
		if e == nil || due[e] < last {
			t.Fatal("an entry is missing, or came late")
		}
		last = due[e]
		delete(due, e)
	}
	if e, _ := q.next(instant{mono: 1000}); e != nil || len(due) > 0 {
		t.Errorf("%d entries did not come", len(due))
	}
}
