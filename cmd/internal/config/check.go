package config

import (
	"net/url"
	"slices"
	"strings"

	"token-sidecar/upstream"
)

// check finds what is wrong with values that are right by themselves: with those of
// one section first, then with those of all sections together.
func (l *loader) check(c *Config) {
	all := c.settings()
	l.checkMeaning(all)
	l.checkPairs(all)
	l.checkSection(redisSection, all)
	for _, p := range c.known() {
		l.checkSection(p.section, all)
	}
	c.Redis.finish(&l.faults)
	l.checkBudgets(all)
	l.checkUpstreams(c)
	l.checkListeners(c)
	l.checkTLS(c)
	l.checkURLs(c, all)
	l.checkVend(c)
	l.checkAllow(c)
	l.checkPublished(c)
}

// checkMeaning applies the tag only.
func (l *loader) checkMeaning(all []setting) {
	for _, s := range all {
		name, value, ok := strings.Cut(s.tag("only"), "=")
		if !ok || l.given[s.name] == "" || l.faulty[s.name] {
			continue
		}
		for _, other := range all {
			if other.name == s.section+name && !l.faulty[other.name] && other.value.String() != value {
				l.fault(s.name, flawf("remove it", "has no meaning unless %s is %s", other.name, value))
			}
		}
	}
}

// checkPairs applies the tag with.
func (l *loader) checkPairs(all []setting) {
	for _, s := range all {
		other := s.section + s.tag("with")
		if other != s.section && l.given[s.name] != "" && l.given[other] == "" {
			l.missing(other, "is not set, but "+s.name+" is")
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
			if l.given[s.name] != "" {
				others = append(others, s.name)
			}
		case l.given[s.name] != "":
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
		if _, ok := s.value.Interface().(Rate); ok && l.given[s.name] != "" {
			given = append(given, s.name)
		}
	}
	const url = redisSection + "URL"
	if len(given) == 0 || l.given[url] != "" || l.faulty[url] {
		return
	}
	names := strings.Join(given, " and ")
	l.fault(url, flawf("set it and "+redisSection+"KEYS, or remove "+names+" and limit each replica by "+prefix+"TOKEN_RATE",
		"is not set, but %s is, and replicas share a budget through Redis only", names))
}

// checkUpstreams checks what the settings of each upstream say together, that no two
// have one name, and that there is an upstream at all.
func (l *loader) checkUpstreams(c *Config) {
	first := map[string]string{} // section by name
	for _, p := range c.providers() {
		p.finish(&l.faults, p.section)
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
	begun := len(c.OAuth2) > 0 || l.faulty[oauth2Section(0)+"NAME"]
	for name := range l.given {
		for _, p := range c.known() {
			begun = begun || strings.HasPrefix(name, p.section)
		}
	}
	if begun {
		return
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

// checkURLs checks targets and token endpoints against the rest: encryption,
// and requests that would come back to the sidecar.
func (l *loader) checkURLs(c *Config, all []setting) {
	listeners := c.listeners()
	for _, s := range all {
		switch v := s.value.Interface().(type) {
		case *url.URL:
			if v != nil {
				l.checkURL(c, s.name, v, listeners)
			}
		case Targets:
			for _, target := range v.List() {
				l.checkURL(c, s.name, target.URL, listeners)
			}
		}
	}
}

// checkURL checks one URL of the setting name: http:// is for loopback only, unless
// INSECURE_HTTP says otherwise or the URL is that of the egress proxy, and no URL leads to a
// listener of the sidecar's own.
func (l *loader) checkURL(c *Config, name string, u *url.URL, listeners []setting) {
	if l.faulty[name] {
		return
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	remote := hostPortOf(u.Hostname(), port)
	if u.Scheme == "http" && !remote.loopback() && !c.InsecureHTTP && u != c.EgressProxy {
		l.fault(name, flawf("use https://, or set SIDECAR_INSECURE_HTTP=true to send credentials and tokens in clear",
			"is http:// to a host that is not loopback"))
	}
	for _, s := range listeners {
		if listener := s.listener(); listener.Network == "tcp" && remote.reaches(listener.hostPort()) {
			l.fault(name, flawf("name the remote side", "leads back to the sidecar's own %s", s.name))
		}
	}
}

// checkPublished makes sure that whoever fetches the JWK Set can tell its keys apart.
func (l *loader) checkPublished(c *Config) {
	if c.JWKSListen.IsZero() {
		return
	}
	const mend = "set it to the word thumbprint, or give the key as a JWK with a kid"
	named := map[string]upstream.SigningKey{}
	signers, unnamed := 0, ""
	for n := range c.OAuth2 {
		u, variable := &c.OAuth2[n], oauth2Section(n)+"KEY_ID"
		if !u.PrivateKey.IsSet() {
			continue
		}
		signers++
		key, err := upstream.NewSigningKey(u.PrivateKey.Reveal(), u.Alg, u.KeyID)
		if err != nil || l.faulty[variable] {
			continue
		}
		other, taken := named[key.ID()]
		switch {
		case key.ID() == "":
			unnamed = variable // its provider may have it by other means
			continue
		case taken && !key.Same(other):
			l.fault(variable, flawf(mend, "is that of another key, and %s publishes both", jwksListen))
		}
		named[key.ID()] = key
	}
	if len(named) == 0 && unnamed != "" {
		l.fault(unnamed, flawf(mend, "is not set, but %s publishes the key", jwksListen))
	}
	if signers == 0 {
		l.fault(jwksListen, flawf("remove it, or set the PRIVATE_KEY of a generic upstream", "is set, but there is no key to publish"))
	}
}

// checkAllow makes sure that each pattern of an allow list can match a request: the most usual
// mistake is to leave out the path of the target.
func (l *loader) checkAllow(c *Config) {
	lists := c.Allow()
	for _, p := range c.providers() {
		list, ok := lists[p.name]
		if !ok || l.faulty[p.section+"TARGET"] || l.faulty[p.section+"TARGETS"] {
			continue
		}
		var targets []*url.URL
		for _, r := range p.upstream(nil).Routes() {
			targets = append(targets, r.Target)
		}
		if i := list.Unreachable(targets); i > 0 {
			l.fault(p.section+"ALLOW", flawf("write paths as the target gets them, with the path of "+p.section+"TARGET before those of requests",
				"has in item %d a pattern that matches nothing below the target", i))
		}
	}
}

// checkVend makes sure that only tokens of a subject are ever handed out.
func (l *loader) checkVend(c *Config) {
	routes := c.subjectRoutes()
	mend := "remove it"
	if len(routes) > 0 {
		mend = "choose among " + strings.Join(routes, ",")
	}
	for i, route := range c.Vend {
		if !slices.Contains(routes, route) {
			l.fault(prefix+"VEND", flawf(mend, "holds no configured route with a subject in item %d", i+1))
			continue
		}
		name, _, _ := strings.Cut(route, ".")
		if _, ok := c.Allow()[name]; ok {
			l.fault(prefix+"VEND", flawf("remove it, or the ALLOW of "+name, "holds in item %d a route with an allow list, which a token that was handed on would get around", i+1))
		}
	}
}
