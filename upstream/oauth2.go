package upstream

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// OAuth2Config configures any API with a token endpoint: a request for a token is a grant,
// a proof of the client and further fields, in one of several encodings. Empty values of
// strings mean the usual thing: client_credentials, basic, POST, form, JSON answers.
type OAuth2Config struct {
	Config
	Name       string
	Issuer     *url.URL // in place of TokenURL, which is then read from its metadata
	TokenHosts []string // hosts beside the issuer's on which it may have its token endpoint

	Grant          string
	ClientID       string
	ClientSecret   Secret // for AuthBasic, AuthPost, AuthClientSecretJWT, and of jwt_bearer with HMAC
	Auth           string
	PlainBasic     bool   // AuthBasic without form-encoding the halves first
	PrivateKey     Secret // in a form that NewSigningKey takes
	NextKey        Secret // the one that will be PrivateKey next: published, not used
	KeyID, Alg     string // as NewSigningKey takes them
	Certificate    Secret // of PrivateKey: PEM, its issuers after it
	CertHeader     string
	Audience       string // of assertions; empty: the token URL
	Claims         Secret // further ones of assertions: a JSON object, which may name a person
	Assertion      Secret // for AuthAssertionFile: a JWT
	AssertionType  string // client_assertion_type that goes with it; empty: that of RFC 7523
	Params         Secret // further parameters, in the form of a URL query
	Headers        Secret // further header fields, in the form of a URL query
	Method         string // GET or POST
	Body           string // where the parameters go
	Answer         string // json or AnswerText
	ScopeIn        string
	ScopeSeparator string        // empty: a space
	Lifetime       time.Duration // of tokens, whatever the answer says; zero: as the answer says
	Subject        SubjectPlace
	// Of GrantTokenExchange: which sort of token the users have, a URN or what comes behind that
	// of RFC 8693 section 3, and the key of the hash that stands for one in the key of a token.
	SubjectTokenType string
	SubjectHashKey   []byte
	TargetHeaders    Secret // header fields of API requests, in the form of a URL query
}

// shape lists all settings that decide which token an endpoint gives, or for how long it is
// taken to live, by the names that operators know them by. Two upstreams, or two replicas
// of one, that differ in any of them never share a token; the scope and the subject that a
// request asks for are in the key of a token. Of an assertion that is read from a file it
// is who says what of whom: the file itself differs from pod to pod and changes every hour.
// Not here are settings that only say how the token is come by: TOKEN_HOSTS, NEXT_KEY,
// BASIC_ENCODING, and those that are about targets.
func (c OAuth2Config) shape() [][2]string {
	return [][2]string{
		{"TOKEN_URL", urlText(c.TokenURL)},
		{"ISSUER", urlText(c.Issuer)},
		{"GRANT", c.Grant},
		{"CLIENT_ID", c.ClientID},
		{"CLIENT_SECRET", c.ClientSecret.Reveal()},
		{"AUTH", c.Auth},
		{"PRIVATE_KEY", c.PrivateKey.Reveal()},
		{"KEY_ID", c.KeyID},
		{"ALG", c.Alg},
		{"CERT", c.Certificate.Reveal()},
		{"CERT_HEADER", c.CertHeader},
		{"AUDIENCE", c.Audience},
		{"CLAIMS", c.Claims.Reveal()},
		{"ASSERTION", assertedIdentity(c.Assertion.Reveal())},
		{"ASSERTION_TYPE", c.AssertionType},
		{"PARAMS", c.Params.Reveal()},
		{"HEADERS", c.Headers.Reveal()},
		{"METHOD", c.Method},
		{"BODY", c.Body},
		{"ANSWER", c.Answer},
		{"SCOPE_IN", c.ScopeIn},
		{"SCOPE_SEPARATOR", c.ScopeSeparator},
		{"LIFETIME", strconv.FormatInt(int64(c.Lifetime), 10)},
		{"SUBJECT", c.Subject.String()},
		{"SUBJECT_TOKEN_TYPE", c.SubjectTokenType},
	}
}

// urlText returns u as text, empty if there is none.
func urlText(u *url.URL) string {
	if u == nil {
		return ""
	}
	return u.String()
}

// oauth2 is the upstream of any API with a token endpoint.
type oauth2 struct {
	common
	config OAuth2Config
	keys   *keyRing   // nil: it signs nothing with a private key
	finder *discovery // nil: the settings name the token endpoint
}

// NewOAuth2 returns the upstream of c.
func NewOAuth2(c OAuth2Config) Upstream {
	rule := kindRule{kind: KindClient, subject: c.Subject.Rule, scopes: newScopeSet(c.Scope, c.AllowedScopes)}
	if c.Grant == GrantTokenExchange {
		rule.kind, rule.subject, rule.subjectHashKey = KindExchanged, SubjectFromToken, c.SubjectHashKey
	}
	u := &oauth2{common: newCommon(c.Name, c.Config, rule), config: c}
	if c.TargetHeaders.IsSet() {
		fixed := NewFixedFields(c.Name, c.TargetHeaders)
		for i := range u.routes {
			u.routes[i].Fields = fixed
		}
	}
	if c.PrivateKey.IsSet() {
		u.keys = &keyRing{key: c.PrivateKey, next: c.NextKey, alg: c.Alg, id: c.KeyID}
	}
	if c.Issuer != nil {
		u.finder = &discovery{issuer: c.Issuer, hosts: c.TokenHosts}
	}
	if c.signs() && (c.Body == BodyQuery || c.Method == http.MethodGet) {
		// On a kept connection the Transport may send a request twice, and the query
		// with its assertion would be the same.
		u.endpoint.client.Transport.(*http.Transport).DisableKeepAlives = true
	}
	return u
}

// signs reports whether each token request has an assertion that is signed for it.
func (c OAuth2Config) signs() bool {
	return c.Grant == GrantJWTBearer || c.Auth == AuthPrivateKeyJWT || c.Auth == AuthClientSecretJWT
}

// Fingerprint implements [Upstream].
func (u *oauth2) Fingerprint() Fingerprint {
	var parts []string
	for _, setting := range u.config.shape() {
		parts = append(parts, setting[0], setting[1])
	}
	return fingerprint(parts...)
}

// Fetch implements [Upstream].
func (u *oauth2) Fetch(ctx context.Context, key Key, _ TokenSource) (Token, error) {
	form, subject := u.form(), SubjectTokenOf(ctx).Reveal()
	if u.config.Grant == GrantTokenExchange {
		form.life, form.longest = 0, u.config.longestExchanged(subject, time.Now())
		if form.longest < minLifetime {
			return Token{}, u.endpoint.fail(ClassSubject, 0, "the token of the user has expired")
		}
	}
	target, err := u.locate(ctx)
	if err != nil {
		return Token{}, err
	}
	m, err := u.message(key, target, subject)
	if err != nil {
		return Token{}, err
	}
	a, err := u.endpoint.send(ctx, m)
	if u.finder != nil {
		u.finder.judge(a, err)
	}
	if err != nil {
		return Token{}, err
	}
	if a.status != http.StatusOK || a.has("error") {
		return Token{}, u.refusal(a, key)
	}
	return u.endpoint.token(a, form, key)
}

// locate returns the token endpoint. It blocks while that is being discovered, until the
// end of ctx. The error is an *Error.
func (u *oauth2) locate(ctx context.Context) (*url.URL, error) {
	if u.finder != nil {
		return u.finder.find(ctx, u.endpoint)
	}
	return u.config.TokenURL, nil
}

// refusal makes an *Error of an answer that is not good. Where the assertion is the grant,
// invalid_grant is said of it (RFC 7521 section 4.1.1), and so of the client, or of the
// subject that it names.
func (u *oauth2) refusal(a answer, key Key) *Error {
	err := u.endpoint.refusal(a, key, codeClasses, a.text("error"))
	if u.config.Grant == GrantTokenExchange {
		err.interpretExchange()
		return err
	}
	if u.config.Grant == GrantJWTBearer && err.Code == "invalid_grant" {
		if key.Subject == "" {
			err.reclassify(ClassCredential)
		} else {
			err.Unsure = true
		}
		return err
	}
	err.interpret401(key.Subject != "")
	return err
}

// form says how this upstream writes a good answer. Older servers of Apigee leave
// token_type out or call it BearerToken.
func (u *oauth2) form() tokenForm {
	form := standardForm
	form.typeMissing, form.typeBearerToken = true, true
	form.text = u.config.Answer == AnswerText
	form.separator, form.life = u.config.ScopeSeparator, u.config.Lifetime
	return form
}
