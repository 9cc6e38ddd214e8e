package config

import (
	"slices"
	"strings"

	"token-sidecar/cache/shared"
)

// Parse reads the configuration from environ, which is in the form of os.Environ, and
// from the files that it names. It does not read the environment of the process. If the
// configuration cannot be used, the error is a *Error that holds every fault there is.
// An empty value is a fault: an unset variable that some template filled in must not
// switch off a default or a guard. The driver makes the clients of Redis, and says what URLs
// it takes; it may be nil for settings without Redis.
func Parse(environ []string, driver shared.Driver) (*Config, error) {
	l := newLoader(environ)
	c := &Config{OAuth2: make([]OAuth2, l.countOAuth2()), Redis: Redis{driver: driver}}
	all := c.settings()
	l.dropUnknown(all)
	for _, s := range all {
		l.read(s)
	}
	for i, host := range c.AllowedHosts {
		c.AllowedHosts[i] = strings.ToLower(host)
	}
	if slices.Equal(c.ReplayMethods, []string{"none"}) {
		c.ReplayMethods = nil
	}
	l.check(c)
	if len(l.list) > 0 {
		return nil, &Error{l.list}
	}
	c.given, c.files, c.ignored = l.given, l.files, proxyVariables(environ)
	c.share()
	return c, nil
}

// loader is the state of one Parse.
type loader struct {
	faults
	vars  map[string]string // the program's variables, as they are in the environment
	files []*secretFile     // that settings were read from
}

// AuditKeyOf reads SIDECAR_AUDIT_KEY alone, or the file that it names. The error is a *Error.
func AuditKeyOf(environ []string) (string, error) {
	l := newLoader(environ)
	c := l.only(prefix + "AUDIT_KEY")
	if l.given[prefix+"AUDIT_KEY"] == "" {
		l.missing(prefix+"AUDIT_KEY", "is not set")
	}
	if len(l.list) > 0 {
		return "", &Error{l.list}
	}
	return c.AuditKey.Reveal(), nil
}

// AdminListenOf reads SIDECAR_ADMIN_LISTEN alone: what else has become faulty since the start is no
// matter for who asks the running sidecar. The error is a *Error.
func AdminListenOf(environ []string) (Listener, error) {
	l := newLoader(environ)
	c := l.only(prefix + "ADMIN_LISTEN")
	if l.faulty[prefix+"ADMIN_LISTEN"] {
		return Listener{}, &Error{l.list}
	}
	return c.AdminListen, nil
}

// only reads one setting.
func (l *loader) only(name string) *Config {
	c := &Config{}
	for _, s := range c.settings() {
		if s.name == name {
			l.read(s)
		}
	}
	return c
}

// newLoader returns one for the program's variables in environ.
func newLoader(environ []string) *loader {
	l := &loader{vars: map[string]string{}, faults: faults{faulty: map[string]bool{}, given: map[string]origin{}}}
	l.collect(environ)
	return l
}

// dropUnknown faults variables that are no settings, and forgets them.
func (l *loader) dropUnknown(all []setting) {
	var names []string
	for _, s := range all {
		names = append(names, s.name)
		if s.tag("file") != "" {
			names = append(names, s.name+"_FILE")
		}
	}
	for _, name := range sortedKeys(l.vars) {
		if slices.Contains(names, name) {
			continue
		}
		mend := "remove it; --help all lists what there is"
		if best := Nearest(strings.ToUpper(nameStart.FindString(name)), names); best != "" {
			mend = "did you mean " + best + "? --help all lists what there is"
		}
		l.fault(printable(name), flawf(mend, "is not a setting"))
		delete(l.vars, name)
	}
}

// read gives a setting its value: that of the variable, of the file that X_FILE names,
// or the default. A setting with a fault keeps its zero value, and nothing more is
// said of it.
func (l *loader) read(s setting) {
	variable := s.name
	text, given := l.vars[s.name]
	path, inFile := l.vars[s.name+"_FILE"]
	var flaw *flaw
	switch {
	case !given && !inFile:
		if text = l.defaultOf(s); text == "" {
			return
		}
	case given && inFile:
		l.given[s.name] = fromFile
		l.fault(s.name+"_FILE", flawf("remove one of them", "is set and %s too", s.name))
		return
	case inFile:
		l.given[s.name] = fromFile
		variable += "_FILE"
		if text, flaw = readSecretFile(path); flaw == nil {
			text, flaw = checkText(s.tag("check"), text)
		}
	default:
		l.given[s.name] = fromVariable
		// Kubernetes puts a file that ends in a line break into a variable as it is.
		text, flaw = checkText(s.tag("check"), strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r"))
	}
	if flaw == nil {
		flaw = s.set(text)
	}
	switch {
	case flaw != nil:
		l.fault(variable, flaw)
	case inFile:
		l.files = append(l.files, newSecretFile(s, path, text))
	}
}

// defaultOf returns the default of a setting, which may go by the value of another.
func (l *loader) defaultOf(s setting) string {
	if name, value, ok := strings.Cut(s.tag("when"), "="); ok && l.vars[s.section+name] == value {
		return s.tag("then")
	}
	return s.tag("envDefault")
}
