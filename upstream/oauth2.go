package upstream

import (
	"context"
	"net/url"
	"time"
)

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

type oauth2 struct {
	common
	config OAuth2Config
	rule   kindRule
}

// NewOAuth2 returns the upstream of c. It takes no subject.
func NewOAuth2(c OAuth2Config) Upstream {
	if c.Audience == "" && c.TokenURL != nil {
		c.Audience = c.TokenURL.String()
	}
	return &oauth2{
		common: common{c.Config.routes(c.Name, KindClient, SubjectRefused), newEndpoint(c.Name, c.Config)},
		config: c,
		rule:   kindRule{scopes: newScopeSet(c.Scope, c.AllowedScopes)},
	}
}

func (u *oauth2) Key(kind Kind, subject, scope string) (Key, error) {
	return u.rule.key(u.config.Name, kind, subject, scope)
}

func (u *oauth2) Fingerprint() Fingerprint {
	c := u.config
	return fingerprint(c.TokenURL.String(), c.Auth, c.Audience, c.ClientID, c.ClientSecret.Reveal(), c.PrivateKey.Reveal())
}

// assertionLifetime is short: the assertion is used at once. Five minutes is
// the most that servers commonly take (SMART Backend Services).
const assertionLifetime = 200 * time.Second

func (u *oauth2) Fetch(ctx context.Context, key Key, _ TokenSource) (Token, error) {
	fields := url.Values{"grant_type": {"client_credentials"}}
	if key.Scope != "" {
		fields.Set("scope", key.Scope)
	}
	m, err := u.message(fields)
	if err != nil {
		return Token{}, err
	}
	return u.endpoint.exchange(ctx, key, m)
}

func (u *oauth2) message(fields url.Values) (message, error) {
	c := u.config
	if c.Auth != AuthPrivateKeyJWT {
		auth := clientAuth{id: c.ClientID, secret: c.ClientSecret.Reveal(), post: c.Auth == AuthPost, plain: c.PlainBasic}
		return auth.message(fields), nil
	}
	fields.Set("client_id", c.ClientID) // optional (RFC 7521 section 4.2); some servers look the key up by it
	fields.Set("client_assertion_type", assertionType)
	sign := func() ([]byte, error) {
		jwt, err := assertion{c.ClientID, c.Audience, c.PrivateKey, assertionLifetime}.sign()
		fields.Set("client_assertion", jwt)
		return []byte(fields.Encode()), err
	}
	body, err := sign()
	if err != nil {
		return message{}, u.endpoint.fail(ClassCredential, err.Error())
	}
	return message{contentType: formType, body: body, anew: sign}, nil
}
