package config

import (
	"crypto/x509"
	"net/url"
	"time"

	"token-sidecar/upstream"
)

// OAuth2 holds the settings of one generic upstream, whose name is Name.
type OAuth2 struct {
	Name            string          `env:"NAME" check:"name" help:"Name of the upstream and of its route: a lower-case letter, then up to 31 lower-case letters, digits and dashes. Needed. The numbers n run from 0 without a gap."`
	ClientID        string          `env:"CLIENT_ID" file:"start" help:"Client id. Needed."`
	ClientSecret    upstream.Secret `env:"CLIENT_SECRET" file:"rotates" help:"Client secret. Needed with basic and post."`
	PrivateKey      upstream.Secret `env:"PRIVATE_KEY" file:"rotates" check:"rsakey" help:"RSA private key of at least 2048 bits, PEM. Needed with private_key_jwt."`
	Scope           string          `env:"SCOPE" check:"scope" help:"Scope of tokens, space-separated."`
	Target          *url.URL        `env:"TARGET" help:"API host. Needed."`
	Targets         Targets         `env:"TARGETS" help:"Further API hosts name=https://host,... routed as /{NAME}.{name}/."`
	TokenURL        *url.URL        `env:"TOKEN_URL" help:"Token endpoint. Needed."`
	Auth            string          `env:"AUTH" envDefault:"basic" oneof:"basic,post,private_key_jwt" help:"How the client authenticates: basic, post or private_key_jwt."`
	BasicEncoding   string          `env:"BASIC_ENCODING" envDefault:"form" oneof:"form,plain" only:"AUTH=basic" help:"Whether id and secret are form-encoded before Basic (form, RFC 6749 section 2.3.1) or not (plain)."`
	Audience        string          `env:"AUDIENCE" shown:"the token URL" only:"AUTH=private_key_jwt" help:"aud claim of the assertion."`
	DefaultLifetime time.Duration   `env:"DEFAULT_LIFETIME" envDefault:"300s" min:"1s" max:"720h" help:"Life assumed when a token answer names none."`
	Common
}

// On reports whether the upstream is configured: a number in use is.
func (c *OAuth2) On() bool { return true }

// finish implements provider: which settings are needed depends on AUTH.
func (c *OAuth2) finish(f *faults, section string) {
	needed := []string{"NAME", "CLIENT_ID", "TARGET", "TOKEN_URL"}
	unwanted := ""
	switch c.Auth {
	case "private_key_jwt":
		fillAudience(&c.Audience, c.TokenURL)
		needed, unwanted = append(needed, "PRIVATE_KEY"), "CLIENT_SECRET"
	case "basic", "post":
		needed, unwanted = append(needed, "CLIENT_SECRET"), "PRIVATE_KEY"
	}
	for _, name := range needed {
		if f.given[section+name] == "" {
			f.missing(section+name, "is not set, but other settings of this number are")
		}
	}
	if unwanted != "" && f.given[section+unwanted] != "" {
		f.fault(section+unwanted, flawf("remove it or choose another "+section+"AUTH",
			"is set, but %sAUTH is %s", section, c.Auth))
	}
}

// upstream implements provider.
func (c *OAuth2) upstream(roots *x509.CertPool) upstream.Upstream {
	return upstream.NewOAuth2(upstream.OAuth2Config{
		Config:       c.upstreamConfig(c.TokenURL, c.Target, c.Targets, c.Scope, c.DefaultLifetime, roots),
		Name:         c.Name,
		ClientID:     c.ClientID,
		ClientSecret: c.ClientSecret,
		PrivateKey:   c.PrivateKey,
		Auth:         c.Auth,
		PlainBasic:   c.BasicEncoding == "plain",
		Audience:     c.Audience,
	})
}
