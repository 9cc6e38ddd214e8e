package model

import "slices"

// actionsIn lists what can happen to a loader in each phase, faults included, if the state
// allows it.
var actionsIn = [phases][]Action{
	idle:     {beginLoad},
	looking:  {runScript, DelayLook, RepeatLook, CutOff},
	looked:   {readReply, LoseReply},
	waiting:  {lookAgain},
	taking:   {runScript, CutOff},
	taken:    {readReply, LoseReply},
	turning:  {endWait},
	checking: {runScript, CutOff},
	checked:  {readReply, LoseReply},
	fetching: {issueToken, refuseKey, throttle, renewLease},
	answered: {readReply, renewLease},
}

// steps appends to buf all steps that s allows.
func (m *machine) steps(s *state, buf []step) []step {
	for i := range m.loaders() {
		l := &s.loaders[i]
		for _, a := range actionsIn[l.phase] {
			if m.allows(s, l, a) {
				buf = append(buf, step{a, uint8(i), 0})
			}
		}
		if l.held != 0 && l.held != l.rejected {
			buf = append(buf, step{rejectHeld, uint8(i), 0})
		}
		if m.keyOf(i) == 0 && m.allows(s, l, Crash) { // the first loader of a replica stands for all
			buf = append(buf, step{Crash, uint8(i), 0})
		}
		for slot := range l.out {
			if l.out[slot].script == noScript {
				continue
			}
			buf = append(buf, step{runPosted, uint8(i), uint8(slot)})
			if m.allows(s, l, LosePosted) {
				buf = append(buf, step{LosePosted, uint8(i), uint8(slot)})
			}
		}
	}
	if m.timeRuns(s) && !(m.Prompt && m.hurried(s)) {
		buf = append(buf, step{action: passTime})
	}
	if m.allows(s, nil, LoseMemory) && (s.keys != [maxKeys]sharedKey{} || s.bucket != bucket{}) {
		buf = append(buf, step{action: LoseMemory})
	}
	return buf
}

// allows reports whether a, which is in the list of the phase of l, may happen to l now.
func (m *machine) allows(s *state, l *loader, a Action) bool {
	switch a {
	case beginLoad:
		return s.loads > 0
	case endWait:
		return l.wait == 0
	case readReply:
		return l.room() >= l.posts()
	case renewLease:
		return l.owner != 0 && l.room() > 0 && l.out[0].script != renewScript
	case refuseKey:
		return s.refusals > 0
	case throttle:
		return s.refusals > 0 && m.Budget
	case DelayLook, RepeatLook:
		return s.faults > 0 && m.faulty[a] && l.room() > 0
	}
	return a <= passTime || s.faults > 0 && m.faulty[a]
}

// apply makes one step of s.
func (m *machine) apply(s *state, st step) {
	i := int(st.loader)
	l := &s.loaders[i]
	switch st.action {
	case beginLoad:
		s.loads--
		m.begin(s, i)
	case rejectHeld:
		l.rejected = l.held
		l.replaces = l.phase != idle
	case lookAgain:
		m.ask(s, i)
	case endWait:
		m.turnCame(s, i)
	case readReply:
		m.read(s, i)
	case renewLease:
		l.post(message{script: renewScript, owner: l.owner, stand: leaseTime})
	case runScript:
		m.answer(s, i)
	case runPosted:
		msg := l.out[st.slot]
		l.remove(int(st.slot))
		m.run(s, m.keyOf(i), msg)
	case issueToken:
		l.phase, l.reply = answered, issued
		at := &s.issued[m.keyOf(i)]
		at[l.value] = slices.Max(at[:]) + 1
	case refuseKey, throttle:
		s.refusals--
		l.phase, l.reply, l.value = answered, decided, 0
		if st.action == throttle {
			l.reply = throttled
		}
	case passTime:
		m.pass(s)
	default:
		s.faults--
		m.fail(s, st)
	}
}

// answer has Redis run the script that the load waits for.
func (m *machine) answer(s *state, i int) {
	l := &s.loaders[i]
	key, stopped := m.keyOf(i), s.bucket.stopped
	switch l.phase {
	case looking:
		l.phase = looked
		if l.reply, l.value, l.wait = m.look(s, key, l.owner, l.known); l.reply == granted {
			l.way, l.probe = byLease, m.Budget && !m.Cluster && stopped
		}
	case taking:
		l.phase, l.reply = taken, refused
		if wait, ok := m.take(s, key); ok {
			l.reply, l.wait, l.probe = granted, wait, stopped
		}
	case checking:
		l.phase, l.reply = checked, none
		if stopped || l.void && m.Without != VoidIsChecked {
			l.reply = refused
		}
		return
	}
	l.waited, l.void = l.wait > 0, false
}
