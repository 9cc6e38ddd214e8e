package model

import (
	"math/rand/v2"
	"os"
	"testing"
)

// anyFault is all that can go wrong where Redis is one server, and inCluster where it is
// many: the client of a cluster sends a script again if the answer to it does not come.
// noDelay leaves out what holds messages up, or has a message come to nothing of which
// nobody waits for the answer.
var (
	anyFault  = []Action{LoseReply, DelayLook, LosePosted, CutOff, Crash, LoseMemory}
	inCluster = append([]Action{RepeatLook}, anyFault...)
	noDelay   = []Action{LoseReply, CutOff, Crash, LoseMemory}
)

// size says when a setting is explored.
type size int

const (
	always size = iota
	notInShort
	inSoak // with SOAK=1 in the environment
)

var cases = []struct {
	name    string
	size    size
	setting Setting
}{
	{"two replicas", always, Setting{Replicas: 2, Keys: 1, Loads: 3, Refusals: 1}},
	{"two replicas, one fault", notInShort, Setting{Replicas: 2, Keys: 1, Loads: 3, Faults: 1, Of: anyFault}},
	{"two replicas, two faults", always, Setting{Replicas: 2, Keys: 1, Loads: 2, Refusals: 1, Faults: 2, Of: anyFault}},
	{"three replicas", notInShort, Setting{Replicas: 3, Keys: 1, Loads: 3, Refusals: 1}},
	{"budget", notInShort, Setting{Replicas: 2, Keys: 2, Budget: true, Loads: 2, Refusals: 1, Faults: 1, Of: anyFault}},
	{"budget, in time", notInShort, Setting{Replicas: 2, Keys: 2, Budget: true, Prompt: true, Loads: 4}},
	{"budget, in time, stopped", notInShort, Setting{Replicas: 2, Keys: 2, Budget: true, Prompt: true, Loads: 3, Refusals: 1}},
	{"budget, in time, memory lost", always, Setting{Replicas: 2, Keys: 1, Budget: true, Prompt: true, Loads: 3, Faults: 1, Of: []Action{LoseMemory}}},
	{"budget, in time, two faults", notInShort, Setting{Replicas: 2, Keys: 2, Budget: true, Prompt: true, Loads: 2, Faults: 2, Of: noDelay}},
	{"cluster", notInShort, Setting{Replicas: 2, Keys: 1, Budget: true, Cluster: true, Loads: 2, Refusals: 1, Faults: 1, Of: inCluster}},
	{"cluster, lost messages", always, Setting{Replicas: 2, Keys: 2, Budget: true, Cluster: true, Prompt: true, Loads: 2, Faults: 1, Of: []Action{LosePosted}}},
	{"cluster, in time", always, Setting{Replicas: 2, Keys: 2, Budget: true, Cluster: true, Prompt: true, Loads: 2, Refusals: 1, Faults: 1, Of: noDelay}},

	{"two replicas, four loads", inSoak, Setting{Replicas: 2, Keys: 1, Loads: 4, Refusals: 1, Faults: 1, Of: anyFault}},
	{"two replicas, three faults", inSoak, Setting{Replicas: 2, Keys: 1, Loads: 3, Refusals: 1, Faults: 3, Of: anyFault}},
	{"three replicas, one fault", inSoak, Setting{Replicas: 3, Keys: 1, Loads: 3, Refusals: 1, Faults: 1, Of: anyFault}},
	{"three replicas, four loads", inSoak, Setting{Replicas: 3, Keys: 1, Loads: 4}},
	{"budget, three loads", inSoak, Setting{Replicas: 2, Keys: 2, Budget: true, Loads: 3, Refusals: 1, Faults: 1, Of: anyFault}},
	{"budget, in time, three loads", inSoak, Setting{Replicas: 2, Keys: 2, Budget: true, Prompt: true, Loads: 3, Refusals: 1, Faults: 1, Of: anyFault}},
	{"budget, in time, five loads", inSoak, Setting{Replicas: 2, Keys: 2, Budget: true, Prompt: true, Loads: 5, Refusals: 1}},
	{"cluster, three loads", inSoak, Setting{Replicas: 2, Keys: 1, Budget: true, Cluster: true, Loads: 3, Refusals: 1, Faults: 1, Of: inCluster}},
	{"cluster, two keys", inSoak, Setting{Replicas: 2, Keys: 2, Budget: true, Cluster: true, Loads: 2, Refusals: 1, Faults: 2, Of: inCluster}},
	{"cluster, in time, three loads", inSoak, Setting{Replicas: 2, Keys: 2, Budget: true, Cluster: true, Prompt: true, Loads: 3, Faults: 1, Of: noDelay}},
}

// TestAllRulesHold explores all settings, and finds in them all that the rules are about.
func TestAllRulesHold(t *testing.T) {
	seen, left := map[string]bool{}, 0
	for _, c := range cases {
		if c.size == inSoak && os.Getenv("SOAK") != "1" {
			continue
		}
		left++
		t.Run(c.name, func(t *testing.T) {
			if c.size == notInShort && testing.Short() {
				t.Skip("too many states for a short run")
			}
			left--
			r := Explore(c.setting)
			t.Log(r)
			if r.Broken != "" {
				t.Errorf("it does not hold that %s", r.Broken)
			}
			for _, line := range r.Trace {
				t.Log(line)
			}
			for name := range r.Seen {
				seen[name] = true
			}
		})
	}
	for _, g := range sights {
		if left == 0 && !seen[g.name] { // else not all have run
			t.Errorf("no state shows %s", g.name)
		}
	}
}

// TestSeededFaultsAreFound leaves out each line of the protocol, and has each rule broken.
func TestSeededFaultsAreFound(t *testing.T) {
	leftOut, broken := map[Line]bool{}, map[string]bool{}
	for _, f := range SeededFaults {
		leftOut[f.Without], broken[f.Rule] = true, true
		r := Explore(f.Seeded())
		if r.Broken != f.Rule {
			t.Errorf("%s: not found in %v", f.Name, r)
		}
		t.Logf("%s: found after %d steps, in %d states", f.Name, len(r.Trace), r.States)
	}
	if len(leftOut) != int(lines)-1 {
		t.Errorf("%d of %d lines were left out", len(leftOut), lines-1)
	}
	for _, r := range rules {
		if !broken[r.name] {
			t.Errorf("nothing breaks the rule that %s", r.name)
		}
	}
}

// TestWhereRulesEnd shows what the protocol does not promise: each of these rules has a
// condition without which it does not hold.
func TestWhereRulesEnd(t *testing.T) {
	for name, c := range map[string]struct {
		setting Setting
		rule    string
	}{
		// Turns keep their distance, and no request is made before its turn, but one that
		// is held up is made later, and so together with the next.
		"replicas are held up": {Setting{Replicas: 2, Keys: 2, Budget: true, Loads: 2}, ruleBudget},
	} {
		t.Run(name, func(t *testing.T) {
			c.setting.Rule = c.rule
			r := Explore(c.setting)
			if r.Broken != c.rule {
				t.Errorf("it holds: %v", r)
			}
			for _, line := range r.Trace {
				t.Log(line)
			}
		})
	}
}

// TestNamesMakeNoDifference goes many ways at random, in states as they are and in their
// canonical forms side by side: both allow the same steps, which lead to the same states.
func TestNamesMakeNoDifference(t *testing.T) {
	for _, s := range []Setting{
		{Replicas: 3, Keys: 1, Loads: 8, Refusals: 2, Faults: 3, Of: anyFault},
		{Replicas: 2, Keys: 2, Budget: true, Loads: 8, Refusals: 2, Faults: 3, Of: anyFault},
		{Replicas: 2, Keys: 2, Budget: true, Cluster: true, Loads: 8, Refusals: 2, Faults: 3, Of: inCluster},
	} {
		m := newMachine(s)
		random := rand.New(rand.NewPCG(1, 1))
		for range 300 {
			raw := m.start()
			walk, _, names := m.canonical(&raw)
			for range 100 {
				steps := m.steps(&walk, nil)
				if n := len(m.steps(&raw, nil)); n != len(steps) {
					t.Fatalf("%d steps instead of %d:\n%s\n%s", len(steps), n, m.describe(&walk), m.describe(&raw))
				}
				if len(steps) == 0 {
					break
				}
				st := steps[random.IntN(len(steps))]
				m.apply(&walk, st)
				st.loader = names[st.loader]
				m.apply(&raw, st)
				_, want, _ := m.canonical(&raw)
				next, hash, places := m.canonical(&walk)
				if hash != want {
					t.Fatalf("not the same:\n%s\n%s", m.describe(&walk), m.describe(&raw))
				}
				walk, names = next, reorder(names, places)
			}
		}
	}
}
