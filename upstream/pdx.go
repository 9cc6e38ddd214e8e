package upstream

import "context"

// PDXConfig configures Mydex PDX.
type PDXConfig struct {
	Config
	ClientID     string
	ClientSecret Secret
	Post         bool // credential in the body; else HTTP Basic
	PlainBasic   bool // Basic without form-encoding the halves first

	// ConnectionNID and ConnectionToken are the Dedicated Connection, for which the
	// main route makes the headers of First Time Connections. Empty: it makes none.
	ConnectionNID   string
	ConnectionToken Secret
}

// pdxScope is part of every scope: without it the API refuses every call
// (Mydex, Personal Data eXchange Overview).
const pdxScope = "mydex:pdx"

// pdx is the upstream of Mydex PDX.
type pdx struct {
	common
	config     PDXConfig
	connection *pdxConnection // nil if none is configured
}

// NewPDX returns the upstream of Mydex PDX: client credentials at
// /oauth2/token of its OAuth 2.0 server, the credential by HTTP Basic with
// form-encoded halves (Mydex's published examples), tokens of one hour. A
// token belongs to the client, so no subject is taken; members are told apart
// by headers and parameters that the app sends itself, save those of a First
// Time Connection.
func NewPDX(c PDXConfig) Upstream {
	rule := kindRule{kind: KindClient, scopes: newScopeSet(c.Scope, c.AllowedScopes, pdxScope)}
	u := &pdx{common: newCommon("pdx", c.Config, rule), config: c}
	if c.ConnectionNID != "" && c.ConnectionToken.IsSet() {
		main := &u.routes[0]
		u.connection = newPDXConnection(c, main.Target)
		main.Fields = u.connection
	}
	return u
}

// CloseIdleConnections implements [Upstream].
func (u *pdx) CloseIdleConnections() {
	u.common.CloseIdleConnections()
	if u.connection != nil {
		u.connection.endpoint.client.CloseIdleConnections()
	}
}

// Fingerprint implements [Upstream].
func (u *pdx) Fingerprint() Fingerprint {
	return u.config.fingerprint(u.config.TokenURL.String(), u.config.ClientID, u.config.ClientSecret.Reveal())
}

// Fetch implements [Upstream]. It always sends a scope: the server (ORY Hydra) issues a
// token without any scope to a request that names none.
func (u *pdx) Fetch(ctx context.Context, key Key, _ TokenSource) (Token, error) {
	c := u.config
	auth := clientAuth{id: c.ClientID, secret: c.ClientSecret.Reveal(), post: c.Post, plain: c.PlainBasic}
	return u.endpoint.exchange(ctx, key, auth.message(clientCredentials(key)))
}
