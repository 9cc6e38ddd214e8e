package config

import (
	"crypto/x509"
	"net/url"
	"time"

	"token-sidecar/upstream"
)

// HumanAPI holds the settings of the upstream humanapi.
type HumanAPI struct {
	ClientID        string          `env:"CLIENT_ID" file:"start" needed:"true" help:"Client id."`
	ClientSecret    upstream.Secret `env:"CLIENT_SECRET" file:"rotates" needed:"true" help:"Client secret."`
	HIP             bool            `env:"HIP" envDefault:"false" help:"Health Intelligence Platform contract: its token endpoint, and the route humanapi.admin."`
	Target          *url.URL        `env:"TARGET" envDefault:"https://api.humanapi.co" help:"API host of the route humanapi."`
	Targets         Targets         `env:"TARGETS" when:"HIP=true" then:"admin=https://admin.humanapi.co" help:"Further API hosts name=https://host,... routed as /humanapi.{name}/; replaces the default list. The name admin, only with HIP, gets the client's token; others get the user's."`
	TokenURL        *url.URL        `env:"TOKEN_URL" envDefault:"https://auth.humanapi.co/v1/connect/token" when:"HIP=true" then:"https://auth.humanapi.co/v1/admin/token" help:"Token endpoint."`
	DefaultLifetime time.Duration   `env:"DEFAULT_LIFETIME" envDefault:"86400s" min:"1s" max:"720h" help:"Life assumed when a token answer names none."`
	Common
}

// On reports whether the upstream is configured.
func (c *HumanAPI) On() bool { return c.ClientID != "" }

// finish implements provider: the route humanapi.admin belongs to the contract HIP.
func (c *HumanAPI) finish(f *faults, section string) {
	if c.Targets["admin"] != nil && !c.HIP {
		f.fault(section+"TARGETS", flawf("set SIDECAR_HUMANAPI_HIP=true or rename it", "holds admin, which only HIP has"))
	}
}

// upstream implements provider.
func (c *HumanAPI) upstream(roots *x509.CertPool) upstream.Upstream {
	return upstream.NewHumanAPI(upstream.HumanAPIConfig{
		Config:       c.upstreamConfig(c.TokenURL, c.Target, c.Targets, "", c.DefaultLifetime, roots),
		ClientID:     c.ClientID,
		ClientSecret: c.ClientSecret,
		HIP:          c.HIP,
	})
}
