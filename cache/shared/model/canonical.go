package model

import (
	"hash/maphash"
	"slices"
)

// Two states are the same to what follows if they differ only in which replica is which,
// in which key is which, in the names of owners, and in the numbers of tokens, of which
// only the order counts. The exploration keeps one of all such states, its canonical form.

// order is one way in which replicas and keys can change places: which loader comes to
// stand in each place, and which key.
type order struct{ loaders, keys []uint8 }

// arrange lists all of them.
func (m *machine) arrange() {
	for _, replicas := range ordersOf(m.Replicas) {
		for _, keys := range ordersOf(m.Keys) {
			o := order{make([]uint8, m.loaders()), keys}
			for i := range o.loaders {
				o.loaders[i] = replicas[m.replicaOf(i)]*uint8(m.Keys) + keys[m.keyOf(i)]
			}
			m.orders = append(m.orders, o)
		}
	}
}

// ordersOf returns all orders of the numbers below n.
func ordersOf(n int) [][]uint8 {
	if n == 0 {
		return [][]uint8{nil}
	}
	var all [][]uint8
	for _, fewer := range ordersOf(n - 1) {
		for at := range n {
			all = append(all, slices.Insert(slices.Clone(fewer), at, uint8(n-1)))
		}
	}
	return all
}

// canonical returns the canonical form of s, its hash, and which loader of s has come to
// stand in each place. It is the one with the least hash.
func (m *machine) canonical(s *state) (least state, hash uint64, loaders []uint8) {
	clean := *s
	for k := range m.Keys {
		m.renumber(&clean, k)
	}
	next := clean
	for n := range m.orders {
		o := &m.orders[n]
		for i, from := range o.loaders {
			next.loaders[i] = clean.loaders[from]
		}
		for k, from := range o.keys {
			next.keys[k], next.issued[k] = clean.keys[from], clean.issued[from]
		}
		m.rename(&next)
		if h := maphash.Comparable(m.seed, next); n == 0 || h < hash {
			least, hash, loaders = next, h, o.loaders
		}
	}
	return least, hash, loaders
}

// rename gives owners the names 1, 2, 3 in the order in which they stand.
func (m *machine) rename(s *state) {
	var n names
	for k := range m.Keys {
		n.rename(&s.keys[k].lease)
	}
	for i := range m.loaders() {
		l := &s.loaders[i]
		n.rename(&l.owner)
		n.rename(&l.out[0].owner)
		n.rename(&l.out[1].owner)
	}
}

// names are the new names of owners, by their old ones.
type names struct {
	of   [16]owner
	last owner
}

func (n *names) rename(o *owner) {
	if *o == 0 {
		return
	}
	if n.of[*o] == 0 {
		n.last++
		n.of[*o] = n.last
	}
	*o = n.of[*o]
}

// renumber numbers the tokens of a key anew, without gaps, and forgets what makes no
// difference any more: a known value that is not there and will not be stored again, and
// a refused token that is gone, as is every older one.
func (m *machine) renumber(s *state, key int) {
	k := &s.keys[key]
	stored := uint32(1) << k.value // what is or may come to be in Redis
	for i := key; i < m.loaders(); i += m.Keys {
		l := &s.loaders[i]
		stored |= 1<<l.value | 1<<l.out[0].token | 1<<l.out[1].token
	}
	used := stored
	for i := key; i < m.loaders(); i += m.Keys {
		l := &s.loaders[i]
		forget(&l.known, stored)
		forget(&l.out[0].known, stored)
		forget(&l.out[1].known, stored)
		if l.rejected != l.held && stored&(1<<(l.rejected+1)-1)&^1 == 0 {
			l.rejected = 0
		}
		used |= 1<<l.held | 1<<l.rejected
	}
	highest := token(maxTokens)
	for highest > 0 && used&(1<<highest) == 0 && s.issued[key][highest] == 0 {
		highest--
	}
	if used|1 != 1<<(highest+1)-1 {
		m.replace(s, key, used)
	}
}

// forget forgets a known value that is not among those stored.
func forget(known *token, stored uint32) {
	if stored&(1<<*known) == 0 {
		*known = 0
	}
}

// replace gives the tokens of a key that are used the numbers 1, 2, 3, and numbers anew in
// which order those were issued.
func (m *machine) replace(s *state, key int, used uint32) {
	var numbers [maxTokens + 1]token
	next := token(0)
	for t := token(1); t <= maxTokens; t++ {
		if used&(1<<t) != 0 {
			next++
			numbers[t] = next
		}
	}
	s.keys[key].value = numbers[s.keys[key].value]
	for i := key; i < m.loaders(); i += m.Keys {
		l := &s.loaders[i]
		l.held, l.rejected, l.known, l.value = numbers[l.held], numbers[l.rejected], numbers[l.known], numbers[l.value]
		for slot := range l.out {
			msg := &l.out[slot]
			msg.known, msg.token = numbers[msg.known], numbers[msg.token]
		}
	}
	before := s.issued[key]
	s.issued[key] = [maxTokens + 1]uint8{}
	for t, at := range before {
		if at == 0 || numbers[t] == 0 {
			continue
		}
		place := uint8(1)
		for other, earlier := range before {
			if earlier != 0 && earlier < at && numbers[other] != 0 {
				place++
			}
		}
		s.issued[key][numbers[t]] = place
	}
}
