package config

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
	"time"

	"token-sidecar/proxy"
	"token-sidecar/upstream"
)

// providers returns the rows of the table, and the generic upstreams after them.
func (c *Config) providers() []namedProvider {
	all := c.known()
	for n := range c.OAuth2 {
		all = append(all, namedProvider{&c.OAuth2[n], c.OAuth2[n].Name, "oauth2", oauth2Section(n)})
	}
	return all
}

// Upstreams returns one upstream for each that is configured. They trust roots.
func (c *Config) Upstreams(roots *x509.CertPool) []upstream.Upstream {
	var all []upstream.Upstream
	for _, p := range c.providers() {
		if p.On() {
			all = append(all, p.upstream(roots))
		}
	}
	return all
}

// subjectRoutes returns the names of the routes that need a subject.
func (c *Config) subjectRoutes() []string {
	var names []string
	for _, u := range c.Upstreams(nil) {
		for _, route := range u.Routes() {
			if route.Subject == upstream.SubjectRequired {
				names = append(names, route.Name)
			}
		}
	}
	return names
}

// Budgets returns, by the names of those upstreams that are configured and have one, how
// many token requests per second all replicas may make together.
func (c *Config) Budgets() map[string]float64 {
	all := map[string]float64{}
	for _, p := range c.providers() {
		if budget := p.common().TokenBudget; p.On() && budget > 0 {
			all[p.name] = float64(budget)
		}
	}
	return all
}

// Allow returns, by the names of those upstreams that are configured and have one, the lists of
// requests that are let through.
func (c *Config) Allow() map[string]proxy.AllowList {
	all := map[string]proxy.AllowList{}
	for _, p := range c.providers() {
		if list := p.common().Allow; p.On() && !list.IsZero() {
			all[p.name] = list
		}
	}
	return all
}

// Dedicated returns the dedicated listeners by the names of their routes: LISTEN of a
// provider is that of its first route, X_LISTEN that of its route x.
func (c *Config) Dedicated() map[string]Listener {
	all := map[string]Listener{}
	for _, p := range c.providers() {
		for _, s := range c.listeners() {
			local, ok := strings.CutPrefix(s.name, p.section)
			if !ok {
				continue
			}
			route := p.name
			if further, ok := strings.CutSuffix(local, "_LISTEN"); ok {
				route += "." + strings.ToLower(further)
			}
			all[route] = s.listener()
		}
	}
	return all
}

// TokenEndpoint is what the settings of one upstream say that may explain why
// its token endpoint refuses. It is read-only.
type TokenEndpoint struct {
	Name     string        // of the upstream
	Family   string        // the name, of a generic upstream "oauth2"
	Section  string        // how its variables begin, such as SIDECAR_PDX_
	Timeout  time.Duration // of one token request
	URL      *url.URL      // its own, or that of the issuer whose metadata name it
	Where    string        // the variable of that URL
	Reserved bool          // form-encoding changes the client id or secret

	values map[string]string
}

// Setting returns the value of one of its settings in the form of the variable, by
// its name without Section: "" if there is none, [redacted] if it is a secret.
func (e *TokenEndpoint) Setting(name string) string { return e.values[name] }

// TokenEndpoints returns the token endpoint of each upstream by its name, those
// of providers that are not configured too.
func (c *Config) TokenEndpoints() map[string]*TokenEndpoint {
	all := map[string]*TokenEndpoint{}
	for _, p := range c.providers() {
		e := &TokenEndpoint{Name: p.name, Family: p.family, Section: p.section, Timeout: c.TokenTimeout, values: map[string]string{}}
		for _, s := range c.settings() {
			if s.section != p.section {
				continue
			}
			name := strings.TrimPrefix(s.name, p.section)
			text := ""
			if !s.value.IsZero() {
				text = fmt.Sprint(s.value.Interface())
			}
			e.values[name] = text
			switch name {
			case "TOKEN_URL", "ISSUER":
				if u := s.value.Interface().(*url.URL); u != nil {
					e.URL, e.Where = u, s.name
				}
			case "CLIENT_SECRET":
				text = s.secret().Reveal()
				fallthrough
			case "CLIENT_ID":
				e.Reserved = e.Reserved || url.QueryEscape(text) != text
			}
		}
		all[p.name] = e
	}
	return all
}
