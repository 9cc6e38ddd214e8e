package model

// script is one of those that Redis runs as one step.
type script uint8

const (
	noScript script = iota
	lookScript
	storeScript
	forgetScript
	releaseScript
	renewScript
	stopScript
	resumeScript
)

// look returns the value, unless it is the one that the caller knows. Only if there is
// none or that one does it take the lease, if nobody else has it, and a turn with it.
func (m *machine) look(s *state, key int, o owner, known token) (r reply, value token, wait uint8) {
	k := &s.keys[key]
	if k.value != 0 && k.value != known {
		return found, k.value, 0
	}
	if k.lease != 0 && k.lease != o && m.Without != TakeOnlyFreeLease {
		if m.Without == BusyTakesNoTurn {
			m.take(s, key)
		}
		return busy, 0, 0
	}
	if m.Budget && !m.Cluster {
		ok := false
		if wait, ok = m.take(s, key); !ok {
			return refused, 0, 0
		}
	}
	k.lease, k.left = o, leaseTime+wait
	if m.Without == LeaseStandsForTurn {
		k.left = leaseTime
	}
	return granted, 0, wait
}

// take takes a turn of the bucket. It reports how long until that comes, and false if
// there is none.
func (m *machine) take(s *state, key int) (wait uint8, ok bool) {
	k, b := &s.keys[key], &s.bucket
	step, most, promises := uint8(interval), uint8(patience), true
	switch {
	case b.stopped:
		step, most, promises = max(interval, probing), 0, false
	case k.promise != 0:
		if k.promise > keptPromise+1+patience {
			return 0, false // the time for which the turn was promised has not come
		}
		most, promises = longest, false
	}
	if b.free <= most {
		wait = b.free
		if m.Without != TurnIsSpent {
			b.free += step
		}
		k.promise = 0
		return wait, true
	}
	if at := max(b.free, b.promised) + interval; promises && at <= mostWait {
		b.promised, k.promise = at, at+keptPromise+1
	}
	return 0, false
}

// store stores a value unless there is another than the one that was there when its token
// request began, and gives the lease back if it is the owner's. Without an owner it is
// the store of a replica that had no lease.
func (m *machine) store(s *state, key int, msg message) {
	k := &s.keys[key]
	known := k.value == msg.known || m.Without == StoreComparesKnown || msg.owner == 0 && m.Without == AddComparesKnown
	if k.value == 0 || known {
		k.value = msg.token
	}
	if msg.owner != 0 && (k.lease == msg.owner || m.Without == StoreComparesOwner) {
		k.lease, k.left = 0, 0
	}
}

// forget deletes the value, if it is the one named, and gives the lease back, if it is the
// owner's.
func (m *machine) forget(s *state, key int, msg message) {
	k := &s.keys[key]
	if msg.known != 0 && k.value == msg.known || m.Without == ForgetNamesValue {
		k.value = 0
	}
	m.release(s, key, msg)
}

// release gives the lease back, if it is the owner's.
func (m *machine) release(s *state, key int, msg message) {
	k := &s.keys[key]
	if k.lease == msg.owner || m.Without == ReleaseComparesOwner {
		k.lease, k.left = 0, 0
	}
}

// renew has the lease stand for its full time again, if it is the owner's.
func (m *machine) renew(s *state, key int, msg message) {
	k := &s.keys[key]
	if k.lease == msg.owner {
		k.left = msg.stand
	}
	if m.Without == RenewComparesOwner {
		k.lease, k.left = msg.owner, msg.stand
	}
}

// run has Redis run a script of which nobody waits for the answer.
func (m *machine) run(s *state, key int, msg message) {
	switch msg.script {
	case lookScript:
		m.look(s, key, msg.owner, msg.known)
	case storeScript:
		m.store(s, key, msg)
	case forgetScript:
		m.forget(s, key, msg)
	case releaseScript:
		m.release(s, key, msg)
	case renewScript:
		m.renew(s, key, msg)
	case stopScript:
		if !s.bucket.stopped {
			s.voidTurns()
			s.bucket.free = 0
		}
		s.bucket.free, s.bucket.stopped = max(s.bucket.free, stopTime), true
	case resumeScript:
		s.bucket.stopped = false
		s.stopEnded()
	}
}

// voidTurns takes away the turns that have not come yet: they are free again.
func (s *state) voidTurns() {
	for i := range s.loaders {
		s.loaders[i].void = s.loaders[i].waited
	}
}

// stopEnded notes for the rules that the fleet is not stopped any more.
func (s *state) stopEnded() {
	for i := range s.loaders {
		s.loaders[i].stopped = false
	}
}
