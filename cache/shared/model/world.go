package model

// timeRuns reports whether the state would be another after a unit of time.
func (m *machine) timeRuns(s *state) bool {
	for k := range m.Keys {
		if s.keys[k].left > 0 && m.Without != LeaseEnds || s.keys[k].promise > 0 {
			return true
		}
	}
	if s.bucket.free > 0 || s.bucket.promised > 0 || s.asked > 0 {
		return true
	}
	for i := range m.loaders() {
		if s.loaders[i].wait > 0 {
			return true
		}
	}
	return false
}

// hurried reports whether something is to happen before the next unit of time has passed,
// if nothing is held up.
func (m *machine) hurried(s *state) bool {
	for i := range m.loaders() {
		l := &s.loaders[i]
		switch l.phase {
		case looking, looked, taking, taken, checking, checked, answered:
			return true
		case turning:
			if l.wait == 0 {
				return true
			}
		case fetching:
			// A lease is renewed before its last unit of time.
			if k := &s.keys[m.keyOf(i)]; k.lease == l.owner && l.owner != 0 && k.left <= 1 {
				return true
			}
		}
		if l.out[0].script != noScript {
			return true
		}
	}
	return false
}

// pass has a unit of time pass.
func (m *machine) pass(s *state) {
	for k := range m.Keys {
		if key := &s.keys[k]; key.left > 0 && m.Without != LeaseEnds {
			if key.left--; key.left == 0 {
				m.leaseEnded(s, key.lease)
				key.lease = 0
			}
		}
		s.keys[k].promise -= min(s.keys[k].promise, 1)
	}
	s.bucket.free -= min(s.bucket.free, 1)
	s.bucket.promised -= min(s.bucket.promised, 1)
	s.asked -= min(s.asked, 1)
	for i := range m.loaders() {
		if l := &s.loaders[i]; l.wait > 0 {
			l.wait--
			l.stopped = l.wait == 0 && s.bucket.stopped
		}
	}
}

// leaseEnded notes for the rules that a lease has ended before its holder gave it back.
func (m *machine) leaseEnded(s *state, o owner) {
	for i := range m.loaders() {
		if l := &s.loaders[i]; l.owner == o && l.way == byLease {
			l.way = afterLease
		}
	}
}

// fail has something go wrong.
func (m *machine) fail(s *state, st step) {
	i := int(st.loader)
	l := &s.loaders[i]
	switch st.action {
	case LoseReply, CutOff:
		m.goOn(s, i, st.action == LoseReply)
	case DelayLook:
		l.post(message{script: lookScript, owner: l.owner, known: l.known})
		m.goOn(s, i, true)
	case RepeatLook:
		msg := message{script: lookScript, owner: l.owner, known: l.known}
		m.answer(s, i)
		l.post(msg)
	case LosePosted:
		l.remove(int(st.slot))
	case Crash:
		for j := range m.loaders() {
			if m.replicaOf(j) == m.replicaOf(i) {
				m.crash(&s.loaders[j])
			}
		}
	case LoseMemory:
		m.loseMemory(s)
	}
}

// goOn has a load go on without the answer of Redis. A load that may have been given the
// lease makes its token request as if it had, lest the others wait for a holder that
// knows of nothing; one that did not reach Redis makes it alone. Either has no turn. What
// a load does not learn of a stop does not hold it up.
func (m *machine) goOn(s *state, i int, asked bool) {
	l := &s.loaders[i]
	switch {
	case l.phase == looking || l.phase == looked:
		l.way, l.probe, l.waited = withoutWord, false, false
		if !asked {
			l.way, l.owner = alone, 0
		}
	case l.phase == taking || l.phase == taken:
		l.probe, l.waited = false, false
	default:
		l.stopped = false
	}
	m.fetch(s, i)
}

// crash has a replica forget all of one key. A look that it has sent goes on.
func (m *machine) crash(l *loader) {
	after := loader{out: l.out}
	if l.phase == looking && l.room() > 0 {
		after.post(message{script: lookScript, owner: l.owner, known: l.known})
	}
	*l = after
}

// loseMemory has Redis forget all. Turns that were taken come all the same, so that as
// many token requests may be made in addition.
func (m *machine) loseMemory(s *state) {
	for k := range m.Keys {
		m.leaseEnded(s, s.keys[k].lease)
	}
	if m.counts() {
		s.allowed += (s.bucket.free + interval - 1) / interval * interval
	}
	s.keys, s.bucket = [maxKeys]sharedKey{}, bucket{}
	s.stopEnded()
}
