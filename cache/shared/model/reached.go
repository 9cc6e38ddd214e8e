package model

// sight is something that must come up in one setting or another. It is what the rules are
// about: where it does not come up, that no rule is broken means nothing.
type sight struct {
	name string
	seen occurrence
}

var sights = []sight{
	{"a late holder, beside another that has the lease", lateHolder},
	{"a late store that is refused, because a newer token is there", lateStoreRefused},
	{"a late store that comes first", lateStoreFirst},
	{"an older token, after the newer one was lost", olderAgain},
	{"an adoption after a rejection", adoptedAfterRejection},
	{"a shared token that is barred", barred},
	{"the adoption of a token that was issued before the refused one, though asked for later", overtaken},
	{"a refused token that is deleted", deleted},
	{"a newer token in the place of the one to be deleted", notDeleted},
	{"a full bucket", fullBucket},
	{"a turn for a key to which one was promised", promiseKept},
	{"a memory that is lost while loads wait for their turns", bookedTurnsLost},
	{"more token requests than the budget, after a lost memory", moreAfterLoss},
	{"a load that is turned away as its turn comes", turnedAway},
	{"a stop that a probe ends", stopEnded},
	{"a lease of which no replica knows", nobodysLease},
	{"three token requests for one key", threeRequests},
}

func lateHolder(m *machine, before *state, st step, after *state) bool {
	if !began(before, st, after) {
		return false
	}
	var late, now [maxKeys]bool
	for i := range m.loaders() {
		if l := &after.loaders[i]; l.asks() {
			late[m.keyOf(i)] = late[m.keyOf(i)] || l.way == afterLease
			now[m.keyOf(i)] = now[m.keyOf(i)] || l.way == byLease
		}
	}
	return late[0] && now[0] || late[1] && now[1]
}

// ran returns the message of a script that Redis runs in this step, and the value of its
// key before and after. It reports false if Redis runs no such script.
func ran(m *machine, b *state, st step, a *state, s script) (msg message, before, after token, ok bool) {
	if st.action != runPosted || b.loaders[st.loader].out[st.slot].script != s {
		return message{}, 0, 0, false
	}
	k := m.keyOf(int(st.loader))
	return b.loaders[st.loader].out[st.slot], b.keys[k].value, a.keys[k].value, true
}

// late reports whether a message comes from a replica that does not have the lease any more.
func late(m *machine, s *state, st step, msg message) bool {
	return msg.owner != 0 && s.keys[m.keyOf(int(st.loader))].lease != msg.owner
}

func lateStoreRefused(m *machine, b *state, st step, a *state) bool {
	msg, before, after, ok := ran(m, b, st, a, storeScript)
	return ok && late(m, b, st, msg) && before > msg.token && after == before
}

func lateStoreFirst(m *machine, b *state, st step, a *state) bool {
	msg, _, after, ok := ran(m, b, st, a, storeScript)
	return ok && late(m, b, st, msg) && after == msg.token && a.keys[m.keyOf(int(st.loader))].lease != 0
}

func olderAgain(m *machine, b *state, st step, a *state) bool {
	msg, before, after, ok := ran(m, b, st, a, storeScript)
	if !ok || before != 0 || after != msg.token {
		return false
	}
	for i := m.keyOf(int(st.loader)); i < m.loaders(); i += m.Keys {
		if l := &a.loaders[i]; l.held > msg.token && l.out == [2]message{} {
			return true
		}
	}
	return false
}

func adoptedAfterRejection(m *machine, before *state, st step, after *state) bool {
	return adopted(m, before, st, after) && before.loaders[st.loader].rejected != 0
}

func barred(_ *machine, before *state, st step, _ *state) bool {
	l := &before.loaders[st.loader]
	return st.action == readReply && l.phase == looked && l.reply == found && l.value <= l.rejected
}

func overtaken(m *machine, before *state, st step, after *state) bool {
	at, l := &before.issued[m.keyOf(int(st.loader))], &before.loaders[st.loader]
	return adoptedAfterRejection(m, before, st, after) && at[l.value] < at[l.rejected]
}

func deleted(m *machine, b *state, st step, a *state) bool {
	_, before, after, ok := ran(m, b, st, a, forgetScript)
	return ok && before != 0 && after == 0
}

func notDeleted(m *machine, b *state, st step, a *state) bool {
	msg, before, after, ok := ran(m, b, st, a, forgetScript)
	return ok && before > msg.known && after == before
}

func fullBucket(_ *machine, before *state, st step, after *state) bool {
	l := &after.loaders[st.loader]
	return st.action == runScript && l.reply == refused && l.phase != checked && !before.bucket.stopped
}

func promiseKept(m *machine, before *state, st step, after *state) bool {
	return turnTaken(m, before, st, after) && before.keys[m.keyOf(int(st.loader))].promise != 0
}

func bookedTurnsLost(m *machine, before *state, st step, _ *state) bool {
	if st.action != LoseMemory {
		return false
	}
	for i := range m.loaders() {
		if before.loaders[i].phase == turning {
			return true
		}
	}
	return false
}

// moreAfterLoss looks at the settings in which nothing else can be the reason.
func moreAfterLoss(m *machine, _ *state, _ step, after *state) bool {
	return len(m.Of) == 1 && m.faulty[LoseMemory] && after.asked > interval
}

func turnedAway(_ *machine, before *state, st step, _ *state) bool {
	l := &before.loaders[st.loader]
	return st.action == readReply && l.phase == checked && l.reply == refused
}

func stopEnded(_ *machine, before *state, st step, after *state) bool {
	return st.action == runPosted && before.bucket.stopped && !after.bucket.stopped
}

func nobodysLease(m *machine, _ *state, st step, after *state) bool {
	if st.action != runPosted && st.action != Crash {
		return false
	}
	o := after.keys[0].lease
	for i := range m.loaders() {
		if l := &after.loaders[i]; l.owner == o || l.out[0].owner == o || l.out[1].owner == o {
			return false
		}
	}
	return o != 0
}

func threeRequests(m *machine, before *state, st step, after *state) bool {
	if !began(before, st, after) {
		return false
	}
	n := 0
	for i := 0; i < m.loaders(); i += m.Keys {
		if after.loaders[i].asks() {
			n++
		}
	}
	return n > 2
}
