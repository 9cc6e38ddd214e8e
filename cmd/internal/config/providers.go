package config

import (
	"crypto/x509"
	"net/url"
	"reflect"
	"strings"
	"time"

	"token-sidecar/upstream"
)

// Providers is the table of the providers that the program knows by name, one
// row each. A further one is a row here and a file like pdx.go. envPrefix begins
// the names of its settings; in lower case it is the name of its upstream, and
// of that upstream's first route.
type Providers struct {
	MyDataHelps MyDataHelps `envPrefix:"MYDATAHELPS_" group:"MyDataHelps"`
	PDX         PDX         `envPrefix:"PDX_" group:"Mydex PDX"`
	OCLC        OCLC        `envPrefix:"OCLC_" group:"OCLC"`
	HumanAPI    HumanAPI    `envPrefix:"HUMANAPI_" group:"Human API"`
}

// provider is the settings of one upstream: a row of Providers, or an element of
// Config.OAuth2. Common has those methods that need not differ.
type provider interface {
	// On reports whether the upstream is configured.
	On() bool
	// fillDefaults sets what depends on other settings and was not given.
	fillDefaults()
	// check tells l what is wrong with the settings taken together. section is
	// how their variables begin, such as SIDECAR_PDX_.
	check(l *loader, section string)
	// upstream returns what asks this provider for tokens. It trusts roots.
	upstream(roots *x509.CertPool) upstream.Upstream
	// endpoint returns all but Name, Family, Section and Timeout.
	endpoint() TokenEndpoint
	// common returns the settings that every upstream has.
	common() *Common
	// furtherListeners returns the dedicated listeners by the names of their
	// routes, without that of the first route; zero ones too.
	furtherListeners() map[string]Listener
	// subjectRoutes returns the names of the routes that need a subject.
	subjectRoutes() []string
}

// Common holds the settings that every upstream has with the same default.
type Common struct {
	AllowedScopes string   `env:"ALLOWED_SCOPES" check:"scope" help:"Scopes, space-separated, that a request may choose with X-Token-Scope beside those of the default scope."`
	NarrowScope   string   `env:"NARROW_SCOPE" envDefault:"serve" oneof:"serve,refuse" help:"A token that was granted less scope than was asked for: serve or refuse it."`
	TokenBudget   Rate     `env:"TOKEN_BUDGET" min:"1/m" max:"100000/s" help:"Token requests that all replicas with this credential make together at most, such as 9/s or 100/m, counted in Redis; nine tenths of what the provider allows are recommended."`
	Listen        Listener `env:"LISTEN" help:"Dedicated listener of this upstream's first route, in the form of LISTEN."`
}

func (c *Common) common() *Common                       { return c }
func (c *Common) check(*loader, string)                 {}
func (c *Common) furtherListeners() map[string]Listener { return nil }
func (c *Common) subjectRoutes() []string               { return nil }

// upstreamConfig returns what the constructors of all upstreams take.
func (c *Common) upstreamConfig(token, target *url.URL, targets Targets, scope string, life time.Duration, roots *x509.CertPool) upstream.Config {
	return upstream.Config{
		TokenURL:        token,
		Target:          target,
		Targets:         targets.List(),
		Scope:           scope,
		AllowedScopes:   c.AllowedScopes,
		DefaultLifetime: life,
		RefuseNarrow:    c.NarrowScope == "refuse",
		Roots:           roots,
	}
}

// namedProvider is a provider with what its place in Config says of it.
type namedProvider struct {
	provider
	name    string // of the upstream
	family  string // the name, of a generic upstream "oauth2"
	section string // how its variables begin, such as SIDECAR_PDX_
}

// known returns the rows of the table, whether they are configured or not.
func (p *Providers) known() []namedProvider {
	var all []namedProvider
	table := reflect.ValueOf(p).Elem()
	for i := range table.NumField() {
		section := table.Type().Field(i).Tag.Get("envPrefix")
		name := strings.ToLower(strings.TrimSuffix(section, "_"))
		all = append(all, namedProvider{table.Field(i).Addr().Interface().(provider), name, name, prefix + section})
	}
	return all
}

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

// Dedicated returns the dedicated listeners by the names of their routes.
func (c *Config) Dedicated() map[string]Listener {
	all := map[string]Listener{}
	for _, p := range c.providers() {
		if l := p.common().Listen; !l.IsZero() {
			all[p.name] = l
		}
		for route, l := range p.furtherListeners() {
			if !l.IsZero() {
				all[route] = l
			}
		}
	}
	return all
}

// TokenEndpoint is what the settings of one upstream say that may explain why
// its token endpoint refuses.
type TokenEndpoint struct {
	Name    string        // of the upstream
	Family  string        // the name, of a generic upstream "oauth2"
	Section string        // how its variables begin, such as SIDECAR_PDX_
	Timeout time.Duration // of one token request

	URL               *url.URL
	Auth              string        // basic, post, private_key_jwt or hmac; empty: a way of its own
	Audience          string        // of assertions
	AssertionLifetime time.Duration // zero: of no setting
	BasicEncoding     string        // form or plain
	Reserved          bool          // form-encoding changes the client id or secret
	HIP               bool          // the contract with Human API
	Environment       string        // of PDX: live or sandbox
}

// TokenEndpoints returns the token endpoint of each upstream by its name, those
// of providers that are not configured too.
func (c *Config) TokenEndpoints() map[string]*TokenEndpoint {
	all := map[string]*TokenEndpoint{}
	for _, p := range c.providers() {
		e := p.endpoint()
		e.Name, e.Family, e.Section, e.Timeout = p.name, p.family, p.section, c.TokenTimeout
		all[p.name] = &e
	}
	return all
}

func reserved(id string, secret upstream.Secret) bool {
	return url.QueryEscape(id) != id || url.QueryEscape(secret.Reveal()) != secret.Reveal()
}
