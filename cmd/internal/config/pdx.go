package config

import (
	"crypto/x509"
	"net/url"
	"time"

	"token-sidecar/upstream"
)

// PDX holds the settings of the upstream pdx.
type PDX struct {
	ClientID        string          `env:"CLIENT_ID" file:"start" needed:"true" help:"Client id."`
	ClientSecret    upstream.Secret `env:"CLIENT_SECRET" file:"rotates" needed:"true" help:"Client secret."`
	Environment     string          `env:"ENVIRONMENT" envDefault:"live" oneof:"live,sandbox" help:"live or sandbox: which hosts are the defaults below."`
	Scope           string          `env:"SCOPE" envDefault:"mydex:pdx" check:"scope" help:"Scope of tokens; mydex:pdx is always part of it."`
	Target          *url.URL        `env:"TARGET" envDefault:"https://api.mydex.org" when:"ENVIRONMENT=sandbox" then:"https://sbx-api.mydex.org" help:"API host of the route pdx."`
	Targets         Targets         `env:"TARGETS" envDefault:"idaas=https://idp.mydexid.org" when:"ENVIRONMENT=sandbox" help:"Further API hosts name=https://host,... routed as /pdx.{name}/; replaces the default list."`
	TokenURL        *url.URL        `env:"TOKEN_URL" envDefault:"https://op.mydexid.org/oauth2/token" when:"ENVIRONMENT=sandbox" then:"https://sbx-op.mydexid.org/oauth2/token" help:"Token endpoint."`
	Auth            string          `env:"AUTH" envDefault:"basic" oneof:"basic,post" help:"How the client authenticates: HTTP Basic, or id and secret in the form (post)."`
	BasicEncoding   string          `env:"BASIC_ENCODING" envDefault:"form" oneof:"form,plain" only:"AUTH=basic" help:"Whether id and secret are form-encoded before Basic (form, RFC 6749 section 2.3.1) or not (plain)."`
	DefaultLifetime time.Duration   `env:"DEFAULT_LIFETIME" envDefault:"3600s" min:"1s" max:"720h" help:"Life assumed when a token answer names none."`
	ConnectionNID   string          `env:"CONNECTION_NID" check:"nid" with:"CONNECTION_TOKEN" help:"NID of the Dedicated Connection. With it and CONNECTION_TOKEN the route pdx makes the headers of First Time Connections."`
	ConnectionToken upstream.Secret `env:"CONNECTION_TOKEN" file:"rotates" with:"CONNECTION_NID" help:"Connection token of the Dedicated Connection."`
	Common
}

// On reports whether the upstream is configured.
func (c *PDX) On() bool { return c.ClientID != "" }

// upstream implements provider.
func (c *PDX) upstream(roots *x509.CertPool) upstream.Upstream {
	return upstream.NewPDX(upstream.PDXConfig{
		Config:          c.upstreamConfig(c.TokenURL, c.Target, c.Targets, c.Scope, c.DefaultLifetime, roots),
		ClientID:        c.ClientID,
		ClientSecret:    c.ClientSecret,
		Post:            c.Auth == "post",
		PlainBasic:      c.BasicEncoding == "plain",
		ConnectionNID:   c.ConnectionNID,
		ConnectionToken: c.ConnectionToken,
	})
}
