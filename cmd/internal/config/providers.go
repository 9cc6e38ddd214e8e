package config

import (
	"crypto/x509"
	"reflect"
	"strings"

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

// share gives the providers what the whole program has once.
func (c *Config) share() {
	proxy, key := c.Egress(), c.Redis.subjectHashKey()
	for _, p := range c.providers() {
		p.common().egress, p.common().subjectHashKey = proxy, key
	}
}

// namedProvider is a provider with what its place in Config says of it.
type namedProvider struct {
	provider
	name    string // of the upstream
	family  string // the name, of a generic upstream "oauth2"
	section string // how its variables begin, such as SIDECAR_PDX_
}

// provider is the settings of one upstream: a row of Providers, or an element of
// Config.OAuth2. Common has those methods that need not differ.
type provider interface {
	// On reports whether the upstream is configured.
	On() bool
	// finish fills in what depends on several settings, and tells f what is wrong
	// with them taken together. section is how their variables begin, such as
	// SIDECAR_PDX_.
	finish(f *faults, section string)
	// upstream returns what asks this provider for tokens. It trusts roots. It is
	// called before the settings are known to be right, too.
	upstream(roots *x509.CertPool) upstream.Upstream
	// common returns the settings that every upstream has.
	common() *Common
}
