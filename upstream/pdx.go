package upstream

import "context"

// PDXConfig configures Mydex PDX.
type PDXConfig struct {
	Config
	ClientID     string
	ClientSecret Secret
	Post         bool // credential in the body; else HTTP Basic
	PlainBasic   bool // Basic without form-encoding the halves first
}

// pdxScope is part of every scope: without it the API refuses every call
// (Mydex, Personal Data eXchange Overview).
const pdxScope = "mydex:pdx"

// pdx is the upstream of Mydex PDX.
type pdx struct {
	common
	config PDXConfig
}

// NewPDX returns the upstream of Mydex PDX: client credentials at
// /oauth2/token of its OAuth 2.0 server, the credential by HTTP Basic with
// form-encoded halves (Mydex's published examples), tokens of one hour. A
// token belongs to the client, so no subject is taken; members are told apart
// by headers and parameters that the app sends itself.
func NewPDX(c PDXConfig) Upstream {
	rule := kindRule{kind: KindClient, scopes: newScopeSet(c.Scope, c.AllowedScopes, pdxScope)}
	return &pdx{newCommon("pdx", c.Config, rule), c}
}

// Fingerprint implements [Upstream].
func (u *pdx) Fingerprint() Fingerprint {
	return fingerprint(u.config.TokenURL.String(), u.config.ClientID, u.config.ClientSecret.Reveal())
}

// Fetch implements [Upstream]. It always sends a scope: the server (ORY Hydra) issues a
// token without any scope to a request that names none.
func (u *pdx) Fetch(ctx context.Context, key Key, _ TokenSource) (Token, error) {
	c := u.config
	auth := clientAuth{id: c.ClientID, secret: c.ClientSecret.Reveal(), post: c.Post, plain: c.PlainBasic}
	return u.endpoint.exchange(ctx, key, auth.message(clientCredentials(key)))
}
