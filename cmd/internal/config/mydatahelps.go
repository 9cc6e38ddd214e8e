package config

import (
	"crypto/x509"
	"net/url"
	"time"

	"token-sidecar/upstream"
)

// MyDataHelps holds the settings of the upstream mydatahelps.
type MyDataHelps struct {
	ServiceAccount        string          `env:"SERVICE_ACCOUNT" file:"start" needed:"true" help:"Name of the service account."`
	PrivateKey            upstream.Secret `env:"PRIVATE_KEY" file:"rotates" check:"rsakey" needed:"true" help:"Its RSA private key of at least 2048 bits, PKCS#1 or PKCS#8 PEM; line breaks may be written as \\n."`
	Scope                 string          `env:"SCOPE" envDefault:"api" check:"scope" help:"Scope of participant tokens."`
	Target                *url.URL        `env:"TARGET" envDefault:"https://mydatahelps.org" help:"API host of the routes mydatahelps and mydatahelps.participant."`
	Targets               Targets         `env:"TARGETS" envDefault:"designer=https://designer.mydatahelps.org" help:"Further API hosts name=https://host,... routed as /mydatahelps.{name}/; replaces the default list."`
	TokenURL              *url.URL        `env:"TOKEN_URL" envDefault:"https://mydatahelps.org/identityserver/connect/token" help:"Token endpoint."`
	Audience              string          `env:"AUDIENCE" shown:"the token URL" help:"aud claim of the assertion."`
	AssertionLifetime     time.Duration   `env:"ASSERTION_LIFETIME" envDefault:"200s" min:"1s" max:"300s" help:"Life of the assertion, at most 300s."`
	DelegatedClientID     string          `env:"DELEGATED_CLIENT_ID" envDefault:"RKStudio.DelegatedParticipant" help:"client_id of participant token requests, a published constant."`
	DelegatedClientSecret upstream.Secret `env:"DELEGATED_CLIENT_SECRET" file:"rotates" envDefault:"secret" help:"client_secret of participant token requests, a published constant."`
	DefaultLifetime       time.Duration   `env:"DEFAULT_LIFETIME" envDefault:"60s" min:"1s" max:"720h" help:"Life assumed when a token answer names none."`
	Common
	ParticipantListen Listener `env:"PARTICIPANT_LISTEN" help:"Dedicated listener of the route mydatahelps.participant."`
}

// On reports whether the upstream is configured.
func (c *MyDataHelps) On() bool { return c.ServiceAccount != "" }

// finish implements provider: no further target may have the name of the participant
// route.
func (c *MyDataHelps) finish(f *faults, section string) {
	fillAudience(&c.Audience, c.TokenURL)
	if c.Targets["participant"] != nil {
		f.fault(section+"TARGETS", flawf("rename it", "holds participant, which is a route of its own"))
	}
}

// upstream implements provider.
func (c *MyDataHelps) upstream(roots *x509.CertPool) upstream.Upstream {
	return upstream.NewMyDataHelps(upstream.MyDataHelpsConfig{
		Config:                c.upstreamConfig(c.TokenURL, c.Target, c.Targets, c.Scope, c.DefaultLifetime, roots),
		ServiceAccount:        c.ServiceAccount,
		PrivateKey:            c.PrivateKey,
		Audience:              c.Audience,
		AssertionLifetime:     c.AssertionLifetime,
		DelegatedClientID:     c.DelegatedClientID,
		DelegatedClientSecret: c.DelegatedClientSecret,
	})
}
