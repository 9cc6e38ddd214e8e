package model

import "fmt"

// Result is what came of an exploration.
type Result struct {
	States  int // that were reached; those that differ in names alone count once
	Steps   int // that were made from them
	Depth   int // the most steps that the shortest way to a state takes
	Longest int // the most steps until all loads have ended, if nothing more goes wrong
	Seen    map[string]bool
	// Broken is the rule that does not hold, and Trace the steps of a shortest way to that.
	// Broken is empty if all rules hold.
	Broken string
	Trace  []string
}

func (r Result) String() string {
	return fmt.Sprintf("%d states, %d steps, depth %d, all loads end within %d steps", r.States, r.Steps, r.Depth, r.Longest)
}

// node is a state that was reached, as the step by which it was reached first and the
// number of the node before.
type node struct {
	before int32
	step   step
}

// exploration goes through the states layer by layer. It keeps whole states of two layers
// only. Of all others it keeps the hashes, of 64 bits: that two states have the same one by
// mistake would hide one of them, and comes up once in a million explorations or so.
type exploration struct {
	*machine
	nodes   []node
	seen    map[uint64]struct{}
	ends    map[uint64]int32 // see fair.go
	sighted []bool           // which of the sights
	result  Result
}

// Explore goes through all states that can be reached in a setting, those first that take
// the fewest steps. It stops at the first rule that does not hold.
func Explore(s Setting) Result {
	x := &exploration{machine: newMachine(s), seen: map[uint64]struct{}{}, ends: map[uint64]int32{}, sighted: make([]bool, len(sights))}
	x.result.Seen = map[string]bool{}
	start := x.start()
	first, hash, _ := x.canonical(&start)
	x.nodes, x.seen[hash] = []node{{before: -1}}, struct{}{}
	number := int32(0)
	for layer := []state{first}; len(layer) > 0 && x.result.Broken == ""; {
		var next []state
		for i := range layer {
			if next = x.expand(&layer[i], number, next); x.result.Broken != "" {
				break
			}
			number++
		}
		if layer = next; len(next) > 0 {
			x.result.Depth++
		}
	}
	x.result.States = len(x.nodes)
	return x.result
}

// expand makes all steps from s, whose node has the number given, and appends to next the
// states that are new.
func (x *exploration) expand(s *state, number int32, next []state) []state {
	var buf [64]step
	for _, st := range x.steps(s, buf[:0]) {
		x.result.Steps++
		after := *s
		x.apply(&after, st)
		if broken := x.judge(s, st, &after); broken != "" {
			x.breaks(broken, number, st)
			return nil
		}
		same, hash, _ := x.canonical(&after)
		if _, ok := x.seen[hash]; ok {
			continue
		}
		x.seen[hash] = struct{}{}
		x.nodes = append(x.nodes, node{number, st})
		next = append(next, same)
		if x.Rule != "" && x.Rule != ruleEveryLoadEnds {
			continue
		}
		steps, ok := x.allEnd(same)
		if !ok {
			x.breaks(ruleEveryLoadEnds, number, st)
			return nil
		}
		x.result.Longest = max(x.result.Longest, steps)
	}
	return next
}

// judge returns the rule that a step has broken, if any, and notes what it has shown.
func (x *exploration) judge(s *state, st step, after *state) string {
	for i := range rules {
		if r := &rules[i]; (x.Rule == "" || x.Rule == r.name) && r.broken(x.machine, s, st, after) {
			return r.name
		}
	}
	for i := range sights {
		if g := &sights[i]; !x.sighted[i] && g.seen(x.machine, s, st, after) {
			x.sighted[i] = true
			x.result.Seen[g.name] = true
		}
	}
	return ""
}
