package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// check finds what is wrong with values that could be read: first each alone,
// then each section, then all together.
func (l *loader) check(c *Config) {
	all := c.settings()
	for _, s := range all {
		if !l.faulty[s.name] {
			l.checkRange(s)
			l.checkChoice(s, all)
		}
	}
	l.checkSection(redisSection, all)
	for _, p := range c.known() {
		l.checkSection(p.section, all)
	}
	l.checkRedis(&c.Redis)
	l.checkBudgets(all)
	l.checkUpstreams(c)
	l.checkListeners(c)
	l.checkURLs(c, all)
	l.checkVend(c)
}

// checkRange applies the tags above, min and max. A setting without a default that was
// not given is not there to be judged.
func (l *loader) checkRange(s setting) {
	above, least, most := s.tag("above"), s.tag("min"), s.tag("max")
	if most == "" || s.tag("envDefault") == "" && l.origin[s.name] == "" {
		return
	}
	value := magnitude(s.value)
	if above != "" && value <= bound(s, above) {
		l.fault(s.name, flawf(fmt.Sprintf("choose a value up to %s", most), "is not above %s", above))
	}
	if least != "" && value < bound(s, least) {
		l.fault(s.name, flawf(fmt.Sprintf("choose a value from %s to %s", least, most), "is less than %s", least))
	}
	if value > bound(s, most) {
		l.fault(s.name, flawf(fmt.Sprintf("choose a value up to %s", most), "is more than %s", most))
	}
}

func magnitude(v reflect.Value) float64 {
	if v.CanInt() {
		return float64(v.Int())
	}
	return v.Float()
}

// bound reads a limit in the form of the setting itself.
func bound(s setting, text string) float64 {
	switch s.value.Interface().(type) {
	case time.Duration:
		d, _ := parseDuration(text)
		return float64(d)
	case ByteSize:
		b, _ := parseByteSize(text)
		return float64(b)
	case Rate:
		r, _ := parseRate(text)
		return float64(r)
	}
	f, _ := parseFloat(text)
	return f
}

// checkChoice applies the tags oneof and only.
func (l *loader) checkChoice(s setting, all []setting) {
	if choices := s.tag("oneof"); choices != "" && !slices.Contains(strings.Split(choices, ","), s.value.String()) {
		l.fault(s.name, flawf("choose one of "+choices, "is not a value this setting takes"))
	}
	name, value, ok := strings.Cut(s.tag("only"), "=")
	if !ok || l.origin[s.name] == "" {
		return
	}
	for _, other := range all {
		if other.name == s.section+name && !l.faulty[other.name] && other.value.String() != value {
			l.fault(s.name, flawf("remove it", "has no meaning unless %s is %s", other.name, value))
		}
	}
}

// checkSection applies the tag needed: a section is on with all of those
// settings, off with none of its settings, and at fault in between.
func (l *loader) checkSection(section string, all []setting) {
	var given, missing, others []string
	for _, s := range all {
		switch {
		case s.section != section:
		case s.tag("needed") == "":
			if l.origin[s.name] != "" {
				others = append(others, s.name)
			}
		case l.origin[s.name] != "":
			given = append(given, s.name)
		default:
			missing = append(missing, s.name)
		}
	}
	for _, name := range missing {
		if len(given) > 0 {
			l.fault(name, flawf("set it, or remove the other", "is not set, but %s is", strings.Join(given, " and ")))
		}
	}
	for _, name := range others {
		if len(given) == 0 {
			l.fault(name, flawf("set "+strings.Join(missing, " and ")+" too, or remove it", "is set for something that is off"))
		}
	}
}

// checkBudgets makes sure that there is a Redis to keep the budgets of token requests.
func (l *loader) checkBudgets(all []setting) {
	var given []string
	for _, s := range all {
		if _, ok := s.value.Interface().(Rate); ok && l.origin[s.name] != "" {
			given = append(given, s.name)
		}
	}
	const url = redisSection + "URL"
	if len(given) == 0 || l.origin[url] != "" || l.faulty[url] {
		return
	}
	names := strings.Join(given, " and ")
	l.fault(url, flawf("set it and "+redisSection+"KEYS, or remove "+names+" and limit each replica by "+prefix+"TOKEN_RATE",
		"is not set, but %s is, and replicas share a budget through Redis only", names))
}

// checkUpstreams checks what the settings of one upstream say together, and
// that there is an upstream at all.
func (l *loader) checkUpstreams(c *Config) {
	first := map[string]string{} // section by name
	for _, p := range c.providers() {
		p.check(l, p.section)
		if section, ok := first[p.name]; ok && p.name != "" {
			l.fault(p.section+"NAME", flawf("choose another", "is the name of %sNAME too", section))
		}
		first[p.name] = p.section
	}
	l.checkSome(c)
}

// checkSome makes sure that there is an upstream. It says nothing if one was
// begun: its own faults say more.
func (l *loader) checkSome(c *Config) {
	if len(c.OAuth2) > 0 || l.faulty[oauth2Section(0)+"NAME"] {
		return
	}
	for name := range l.origin {
		begun := strings.HasPrefix(name, prefix+"OAUTH2_")
		for _, p := range c.known() {
			begun = begun || strings.HasPrefix(name, p.section)
		}
		if begun {
			return
		}
	}
	var credentials []string
	for _, s := range c.settings() {
		if s.tag("needed") != "" && s.section != redisSection {
			credentials = append(credentials, s.name)
		}
	}
	l.fault(credentials[0], flawf("set the credential of at least one: "+strings.Join(credentials, ", ")+" or "+oauth2Section(0)+"NAME",
		"is not set, nor is any other upstream's credential"))
}

// checkVend makes sure that only tokens of a subject are ever handed out.
func (l *loader) checkVend(c *Config) {
	var routes []string
	for _, p := range c.providers() {
		if p.On() {
			routes = append(routes, p.subjectRoutes()...)
		}
	}
	mend := "remove it"
	if len(routes) > 0 {
		mend = "choose among " + strings.Join(routes, ",")
	}
	for _, route := range c.Vend {
		if !slices.Contains(routes, route) {
			l.fault(prefix+"VEND", flawf(mend, "holds %s, which is no configured route with a subject", quote(route)))
		}
	}
}
