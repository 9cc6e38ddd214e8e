package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// MyDataHelpsConfig configures MyDataHelps. Config.Scope is that of
// participant tokens; service tokens always have the scope "api".
type MyDataHelpsConfig struct {
	Config
	ServiceAccount        string
	PrivateKey            Secret        // RSA, PEM
	Audience              string        // of the assertion; empty: the token URL
	AssertionLifetime     time.Duration // zero: 200 s
	DelegatedClientID     string
	DelegatedClientSecret Secret
}

// myDataHelps is the upstream of MyDataHelps.
type myDataHelps struct {
	common
	config MyDataHelpsConfig
}

const myDataHelpsName = "mydatahelps"

// NewMyDataHelps returns the upstream of MyDataHelps. A service account proves
// itself with an assertion and gets a service token (MyDataHelps, REST API
// Authentication); with that token it gets those of its participants
// (Participant Access Tokens). Each kind has routes of its own: the participant
// route requires a subject, so that a forgotten one never falls back to the
// stronger service token.
func NewMyDataHelps(c MyDataHelpsConfig) Upstream {
	if c.Audience == "" && c.TokenURL != nil {
		c.Audience = c.TokenURL.String()
	}
	if c.AssertionLifetime == 0 {
		c.AssertionLifetime = assertionLifetime
	}
	u := &myDataHelps{newCommon(myDataHelpsName, c.Config, kindRule{kind: KindService, scopes: newScopeSet("api", "")}), c}
	u.kinds = append(u.kinds, kindRule{kind: KindParticipant, subject: SubjectRequired, scopes: newScopeSet(c.Scope, c.AllowedScopes)})
	u.routes = append(u.routes, Route{Name: myDataHelpsName + ".participant", Target: u.routes[0].Target, Kind: KindParticipant, Subject: SubjectRequired})
	return u
}

// Fingerprint implements [Upstream].
func (u *myDataHelps) Fingerprint() Fingerprint {
	c := u.config
	return c.fingerprint(c.TokenURL.String(), c.ServiceAccount, c.Audience, c.PrivateKey.Reveal(),
		c.DelegatedClientID, c.DelegatedClientSecret.Reveal())
}

// Fetch implements [Upstream].
func (u *myDataHelps) Fetch(ctx context.Context, key Key, tokens TokenSource) (Token, error) {
	if key.Kind == KindParticipant {
		return u.fetchParticipant(ctx, key, tokens)
	}
	token, err := u.fetchService(ctx, key)
	if e := refusalOf(err); e != nil && e.Class == ClassCredential {
		// It may have been this one assertion: replayed on its way, or late. A
		// second one tells.
		token, err = u.fetchService(ctx, key)
	}
	return token, err
}

// fetchService makes the token request for a service token.
func (u *myDataHelps) fetchService(ctx context.Context, key Key) (Token, error) {
	c := u.config
	signing, err := NewSigningKey(c.PrivateKey.Reveal(), "RS256", "")
	if err != nil {
		return Token{}, u.endpoint.fail(ClassCredential, 0, err.Error())
	}
	// No iat: a clock that runs ahead would make it lie in the server's future.
	proof := assertion{issuer: c.ServiceAccount, subject: c.ServiceAccount, audience: c.Audience, lifetime: c.AssertionLifetime}
	body := func() ([]byte, error) {
		signed, err := proof.sign(signing)
		fields := clientCredentials(key)
		setAssertion(fields, "", assertionType, signed)
		return []byte(fields.Encode()), err
	}
	first, err := body()
	if err != nil {
		return Token{}, u.endpoint.fail(ClassCredential, 0, err.Error())
	}
	return u.exchange(ctx, key, message{contentType: formType, body: first, newBody: body})
}

// exchange makes a token request. The token endpoint refuses by 400 and a
// code, so a 403 without one is of something before it, such as a firewall,
// and says nothing lasting.
func (u *myDataHelps) exchange(ctx context.Context, key Key, m message) (Token, error) {
	token, err := u.endpoint.exchange(ctx, key, m)
	if e := refusalOf(err); e != nil && e.Status == http.StatusForbidden && e.Code == "" {
		e.reclassify(ClassMalformed)
	}
	return token, err
}

// fetchParticipant buys a participant token with the service token. A refusal
// as invalid_grant leaves open whose fault it is: the participant may be
// unknown, or the service token dead. So the service token is replaced once,
// and what the second answer says stands.
func (u *myDataHelps) fetchParticipant(ctx context.Context, key Key, tokens TokenSource) (Token, error) {
	parent, err := u.Key(KindService, "", "")
	if err != nil {
		return Token{}, err
	}
	service, err := tokens.Token(ctx, parent)
	if err != nil {
		return Token{}, err
	}
	token, err := u.delegate(ctx, key, service)
	if e := refusalOf(err); e == nil || e.Code != "invalid_grant" {
		return token, err
	}
	tokens.Reject(ctx, parent, service)
	other, parentErr := tokens.Token(ctx, parent)
	if parentErr != nil || other.Same(service) {
		return Token{}, err
	}
	return u.delegate(ctx, key, other)
}

// delegate makes the token request for a participant token, which proves the delegated
// client by the service token.
func (u *myDataHelps) delegate(ctx context.Context, key Key, service Token) (Token, error) {
	token, err := u.exchange(ctx, key, formMessage(url.Values{
		"scope":          {key.Scope},
		"grant_type":     {"delegated_participant"},
		"participant_id": {key.Subject},
		"client_id":      {u.config.DelegatedClientID},
		"client_secret":  {u.config.DelegatedClientSecret.Reveal()},
		"token":          {service.AccessToken()},
	}))
	if e := refusalOf(err); e != nil {
		// Who proves itself here is the delegated client and not the service
		// account. If it is refused, or a 401 leaves open whether it is,
		// participants get no token; service tokens are not at stake, however
		// many participants get that answer.
		e.Unsure = false
		if e.Class == ClassCredential {
			e.Class = ClassScope
		}
	}
	return token, err
}

// refusalOf returns the failed token request that err is, nil if it is none.
func refusalOf(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}
