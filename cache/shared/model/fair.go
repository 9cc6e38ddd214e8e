package model

// A state ends well if, once nothing more goes wrong and everybody does what is next, each
// load ends and each replica has a token of which it does not know that it is refused.
// One order of steps is followed: messages and replicas go on until all of them wait, and
// only then does time pass. The waiters of the model have more patience than those of the
// product: none gives up, so that it is the holder of the lease, or the end of the lease,
// that ends the wait.

// endless is how many steps no state takes to end well.
const endless = 500

// allEnd returns after how many steps s ends well, and false if it does not.
func (x *exploration) allEnd(s state) (int, bool) {
	var way []uint64
	s.loads, s.refusals, s.faults = 0, 0, 0
	left := int32(0)
	for {
		s.asked, s.allowed = 0, 0
		same, hash, _ := x.canonical(&s)
		s = same
		if known, ok := x.ends[hash]; ok {
			left = known
			break
		}
		way = append(way, hash)
		if x.content(&s) {
			break
		}
		if len(way) > endless {
			return endless, false
		}
		x.goOnFairly(&s)
	}
	for i := len(way) - 1; i >= 0; i-- {
		x.ends[way[i]] = left + int32(len(way)-i)
	}
	return int(left) + len(way), true
}

// content reports whether nothing is to be done in s: no load is under way, no message is
// on its way, and every replica has a token.
func (m *machine) content(s *state) bool {
	for i := range m.loaders() {
		if l := &s.loaders[i]; l.phase != idle || l.lacks() || l.out[0].script != noScript {
			return false
		}
	}
	return true
}

// lacks reports whether the replica has no token that is of use.
func (l *loader) lacks() bool { return l.held == 0 || l.held == l.rejected }

// goOnFairly makes the next step: of a message, or the first in the list of a phase. When
// all wait a unit of time passes, then those look again who wait for another replica, and
// those begin a load who lack a token.
func (m *machine) goOnFairly(s *state) {
	for i := range m.loaders() {
		l := &s.loaders[i]
		if l.out[0].script != noScript {
			m.apply(s, step{runPosted, uint8(i), 0})
			return
		}
		if a := actionsIn[l.phase][0]; l.phase != idle && l.phase != waiting && m.allows(s, l, a) {
			m.apply(s, step{a, uint8(i), 0})
			return
		}
	}
	m.pass(s)
	for i := range m.loaders() {
		switch l := &s.loaders[i]; {
		case l.phase == waiting:
			m.ask(s, i)
		case l.phase == idle && l.lacks():
			m.begin(s, i)
		}
	}
}
