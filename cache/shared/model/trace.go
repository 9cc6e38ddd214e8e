package model

import (
	"fmt"
	"strings"
)

// breaks notes that a rule is broken by a step from the node with the number given, and
// how it comes to that. The steps on the way were made of canonical states. They are told
// of states in which all names and numbers stay as they are.
func (x *exploration) breaks(rule string, number int32, last step) {
	way := []step{last}
	for n := number; n > 0; n = x.nodes[n].before {
		way = append(way, x.nodes[n].step)
	}
	x.result.Broken = rule
	told := x.start()
	walk, _, names := x.canonical(&told)
	for i := len(way) - 1; i >= 0; i-- {
		st := way[i]
		x.apply(&walk, st)
		st.loader = names[st.loader]
		line := x.tell(&told, st)
		x.apply(&told, st)
		x.result.Trace = append(x.result.Trace, line+"\n\t"+x.describe(&told))
		var places []uint8
		walk, _, places = x.canonical(&walk)
		names = reorder(names, places)
	}
}

// reorder returns the names in the order of the places.
func reorder(names, places []uint8) []uint8 {
	after := make([]uint8, len(names))
	for i, from := range places {
		after[i] = names[from]
	}
	return after
}

var actionNames = [actions]string{
	beginLoad: "begins a load", rejectHeld: "has its token refused by a target", lookAgain: "looks again",
	endWait: "has its turn", readReply: "reads the answer", renewLease: "renews its lease",
	runScript: "is answered by Redis", runPosted: "has Redis run its", issueToken: "is issued a token",
	refuseKey: "is refused for good", throttle: "is told to make fewer requests", passTime: "time passes",
	LoseReply: "gets no answer", DelayLook: "gives up waiting for its look", RepeatLook: "is answered, and its look comes again",
	LosePosted: "loses its", CutOff: "cannot reach Redis", Crash: "crashes", LoseMemory: "Redis loses its memory",
}

var scriptNames = [...]string{lookScript: "look", storeScript: "store", forgetScript: "forget",
	releaseScript: "release", renewScript: "renewal", stopScript: "stop", resumeScript: "resume"}

var phaseNames = [phases]string{"idle", "looking", "looked", "waiting", "taking", "taken", "turning", "checking",
	"checked", "fetching", "answered"}

// tell says what happens in a step from s.
func (m *machine) tell(s *state, st step) string {
	name, i := actionNames[st.action], int(st.loader)
	switch st.action {
	case passTime, LoseMemory:
		return name
	case runPosted, LosePosted:
		name += " " + scriptNames[s.loaders[i].out[st.slot].script]
	}
	return fmt.Sprintf("replica %d, key %d: %s", m.replicaOf(i)+1, m.keyOf(i)+1, name)
}

// describe tells in one line what there is.
func (m *machine) describe(s *state) string {
	var b strings.Builder
	for k := range m.Keys {
		fmt.Fprintf(&b, "key %d: value %d, lease %d for %d; ", k+1, s.keys[k].value, s.keys[k].lease, s.keys[k].left)
	}
	if m.Budget {
		fmt.Fprintf(&b, "bucket free in %d, stopped %t; ", s.bucket.free, s.bucket.stopped)
	}
	for i := range m.loaders() {
		l := &s.loaders[i]
		if *l == (loader{}) {
			continue // it has done nothing, and knows nothing
		}
		fmt.Fprintf(&b, "%d.%d %s, holds %d", m.replicaOf(i)+1, m.keyOf(i)+1, phaseNames[l.phase], l.held)
		for _, part := range []struct {
			name string
			n    uint8
		}{{"refused", uint8(l.rejected)}, {"known", uint8(l.known)}, {"owner", uint8(l.owner)}, {"value", uint8(l.value)}, {"wait", l.wait}} {
			if part.n != 0 {
				fmt.Fprintf(&b, ", %s %d", part.name, part.n)
			}
		}
		for _, msg := range l.out {
			if msg.script != noScript {
				fmt.Fprintf(&b, ", has sent a %s", scriptNames[msg.script])
			}
		}
		b.WriteString("; ")
	}
	return b.String()
}
