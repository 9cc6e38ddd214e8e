package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// collect takes the program's variables out of environ.
func (l *loader) collect(environ []string) {
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || !strings.HasPrefix(strings.ToUpper(name), prefix) || fromKubernetes(name, value) {
			continue
		}
		if first, ok := l.vars[name]; ok && first != value && !l.faulty[name] {
			l.fault(printable(name), flawf("remove one of them", "is set twice with different values"))
			continue
		}
		l.vars[name] = value
	}
}

// serviceVariable matches what Kubernetes injects into pods for a Service
// whose name starts with "sidecar".
var serviceVariable = regexp.MustCompile(
	`^SIDECAR_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// fromKubernetes reports whether a Service explains the variable. A bare
// …_PORT must also have the value of one, so that SIDECAR_ADMIN_PORT=9090 is
// still an unknown setting.
func fromKubernetes(name, value string) bool {
	if !serviceVariable.MatchString(name) {
		return false
	}
	scheme, _, ok := strings.Cut(value, "://")
	return !strings.HasSuffix(name, "_PORT") || strings.Contains(name, "_PORT_") ||
		strings.HasSuffix(name, "SERVICE_PORT") || ok && slices.Contains([]string{"tcp", "udp", "sctp"}, scheme)
}

var nameStart = regexp.MustCompile(`^[A-Za-z0-9_]+`)

// printable shows a variable's name that is not one of ours: only its start in
// the form of a name, since a line such as NAME:secret== has its secret there.
func printable(name string) string {
	start := nameStart.FindString(name)
	if start = start[:min(len(start), 64)]; start != name {
		return start + "..."
	}
	return name
}

// Nearest returns the known name closest to name, "" if none is close.
func Nearest(name string, known []string) string {
	best, bestDistance := "", max(3, len(name)/3)+1
	for _, candidate := range known {
		if d := levenshtein(name, candidate); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// levenshtein returns the edit distance of a and b: how many bytes must be put in,
// taken out or replaced to make one of the other.
func levenshtein(a, b string) int {
	row := make([]int, len(b)+1) // distances of the part of a so far to each start of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, replaced)
		}
	}
	return row[len(b)]
}

var oauth2Variable = regexp.MustCompile(`^SIDECAR_OAUTH2_(0|[1-9][0-9]{0,8})_`)

// countOAuth2 returns how many numbers of SIDECAR_OAUTH2_<n>_ are in use from
// 0 on. Behind a gap there is no telling what is meant: the gap is a fault, and the
// variables behind it are forgotten.
func (l *loader) countOAuth2() int {
	used := map[int][]string{}
	for name := range l.vars {
		if m := oauth2Variable.FindStringSubmatch(name); m != nil {
			n, _ := strconv.Atoi(m[1]) // nine digits at most
			used[n] = append(used[n], name)
		}
	}
	count := 0
	for used[count] != nil {
		delete(used, count)
		count++
	}
	if len(used) > 0 {
		l.fault(oauth2Section(count)+"NAME", flawf("number them from 0 without a gap",
			"is not set, but settings with a higher number are"))
	}
	for _, names := range used {
		for _, name := range names {
			delete(l.vars, name)
		}
	}
	return count
}
