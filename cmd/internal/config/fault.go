package config

import (
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing wrong with the configuration. It quotes no part of any value, since
// people put credentials into the wrong variables: it names the item of a list by its number.
type Fault struct {
	Variable string // full name, such as SIDECAR_LISTEN
	Problem  string // what is wrong
	Mend     string // what to do about it
	MayPass  bool   // a file or directory cannot be used, which may be otherwise at another start
}

// Error returns the fault as one line.
func (f Fault) Error() string { return f.Variable + ": " + f.Problem + "; " + f.Mend }

// Error holds every fault of a configuration, at least one.
type Error struct{ Faults []Fault }

// Error returns one fault per line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Faults))
	for i, fault := range e.Faults {
		lines[i] = fault.Error()
	}
	return strings.Join(lines, "\n")
}

// MayPass reports whether the same settings may be right at another start, because nothing is wrong
// but that files or directories cannot be used: others may put them there later.
func (e *Error) MayPass() bool {
	return !slices.ContainsFunc(e.Faults, func(f Fault) bool { return !f.MayPass })
}

// flaw is what a check finds wrong with a value, without the variable's name.
type flaw struct {
	problem, mend string
	mayPass       bool
}

// flawf returns a flaw whose problem is formatted; mend is taken as it is.
func flawf(mend, problem string, args ...any) *flaw {
	return &flaw{problem: fmt.Sprintf(problem, args...), mend: mend}
}

// faults gathers what is wrong while the configuration is read, and which variables were
// given, on which some faults depend.
type faults struct {
	list   []Fault
	faulty map[string]bool   // variables with a fault, both with and without _FILE, of which callers say no more
	given  map[string]origin // by variable, of those that were set
}

// fault adds what is wrong with a variable, which may end in _FILE.
func (f *faults) fault(variable string, w *flaw) {
	f.list = append(f.list, Fault{variable, w.problem, w.mend, w.mayPass})
	f.faulty[strings.TrimSuffix(variable, "_FILE")] = true
	f.faulty[variable] = true
}

// missing faults a setting that is not there, unless it is and has a fault of its own.
func (f *faults) missing(variable, problem string) {
	if !f.faulty[variable] {
		f.fault(variable, flawf("set it", "%s", problem))
	}
}

// origin says where the value of a setting came from; empty: it is the default.
type origin string

const (
	fromVariable origin = "variable"
	fromFile     origin = "file"
)

// errFlaw returns a rule that a text is read without an error, which quotes nothing.
func errFlaw(mend string, read func(string) error) func(string) *flaw {
	return func(s string) *flaw {
		if err := read(s); err != nil {
			return flawf(mend, "cannot be used: %s", err)
		}
		return nil
	}
}
