package cache

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// TestSipHash compares with the vectors of the reference implementation: key
// 00 01 … 0f, message 00 01 … of whole words.
func TestSipHash(t *testing.T) {
	h := newSipHash(0x0706050403020100, 0x0f0e0d0c0b0a0908)
	for n, want := range [][2]uint64{
		{0xe6a825ba047f81a3, 0x930255c71472f66d},
		{0x61f55862baa9623b, 0xb49714f364e2830f},
		{0xbb54b067caa4e26e, 0x77052385bf1533fd},
		{0xd850bd78ae79b42d, 0xad32618a178a2a88},
		{0x3efcea5eca56397c, 0x68eb4665559d3e36},
		{0xad5dc9951e306adf, 0xd83b91c6c80cae97},
		{0xcf82f749f5aee5f7, 0x169b2608a6559037},
		{0xe94ed572cff23819, 0x362a1da96f16947e},
	} {
		if lo, hi := h.sum(uint64(n) * 8 << 56); [2]uint64{lo, hi} != want {
			t.Errorf("%d bytes: %x %x, want %x", n*8, lo, hi, want)
		}
		first := uint64(n) * 8
		h = h.word(0x0706050403020100 + first*0x0101010101010101)
	}
}

// TestTagsDiffer draws keys that are easily taken for each other.
func TestTagsDiffer(t *testing.T) {
	g := newTagger(nil)
	part := rapid.StringMatching(`(a|b|\x00){0,9}|(abcdefgh){0,3}`)
	anyKey := func(t *rapid.T, name string) upstream.Key {
		return upstream.Key{Upstream: part.Draw(t, name+" upstream"), Kind: upstream.Kind(part.Draw(t, name+" kind")),
			Subject: part.Draw(t, name+" subject"), Scope: part.Draw(t, name+" scope")}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyKey(t, "a"), anyKey(t, "b")
		if rapid.Bool().Draw(t, "move") { // what one part loses the next gains
			all := a.Upstream + string(a.Kind) + a.Subject + a.Scope
			cut := func(name string) int { return rapid.IntRange(0, len(all)).Draw(t, name) }
			x, y := cut("x"), cut("y")
			b = upstream.Key{Subject: all[:min(x, y)], Kind: upstream.Kind(all[min(x, y):max(x, y)]), Scope: all[max(x, y):]}
		}
		if (g.tag(&a) == g.tag(&b)) != (a == b) {
			t.Fatalf("%q and %q", a, b)
		}
	})
	seen := map[tag]upstream.Key{}
	for n := range 40 { // lengths alone
		zeros := strings.Repeat("\x00", n)
		for _, k := range []upstream.Key{{Upstream: zeros}, {Kind: upstream.Kind(zeros)}, {Subject: zeros}, {Scope: zeros}} {
			if other, found := seen[g.tag(&k)]; found && other != k {
				t.Errorf("%q and %q have the same tag", k, other)
			}
			seen[g.tag(&k)] = k
		}
	}
	other, k := newTagger(nil), upstream.Key{Subject: "a"}
	if g.tag(&k) == other.tag(&k) {
		t.Error("two taggers share their secret")
	}
}

// TestKnownPrefixes makes the same tags with and without them.
func TestKnownPrefixes(t *testing.T) {
	g := newTagger([]upstream.Upstream{
		routes{name: "some-upstream", kinds: []upstream.Kind{"a", "b", "a"}},
		routes{name: "other", kinds: []upstream.Kind{"1", "2", "3", "4", "5", "6", "7", "8", "9"}},
	})
	if len(g.known) != maxKnown {
		t.Errorf("%d prefixes are known, want %d", len(g.known), maxKnown)
	}
	unknown := tagger{k0: g.k0, k1: g.k1}
	for _, name := range []string{"some-upstream", "other", "none"} {
		for _, kind := range []upstream.Kind{"a", "b", "1", "7", "9", ""} {
			k := upstream.Key{Upstream: name, Kind: kind, Subject: "subject", Scope: "scope"}
			if g.tag(&k) != unknown.tag(&k) {
				t.Errorf("%+v has two tags", k)
			}
		}
	}
}

// routes is an upstream that has nothing but routes.
type routes struct {
	upstream.Upstream
	name  string
	kinds []upstream.Kind
}

func (r routes) Name() string { return r.name }

func (r routes) Routes() []upstream.Route {
	var all []upstream.Route
	for _, k := range r.kinds {
		all = append(all, upstream.Route{Kind: k})
	}
	return all
}

func numbered(i int) upstream.Key { return upstream.Key{Upstream: "up", Subject: fmt.Sprint(i)} }

// TestIndex compares the index with a map, through growth and decline.
func TestIndex(t *testing.T) {
	g, x, model := newTagger(nil), index{}, map[int]*entry{}
	tagOf := func(i int) tag { k := numbered(i); return g.tag(&k) }
	check := func(i int) {
		t.Helper()
		s := x.find(tagOf(i))
		if e := model[i]; e == nil && s != nil || e != nil && (s == nil || s.entry.Load() != e || e.slot.Load() != s) {
			t.Fatalf("key %d: slot %p, entry %p", i, s, model[i])
		}
	}
	const keys = 20_000
	for step, target := range []int{10, 500, keys, 100, 3000, 0, keys / 2, 5} {
		for len(model) != target {
			for range 20 { // some turnover on the way
				i := rand.N(keys)
				if e := model[i]; e != nil {
					x.remove(e)
					delete(model, i)
				} else if len(model) < target+20 {
					e := &entry{key: numbered(i)}
					x.add(e, tagOf(i))
					model[i] = e
					if want := rand.Uint32N(2); want == 1 {
						e.slot.Load().touch()
					}
				}
				check(i)
			}
			for i, e := range model {
				if len(model) <= target {
					break
				}
				x.remove(e)
				delete(model, i)
			}
			for i := 0; i < keys && len(model) < target; i++ {
				if model[i] == nil {
					model[i] = &entry{key: numbered(i)}
					x.add(model[i], tagOf(i))
				}
			}
		}
		for i := range keys {
			check(i)
		}
		seen, slots := 0, 0
		x.each(func(*entry) { seen++ })
		for i := range x.shards {
			s := &x.shards[i]
			if all := s.slots.Load(); all != nil {
				slots += len(*all)
				live, dead := 0, 0
				for j := range *all {
					switch (*all)[j].lo.Load() {
					case freeTag:
					case deadTag:
						dead++
					default:
						live++
					}
				}
				if live != s.live || dead != s.dead {
					t.Errorf("step %d: counted %d live and %d dead, there are %d and %d", step, s.live, s.dead, live, dead)
				}
				if 4*(s.live+s.dead) > 3*len(*all) || (s.live < len(*all)/8 && s.dead > len(*all)/4) {
					t.Errorf("step %d: %d live and %d dead in %d slots", step, s.live, s.dead, len(*all))
				}
			}
		}
		if seen != target {
			t.Errorf("step %d: each found %d of %d", step, seen, target)
		}
		t.Logf("%d entries, %d slots", target, slots)
	}
}

// TestIndexKeepsMarks grows the index under entries that are in use.
func TestIndexKeepsMarks(t *testing.T) {
	x, fresh := index{}, &held{staleAt: instant{1, 1}}
	var all []*entry
	for i := range 1000 {
		e := &entry{}
		x.add(e, alike(i))
		if e.hits() != 0 || e.used() {
			t.Fatal("a new entry was used")
		}
		for range i % 4 {
			e.slot.Load().touch()
		}
		e.held.Store(fresh)
		e.slot.Load().set(fresh)
		all = append(all, e)
	}
	for i, e := range all {
		s := x.find(alike(i))
		if s == nil || s.entry.Load() != e || e.slot.Load() != s {
			t.Fatalf("entry %d is not where it was put", i)
		}
		if e.hits() != uint32(i%4) || e.used() != (i%4 > 0) {
			t.Errorf("entry %d has %d hits, used %v", i, e.hits(), e.used())
		}
		if staleAt, _, _, ok := s.read(alike(i)); !ok || staleAt != fresh.staleAt {
			t.Errorf("entry %d: token stale at %v", i, staleAt)
		}
	}
}

// alike makes tags that are in the same place, and partly the same in one half.
func alike(i int) tag { return tag{firstTag + uint64(i/2)<<20, uint64(i)} }

// TestSlotChangesHands gives one slot to two keys in turn while others read it.
//
// Case D10.
func TestSlotChangesHands(t *testing.T) {
	const rounds = 100_000
	var x index
	var keys [2]upstream.Key
	var entries [2]*entry
	for i := range 2 {
		token, err := upstream.NewToken(fmt.Sprint("t", i), "", time.Now(), time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = numbered(i)
		entries[i] = &entry{key: keys[i], source: &source{metrics: metrics.New("test").Upstream("up")}}
		entries[i].held.Store(&held{staleAt: instant{int64(i), int64(i)}, invalidAt: instant{9, 9}, token: token})
	}
	x.add(entries[0], alike(0))
	s := entries[0].slot.Load()
	x.remove(entries[0])
	c := &Cache{}
	var stop atomic.Bool
	var found [2]atomic.Int64
	var readers sync.WaitGroup
	for i := range 2 {
		readers.Go(func() {
			want := fmt.Sprint("t", i)
			for !stop.Load() {
				staleAt, token, _, ok := s.read(alike(i))
				if ok && !token.IsZero() && (token.AccessToken() != want || staleAt.mono != int64(i)) {
					t.Errorf("%q for key %d, stale at %v", token.AccessToken(), i, staleAt)
					return
				}
				if ok {
					found[i].Add(1)
				}
				if token, ok := c.stale(s, keys[i], instant{}); ok && token.AccessToken() != want {
					t.Errorf("%q, stale, for key %d", token.AccessToken(), i)
					return
				}
			}
		})
	}
	hung := time.Now().Add(time.Minute)
	for round := 0; round < rounds || found[0].Load() == 0 || found[1].Load() == 0; round++ {
		if t.Failed() || time.Now().After(hung) {
			break
		}
		i := round % 2
		x.add(entries[i], alike(i))
		if entries[i].slot.Load() != s {
			t.Fatal("the key got another slot")
		}
		s.set(entries[i].held.Load())
		x.remove(entries[i])
	}
	stop.Store(true)
	readers.Wait()
	if found[0].Load() == 0 || found[1].Load() == 0 {
		t.Error("the readers saw nothing in a minute")
	}
}

// TestSlotsChangeHands has readers look for keys that come and go all the
// time, so that slots change hands under them: each token belongs to its key,
// and none is older than the last one that was there before the look-up.
//
// Case D10.
func TestSlotsChangeHands(t *testing.T) {
	const keys, rounds = 24, 4000
	c := &Cache{base: time.Now(), table: newTable(1000, nil), agenda: agenda{wake: make(chan struct{}, 1)}}
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
				key, least := numbered(i), newest[i].Load()
				now := c.now()
				tag := c.table.tagger.tag(&key)
				s := c.table.index.find(tag)
				if s == nil {
					continue
				}
				staleAt, token, _, ok := s.read(tag)
				if !ok || staleAt.reached(now) {
					if token, ok = c.stale(s, key, now); !ok {
						continue
					}
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
		e := c.table.getOrAdd(numbered(i), src, &c.agenda)
		number := newest[i].Load() + 1
		token, err := upstream.NewToken(fmt.Sprintf("t-%d-%d", i, number), "", time.Now(), time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		h := &held{staleAt: long, invalidAt: long, token: token}
		if round%3 == 0 {
			h.staleAt = over // so that the other way is taken too
		}
		c.table.hold(e, h)
		newest[i].Store(number)
		e.release()
		if rand.N(3) == 0 {
			if e := c.table.get(numbered(rand.N(keys / 2))); e != nil {
				c.table.remove(e, &c.agenda)
				e.release()
			}
		}
	}
	stop.Store(true)
	readers.Wait()
	if found.Load() < rounds/10 {
		t.Errorf("only %d look-ups found a token in a minute", found.Load())
	}
}

// TestFullTableOfKeysInUseLetsOneGo keeps to the bound although every entry is used all the time.
//
// Case J1.
func TestFullTableOfKeysInUseLetsOneGo(t *testing.T) {
	const capacity = 500 // the search for one to let go ends after 1,000 steps: twice as many
	table, a := newTable(capacity, nil), &agenda{wake: make(chan struct{}, 1)}
	for i := range capacity + 100 {
		table.getOrAdd(numbered(i), &source{}, a).release()
		if i < capacity {
			continue
		}
		for range maxHits {
			table.index.each(func(e *entry) { e.slot.Load().touch() })
		}
	}
	if n := table.small.len + table.main.len; n > capacity {
		t.Errorf("%d entries, bound %d", n, capacity)
	}
	stays := 0
	table.index.each(func(e *entry) { e.pinned.Store(true); stays++ })
	for i := range 10 {
		table.getOrAdd(numbered(-1-i), &source{}, a).release()
	}
	pinned := 0
	table.index.each(func(e *entry) {
		if e.pinned.Load() {
			pinned++
		}
	})
	if pinned != stays {
		t.Errorf("%d of %d pinned entries are left", pinned, stays)
	}
}

// TestHeldEntriesStay lets none go that somebody has asked for and not released.
func TestHeldEntriesStay(t *testing.T) {
	table, a := newTable(20, nil), &agenda{wake: make(chan struct{}, 1)}
	asked := table.getOrAdd(numbered(0), &source{}, a)
	table.getOrAdd(numbered(1), &source{}, a).release()
	again := table.get(numbered(1))
	taken := table.getOrAdd(numbered(2), &source{}, a)
	if !table.take(taken) {
		t.Fatal("an entry is gone at once")
	}
	taken.release()
	scan := func() {
		for i := range 200 {
			table.giveBack(table.getOrAdd(numbered(1000+i), &source{}, a), a)
		}
	}
	if scan(); asked.gone.Load() || again.gone.Load() || taken.gone.Load() {
		t.Errorf("gone: asked for %v, asked for again %v, taken %v", asked.gone.Load(), again.gone.Load(), taken.gone.Load())
	}
	for _, e := range []*entry{asked, again, taken} {
		e.release()
	}
	table.trim(0, a)
	if !asked.gone.Load() || !again.gone.Load() || !taken.gone.Load() {
		t.Errorf("still there: %v, %v, %v", !asked.gone.Load(), !again.gone.Load(), !taken.gone.Load())
	}
}

// TestGoneEntriesStayGone takes and loads an entry that the table has let go.
func TestGoneEntriesStayGone(t *testing.T) {
	c := &Cache{table: newTable(10, nil), agenda: agenda{wake: make(chan struct{}, 1)}}
	e := c.table.getOrAdd(numbered(1), &source{}, &c.agenda)
	c.table.remove(e, &c.agenda)
	if err := c.launch(e, &flight{}, instant{}); err != errGone || e.flight != nil {
		t.Errorf("launch: %v", err)
	}
	if c.table.take(e) {
		t.Error("it was taken")
	}
	c.schedule(e, instant{1, 1})
	if next, _ := c.agenda.next(instant{2, 2}); next != nil {
		t.Error("it is on the agenda")
	}
}
