package model

// begin starts a load: it looks for a shared token that is better than the one held.
func (m *machine) begin(s *state, i int) {
	l := &s.loaders[i]
	l.known = l.held
	l.replaces = l.held != 0 && l.held == l.rejected
	m.ask(s, i)
}

// ask sends a look to Redis. Each look asks for a lease in a name of its own.
func (m *machine) ask(s *state, i int) {
	l := &s.loaders[i]
	l.phase, l.owner = looking, s.newOwner()
}

// newOwner returns an owner that nothing names.
func (s *state) newOwner() owner {
	var used uint32
	for k := range s.keys {
		used |= 1 << s.keys[k].lease
	}
	for i := range s.loaders {
		l := &s.loaders[i]
		used |= 1<<l.owner | 1<<l.out[0].owner | 1<<l.out[1].owner
	}
	o := owner(1)
	for used&(1<<o) != 0 {
		o++
	}
	return o
}

// end ends the load and forgets all that was its own.
func (l *loader) end() {
	*l = loader{held: l.held, rejected: l.rejected, out: l.out}
}

// post sends a message whose answer nobody waits for.
func (l *loader) post(msg message) {
	if l.out[0].script == noScript {
		l.out[0] = msg
	} else {
		l.out[1] = msg
	}
}

// room returns how many more messages the loader may have on their way.
func (l *loader) room() int {
	n := 0
	for slot := range l.out {
		if l.out[slot].script == noScript {
			n++
		}
	}
	return n
}

// remove takes a message off the way.
func (l *loader) remove(slot int) {
	if slot == 0 {
		l.out[0] = l.out[1]
	}
	l.out[1] = message{}
}

// read goes on with the answer that the load waits for.
func (m *machine) read(s *state, i int) {
	switch s.loaders[i].phase {
	case looked:
		m.readLook(s, i)
	case taken:
		m.readTake(s, i)
	case checked:
		m.readCheck(s, i)
	case answered:
		m.readAnswer(s, i)
	}
}

// posts returns how many messages a loader sends at most when it reads its answer.
func (l *loader) posts() int {
	switch {
	case l.phase == looked:
		return 0
	case l.phase == answered && (l.probe || l.reply == throttled):
		return 2
	}
	return 1
}

// better reports whether a shared token is to be used instead of the one held: it is
// newer, and neither refused by a target nor older than one that was.
func (m *machine) better(l *loader, t token) bool {
	switch {
	case t == l.rejected && m.Without != RejectedIsBarred:
		return false
	case t < l.rejected && m.Without != OlderThanRejectedIsBarred:
		return false
	}
	return t > l.held || m.Without == AdoptOnlyNewer
}

// readLook goes on with what a look found.
func (m *machine) readLook(s *state, i int) {
	l := &s.loaders[i]
	switch l.reply {
	case found:
		if m.better(l, l.value) {
			l.held = l.value
			l.end()
			return
		}
		if m.Without != UselessIsPassedOver {
			l.known = l.value // the next look passes over it
		}
		l.value, l.reply = 0, none
		m.ask(s, i)
	case busy:
		l.phase, l.reply, l.owner = waiting, none, 0
	case refused:
		l.end()
	case granted:
		l.reply = none
		if m.Budget && m.Cluster {
			l.phase = taking
			return
		}
		m.awaitTurn(s, i)
	}
}

// readTake goes on with a turn that was taken apart from the look. The lease is made to
// stand until the turn has come, in a question whose answer the replica waits for: that
// is one step here. A load whose lease has ended by then is put off.
func (m *machine) readTake(s *state, i int) {
	l := &s.loaders[i]
	if l.reply == refused {
		l.post(message{script: releaseScript, owner: l.owner})
		l.end()
		return
	}
	l.reply = none
	if key := m.keyOf(i); l.waited && m.Without != LeaseStandsForTurn {
		if s.keys[key].lease != l.owner {
			l.end()
			return
		}
		m.renew(s, key, message{owner: l.owner, stand: leaseTime + l.wait})
	}
	m.awaitTurn(s, i)
}

// awaitTurn makes the token request, or waits until it may be made.
func (m *machine) awaitTurn(s *state, i int) {
	l := &s.loaders[i]
	l.turn = m.Budget
	if !l.waited || m.Without == TurnIsAwaited {
		m.fetch(s, i)
		return
	}
	l.phase = turning
}

// turnCame asks whether the fleet was stopped while the load waited, which makes its turn
// void.
func (m *machine) turnCame(s *state, i int) {
	if m.Without == StopIsChecked {
		m.fetch(s, i)
		return
	}
	s.loaders[i].phase = checking
}

// readCheck goes on after that question.
func (m *machine) readCheck(s *state, i int) {
	l := &s.loaders[i]
	if l.reply == refused {
		l.post(message{script: releaseScript, owner: l.owner})
		l.end()
		return
	}
	m.fetch(s, i)
}

// fetch makes the token request.
func (m *machine) fetch(s *state, i int) {
	l := &s.loaders[i]
	turn := l.turn
	l.phase, l.reply, l.value, l.wait = fetching, none, m.nextToken(s, m.keyOf(i)), 0
	l.waited, l.void, l.turn, l.stopped = false, false, false, false
	if m.counts() {
		s.asked += interval
		if !turn {
			s.allowed += interval
		}
	}
}

// counts reports whether the token requests are counted, which makes for more states.
func (m *machine) counts() bool { return m.Budget && (m.Prompt || m.Rule == ruleBudget) }

// nextToken returns the token of a request that begins now: its number is above all others.
func (m *machine) nextToken(s *state, key int) token {
	last := s.keys[key].value
	for t, at := range s.issued[key] {
		if at != 0 {
			last = max(last, token(t))
		}
	}
	for i := key; i < m.loaders(); i += m.Keys {
		l := &s.loaders[i]
		last = max(last, l.held, l.rejected, l.known, l.value, l.out[0].token, l.out[1].token)
	}
	return last + 1
}

// readAnswer goes on with the answer of the provider, and tells the other replicas by way
// of Redis.
func (m *machine) readAnswer(s *state, i int) {
	l := &s.loaders[i]
	leased := l.owner != 0
	switch l.reply {
	case issued:
		l.held = l.value
		l.post(message{script: storeScript, owner: l.owner, known: l.known, token: l.value})
	case decided:
		if l.replaces {
			l.held = 0
		}
		switch {
		case leased && l.replaces:
			l.post(message{script: forgetScript, owner: l.owner, known: l.known})
		case leased:
			l.post(message{script: releaseScript, owner: l.owner})
		}
	case throttled:
		l.post(message{script: stopScript})
		if leased {
			l.post(message{script: releaseScript, owner: l.owner})
		}
	}
	if l.probe && l.reply != throttled {
		l.post(message{script: resumeScript})
	}
	l.end()
}
