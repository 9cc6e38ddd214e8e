package config

import (
	"crypto/x509"
	"net/url"
	"time"

	"token-sidecar/proxy"
	"token-sidecar/upstream"
	"token-sidecar/upstream/egress"
)

// Common holds the settings that every upstream has with the same default.
type Common struct {
	AllowedScopes string          `env:"ALLOWED_SCOPES" check:"scope" help:"Scopes, space-separated, that a request may choose with X-Token-Scope beside those of the default scope."`
	Allow         proxy.AllowList `env:"ALLOW" help:"Requests that are let through, comma-separated, in the patterns of Go's http.ServeMux with the path as the target gets it: GET /api/v1/, POST /api/v1/surveys/{id}. Others are refused. Without it all are let through."`
	NarrowScope   string          `env:"NARROW_SCOPE" envDefault:"serve" oneof:"serve,refuse" help:"A token that was granted less scope than was asked for: serve or refuse it."`
	TokenBudget   Rate            `env:"TOKEN_BUDGET" min:"1/m" max:"100000/s" help:"Token requests that all replicas with this credential make together at most, such as 9/s or 100/m, counted in Redis; nine tenths of what the provider allows are recommended."`
	Listen        Listener        `env:"LISTEN" help:"Dedicated listener of this upstream's first route, in the form of LISTEN."`

	// What the whole program has once, see Config.share.
	egress         *egress.Proxy
	subjectHashKey []byte // of the hashes that stand for the tokens of an app's users
}

// common implements provider.
func (c *Common) common() *Common { return c }

// finish implements provider for those that need no further checks.
func (c *Common) finish(*faults, string) {}

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
		Egress:          c.egress,
	}
}

// fillAudience sets the audience of assertions that was not given: RFC 7523 section 3
// has it name the token endpoint.
func fillAudience(audience *string, tokenURL *url.URL) {
	if *audience == "" && tokenURL != nil {
		*audience = tokenURL.String()
	}
}
