package config

import (
	"crypto/x509"
	"net/url"
	"time"

	"token-sidecar/upstream"
)

// OCLC holds the settings of the upstream oclc.
type OCLC struct {
	WSKey           string          `env:"WSKEY" file:"start" needed:"true" help:"WSKey."`
	Secret          upstream.Secret `env:"SECRET" file:"rotates" needed:"true" help:"Secret of the WSKey."`
	Scope           string          `env:"SCOPE" envDefault:"WorldCatMetadataAPI" check:"oclcscope" help:"Default scope, without context."`
	Institution     string          `env:"INSTITUTION" check:"digits" help:"Registry id of the default context institution, digits. Needed with OCLC_AUTH=hmac."`
	Target          *url.URL        `env:"TARGET" envDefault:"https://metadata.api.oclc.org" help:"API host of the route oclc."`
	Targets         Targets         `env:"TARGETS" envDefault:"discovery=https://americas.discovery.api.oclc.org" help:"Further API hosts name=https://host,... routed as /oclc.{name}/; replaces the default list."`
	TokenURL        *url.URL        `env:"TOKEN_URL" envDefault:"https://oauth.oclc.org/token" when:"AUTH=hmac" then:"https://authn.sd00.worldcat.org/oauth2/accessToken" help:"Token endpoint."`
	Auth            string          `env:"AUTH" envDefault:"basic" oneof:"basic,hmac" help:"How the client authenticates: HTTP Basic, or the older WSKey signature (hmac)."`
	Parameters      string          `env:"PARAMETERS" envDefault:"query" oneof:"query,body" only:"AUTH=basic" help:"Whether the parameters of a token request are in its query or its body."`
	DefaultLifetime time.Duration   `env:"DEFAULT_LIFETIME" envDefault:"1199s" min:"1s" max:"720h" help:"Life assumed when a token answer names none."`
	Common
}

// On reports whether the upstream is configured.
func (c *OCLC) On() bool { return c.WSKey != "" }

// finish implements provider: the older signature covers the institution, and no request
// may choose another one by its scope.
func (c *OCLC) finish(f *faults, section string) {
	if w := oclcScopeFlaw(c.AllowedScopes); w != nil {
		f.fault(section+"ALLOWED_SCOPES", w)
	}
	if c.On() && c.Auth == "hmac" && c.Institution == "" {
		f.missing(section+"INSTITUTION", "is not set, but SIDECAR_OCLC_AUTH=hmac signs it")
	}
}

// upstream implements provider.
func (c *OCLC) upstream(roots *x509.CertPool) upstream.Upstream {
	return upstream.NewOCLC(upstream.OCLCConfig{
		Config:      c.upstreamConfig(c.TokenURL, c.Target, c.Targets, c.Scope, c.DefaultLifetime, roots),
		WSKey:       c.WSKey,
		Secret:      c.Secret,
		Institution: c.Institution,
		HMAC:        c.Auth == "hmac",
		InBody:      c.Parameters == "body",
	})
}
