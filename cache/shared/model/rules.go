package model

// occurrence reports whether something has come about in a step: the states before and
// after it are compared.
type occurrence func(m *machine, before *state, st step, after *state) bool

// rule is what must hold at each step.
type rule struct {
	name   string
	broken occurrence
}

const (
	ruleNewerStays    = "a shared token is never replaced by an older one"
	ruleBarred        = "a replica adopts nothing that a target refused to it, and nothing from before that"
	ruleNewerHeld     = "a replica never goes back to an older token"
	ruleOneHolder     = "of each key one replica at most has the lease and makes a token request"
	rulePromptLease   = "if nothing is held up, no lease ends before it is given back"
	ruleTurnsApart    = "turns keep their distance"
	ruleTurnUsed      = "a turn goes to a load that has the lease"
	ruleTurnAwaited   = "no token request is made before its turn"
	ruleBudget        = "if nothing is held up, there are no more token requests than the budget allows"
	ruleStopHeeded    = "a load whose turn comes after a stop makes no token request"
	ruleRefusedGoes   = "what is deleted is what was refused, and nothing newer"
	ruleEveryLoadEnds = "every load ends, if nothing more goes wrong" // see fair.go
)

var rules = []rule{
	{ruleNewerStays, olderStored},
	{ruleBarred, barredAdopted},
	{ruleNewerHeld, wentBack},
	{ruleOneHolder, severalHolders},
	{rulePromptLease, promptLeaseEnded},
	{ruleTurnsApart, turnsTooClose},
	{ruleTurnUsed, turnWasted},
	{ruleTurnAwaited, tooEarly},
	{ruleBudget, tooMany},
	{ruleStopHeeded, stopIgnored},
	{ruleRefusedGoes, newerDeleted},
}

// olderStored goes by both orders of tokens, that in which their requests began and that
// in which the provider issued them. A value that was deleted or lost may be followed by an
// older one.
func olderStored(m *machine, before *state, _ step, after *state) bool {
	for k := range m.Keys {
		old, value, at := before.keys[k].value, after.keys[k].value, &after.issued[k]
		if old != 0 && value != 0 && old != value && (value < old || at[value] < at[old]) {
			return true
		}
	}
	return false
}

// adopted reports whether a replica has begun to use a token that another one shared.
func adopted(_ *machine, before *state, st step, after *state) bool {
	l := &before.loaders[st.loader]
	return st.action == readReply && l.phase == looked && l.reply == found && after.loaders[st.loader].phase == idle
}

// barredAdopted goes by the order in which the token requests began. Only as long as no two
// of them are under way for one key is that the order in which the tokens were issued.
func barredAdopted(m *machine, before *state, st step, after *state) bool {
	l := &after.loaders[st.loader]
	if !adopted(m, before, st, after) || l.rejected == 0 {
		return false
	}
	at := &before.issued[m.keyOf(int(st.loader))]
	return l.held <= l.rejected || m.Prompt && m.Faults == 0 && at[l.held] <= at[l.rejected]
}

func wentBack(m *machine, before *state, st step, after *state) bool {
	return adopted(m, before, st, after) && after.loaders[st.loader].held <= before.loaders[st.loader].held
}

// asks reports whether a token request of l is under way.
func (l *loader) asks() bool { return l.phase == fetching || l.phase == answered }

// severalHolders excepts the replicas whose lease has ended before they gave it back, and
// those to which Redis did not answer, and no others. So as long as neither comes up there
// is one token request at most.
func severalHolders(m *machine, _ *state, st step, after *state) bool {
	if st.action != runScript && st.action != RepeatLook {
		return false // no other step gives a lease
	}
	var holders [maxKeys]int
	for i := range m.loaders() {
		if after.loaders[i].way == byLease {
			holders[m.keyOf(i)]++
		}
	}
	return max(holders[0], holders[1]) > 1
}

func promptLeaseEnded(m *machine, before *state, st step, after *state) bool {
	if !m.Prompt || st.action != passTime {
		return false
	}
	for i := range m.loaders() {
		if before.loaders[i].way == byLease && after.loaders[i].way == afterLease {
			return true
		}
	}
	return false
}

// turnTaken reports whether Redis has given a turn to the loader of the step.
func turnTaken(m *machine, before *state, st step, after *state) bool {
	return m.Budget && (st.action == runScript || st.action == RepeatLook) && after.loaders[st.loader].reply == granted &&
		m.Cluster == (before.loaders[st.loader].phase == taking)
}

// turnsTooClose reports whether the turn that was given comes before the one that was free,
// or the next one less than an interval after it.
func turnsTooClose(m *machine, before *state, st step, after *state) bool {
	if !turnTaken(m, before, st, after) {
		return false
	}
	wait := after.loaders[st.loader].wait
	return wait < before.bucket.free || after.bucket.free < wait+interval
}

// turnWasted reports whether a turn is gone although the one who asked has got none. One
// may be lost later, with the answer or with its replica.
func turnWasted(m *machine, before *state, st step, after *state) bool {
	return st.action == runScript && after.bucket.free > before.bucket.free && !turnTaken(m, before, st, after)
}

// began reports whether the loader of the step begins its token request, having heard all
// that it asked.
func began(before *state, st step, after *state) bool {
	return (st.action == readReply || st.action == endWait) && after.loaders[st.loader].phase == fetching
}

func tooEarly(_ *machine, before *state, st step, after *state) bool {
	return began(before, st, after) && before.loaders[st.loader].wait > 0
}

// tooMany is about all stretches of time at once. What is asked may be ahead of the budget
// by one request, by those that were made without a turn, and by what was booked when
// Redis lost its memory.
func tooMany(_ *machine, _ *state, _ step, after *state) bool { return after.asked > after.allowed }

func stopIgnored(_ *machine, before *state, st step, after *state) bool {
	return began(before, st, after) && before.loaders[st.loader].stopped
}

func newerDeleted(m *machine, before *state, st step, after *state) bool {
	if st.action != runPosted {
		return false
	}
	msg, k := before.loaders[st.loader].out[st.slot], m.keyOf(int(st.loader))
	return msg.script == forgetScript && before.keys[k].value > msg.known && after.keys[k].value == 0
}
