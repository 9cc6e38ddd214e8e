package config

import (
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// origin says where a setting came from.
type origin string

const (
	fromVariable origin = "variable"
	fromFile     origin = "file"
)

// Parse reads the configuration from environ, in the form of os.Environ,
// and from the files it names. Of the process's own environment it reads
// nothing. A *Error with every fault there is comes back if the
// configuration cannot be used. An empty value is a fault: an unset variable
// that some template filled in must not switch a default or a guard.
func Parse(environ []string) (*Config, error) {
	l := &loader{vars: map[string]string{}, faulty: map[string]bool{}}
	l.collect(environ)
	c := &Config{OAuth2: make([]OAuth2, l.countOAuth2())}
	l.origin = l.known(c)
	l.readFiles(c)
	l.vet(c)
	if err := l.parse(c); err != nil {
		return nil, err
	}
	c.fillDefaults()
	l.check(c)
	if len(l.faults) > 0 {
		return nil, &Error{l.faults}
	}
	c.origin, c.files = l.origin, l.secretFiles(c)
	return c, nil
}

// loader gathers faults while the configuration is read.
type loader struct {
	vars   map[string]string // what env parses: known variables, files read
	files  map[string]string // path by variable (without _FILE)
	origin map[string]origin // by variable, of those that were given
	faults []Fault
	faulty map[string]bool // variables with a fault, without _FILE: nothing more is said of them
}

func (l *loader) fault(variable string, f *flaw) {
	l.faults = append(l.faults, Fault{variable, f.problem, f.mend})
	l.faulty[strings.TrimSuffix(variable, "_FILE")] = true
	l.faulty[variable] = true
}

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

var nameStart = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}`)

// printable shows a variable's name that is not one of ours: only its start in
// the form of a name, since a line such as NAME:secret== has its secret there.
func printable(name string) string {
	if start := nameStart.FindString(name); start != name {
		return start + "..."
	}
	return name
}

// oauth2Section is how the variables of a generic upstream begin.
func oauth2Section(n int) string { return fmt.Sprintf("%sOAUTH2_%d_", prefix, n) }

var oauth2Variable = regexp.MustCompile(`^SIDECAR_OAUTH2_(0|[1-9][0-9]{0,8})_`)

// countOAuth2 returns how many numbers of SIDECAR_OAUTH2_<n>_ are in use from
// 0 on. Later ones are faults: env would silently stop at the gap.
func (l *loader) countOAuth2() int {
	used := map[int]bool{}
	for name := range l.vars {
		if m := oauth2Variable.FindStringSubmatch(name); m != nil {
			n, _ := strconv.Atoi(m[1]) // nine digits at most
			used[n] = true
		}
	}
	count := 0
	for used[count] {
		count++
	}
	if count < len(used) {
		l.fault(oauth2Section(count)+"NAME", flawf("number them from 0 without a gap",
			"is not set, but settings with a higher number are"))
		for name := range l.vars {
			if m := oauth2Variable.FindStringSubmatch(name); m != nil && !withinCount(m[1], count) {
				delete(l.vars, name)
			}
		}
	}
	return count
}

func withinCount(digits string, count int) bool {
	n, err := strconv.Atoi(digits)
	return err == nil && n < count
}

// known reports and drops unknown variables and returns where each setting
// that was given comes from.
func (l *loader) known(c *Config) map[string]origin {
	origins, names := map[string]origin{}, []string{}
	for _, s := range c.settings() {
		names = append(names, s.name)
		if _, ok := l.vars[s.name]; ok {
			origins[s.name] = fromVariable
		}
		if !s.hasFile() {
			continue
		}
		names = append(names, s.name+"_FILE")
		if _, ok := l.vars[s.name+"_FILE"]; ok {
			origins[s.name] = fromFile
		}
	}
	for _, name := range sortedKeys(l.vars) {
		if slices.Contains(names, name) {
			continue
		}
		mend := "remove it; --help lists what there is"
		if best := nearest(strings.ToUpper(nameStart.FindString(name)), names); best != "" {
			mend = "did you mean " + best + "? --help lists what there is"
		}
		l.fault(printable(name), flawf(mend, "is not a setting"))
		delete(l.vars, name)
	}
	return origins
}

// readFiles puts what X_FILE names in the place of X.
func (l *loader) readFiles(c *Config) {
	l.files = map[string]string{}
	for _, s := range c.settings() {
		if l.origin[s.name] != fromFile {
			continue
		}
		name := s.name + "_FILE"
		path := l.vars[name]
		delete(l.vars, name)
		if _, both := l.vars[s.name]; both {
			l.fault(name, flawf("remove one of them", "is set and %s too", s.name))
			continue
		}
		value, flaw := readSecretFile(path)
		if flaw != nil {
			l.fault(name, flaw)
			continue
		}
		l.vars[s.name], l.files[s.name] = value, path
	}
}

// vet checks the text of every setting that was given, and drops what is
// faulty so that nothing further is said of it.
func (l *loader) vet(c *Config) {
	for _, s := range c.settings() {
		value, ok := l.vars[s.name]
		if !ok {
			continue
		}
		value, flaw := vetValue(s.tag("check"), value)
		if flaw != nil {
			variable := s.name
			if l.origin[s.name] == fromFile {
				variable += "_FILE"
			}
			l.fault(variable, flaw)
			delete(l.vars, s.name)
			continue
		}
		l.vars[s.name] = value
	}
}

// parse has env fill c. The parsers report faults to l and never to env: env
// does not name the variable, may quote its value, and leaves a slice of
// structs at its first error. What env itself returns is a mistake in the tags.
func (l *loader) parse(c *Config) error {
	var current string
	report := func(f *flaw) { l.fault(current, f) }
	err := env.ParseWithOptions(c, env.Options{
		Environment: l.vars, // never nil, or env would read the process's own
		Prefix:      prefix,
		OnSet:       func(name string, _ any, _ bool) { current = name },
		FuncMap: map[reflect.Type]env.ParserFunc{
			reflect.TypeFor[bool]():          parser(parseBool, report),
			reflect.TypeFor[int]():           parser(parseInt, report),
			reflect.TypeFor[float64]():       parser(parseFloat, report),
			reflect.TypeFor[time.Duration](): parser(parseDuration, report),
			reflect.TypeFor[ByteSize]():      parser(parseByteSize, report),
			reflect.TypeFor[Rate]():          parser(parseRate, report),
			reflect.TypeFor[url.URL]():       parser(parseURL, report),
			reflect.TypeFor[Listener]():      parser(parseListener, report),
			reflect.TypeFor[Targets]():       parser(parseTargets, report),
			reflect.TypeFor[[]string]():      parser(parseList, report),
		},
	})
	if err != nil {
		return fmt.Errorf("reading the settings' tags: %w", err)
	}
	return nil
}

func parser[T any](parse func(string) (T, *flaw), report func(*flaw)) env.ParserFunc {
	return func(text string) (any, error) {
		value, flaw := parse(text)
		if flaw != nil {
			report(flaw)
		}
		return value, nil
	}
}
