package upstream

import "context"

// The ways in which a client proves itself (RFC 7591 section 2 calls the first
// two client_secret_basic and client_secret_post).
const (
	AuthBasic         = "basic"
	AuthPost          = "post"
	AuthPrivateKeyJWT = "private_key_jwt"
)

// OAuth2Config configures any API with the client credentials grant of RFC
// 6749 section 4.4.
type OAuth2Config struct {
	Config
	Name         string
	ClientID     string
	ClientSecret Secret // for AuthBasic and AuthPost
	PrivateKey   Secret // for AuthPrivateKeyJWT: RSA, PEM
	Auth         string // empty: AuthBasic
	PlainBasic   bool   // AuthBasic without form-encoding the halves first
	Audience     string // of the assertion; empty: the token URL
}

// oauth2 is the upstream of any API with client credentials.
type oauth2 struct {
	common
	config OAuth2Config
}

// NewOAuth2 returns the upstream of c. It takes no subject.
func NewOAuth2(c OAuth2Config) Upstream {
	if c.Audience == "" && c.TokenURL != nil {
		c.Audience = c.TokenURL.String()
	}
	rule := kindRule{kind: KindClient, scopes: newScopeSet(c.Scope, c.AllowedScopes)}
	return &oauth2{newCommon(c.Name, c.Config, rule), c}
}

// Fingerprint implements [Upstream].
func (u *oauth2) Fingerprint() Fingerprint {
	c := u.config
	return fingerprint(c.TokenURL.String(), c.Auth, c.Audience, c.ClientID, c.ClientSecret.Reveal(), c.PrivateKey.Reveal())
}

// Fetch implements [Upstream].
func (u *oauth2) Fetch(ctx context.Context, key Key, _ TokenSource) (Token, error) {
	c, fields := u.config, clientCredentials(key)
	if c.Auth != AuthPrivateKeyJWT {
		auth := clientAuth{id: c.ClientID, secret: c.ClientSecret.Reveal(), post: c.Auth == AuthPost, plain: c.PlainBasic}
		return u.endpoint.exchange(ctx, key, auth.message(fields))
	}
	fields.Set("client_id", c.ClientID) // optional (RFC 7521 section 4.2); some servers look the key up by it
	m, err := assertionSigner{c.ClientID, c.Audience, c.PrivateKey, assertionLifetime}.message(fields)
	if err != nil {
		return Token{}, u.endpoint.fail(ClassCredential, 0, err.Error())
	}
	return u.endpoint.exchange(ctx, key, m)
}
