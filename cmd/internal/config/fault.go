package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Fault is one thing wrong with the configuration. It never holds a secret,
// nor any part of a URL.
type Fault struct {
	Variable string // full name, such as SIDECAR_LISTEN
	Problem  string // what is wrong
	Mend     string // what to do about it
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

// flaw is what a check finds wrong with a value, without the variable's name.
type flaw struct{ problem, mend string }

func flawf(mend, problem string, args ...any) *flaw {
	return &flaw{problem: fmt.Sprintf(problem, args...), mend: mend}
}

// miss faults a setting that is not there, unless it is and has a fault of its own.
func (l *loader) miss(variable, problem string) {
	if !l.faulty[variable] {
		l.fault(variable, flawf("set it", "%s", problem))
	}
}

// quote shows a part of a setting that is not a secret: short, and with
// control characters escaped, since it ends up on terminals.
func quote(s string) string {
	const limit = 40
	if len(s) > limit {
		return strconv.QuoteToASCII(s[:limit]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// nearest returns the known name closest to name, "" if none is close.
func nearest(name string, known []string) string {
	best, bestDistance := "", max(3, len(name)/3)+1
	for _, candidate := range known {
		if d := levenshtein(name, candidate, bestDistance); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// levenshtein returns the edit distance of a and b, or limit if it is at
// least that.
func levenshtein(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return min(row[len(b)], limit)
}
