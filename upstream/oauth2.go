package upstream

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
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
	Certificate    Secret // of PrivateKey, or of CertKey: PEM, its issuers after it
	CertKey        Secret // if set, Certificate is presented in TLS with this key (RFC 8705)
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
// BASIC_ENCODING, and those that are about targets. certificate is the text of CERT. With
// CERT_KEY that is the one in use: another one has other tokens, and CERT_KEY itself says
// no more than that there is one.
func (c OAuth2Config) shape(certificate string) [][2]string {
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
		{"CERT", certificate},
		{"CERT_KEY", strconv.FormatBool(c.CertKey.IsSet())},
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

// oauth2 is the upstream of any API with a token endpoint.
type oauth2 struct {
	common
	config OAuth2Config
	keys   *keyRing   // nil: it signs nothing with a private key
	finder *discovery // nil: the settings name the token endpoint

	certificates *clientCertificates               // nil: it presents none
	certified    atomic.Pointer[certifiedEndpoint] // of the certificate in use; nil: none was needed yet
}

// certifiedEndpoint is a token endpoint whose connections present one client certificate.
type certifiedEndpoint struct {
	*endpoint
	certificate *ClientCertificate // nil: none is presented
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
	if c.CertKey.IsSet() {
		u.certificates = &clientCertificates{certificate: c.Certificate, key: c.CertKey}
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
	if u.certificates == nil {
		return u.fingerprintWith(nil)
	}
	return u.fingerprintWith(u.certificates.current())
}

// fingerprintWith returns the fingerprint while certificate is in use, which is nil if none
// is presented.
func (u *oauth2) fingerprintWith(certificate *ClientCertificate) Fingerprint {
	text := u.config.Certificate.Reveal()
	if certificate != nil {
		text = certificate.text
	}
	var parts []string
	for _, setting := range u.config.shape(text) {
		parts = append(parts, setting[0], setting[1])
	}
	return u.config.fingerprint(parts...)
}

// Bind implements [Upstream].
func (u *oauth2) Bind(token Token, under Fingerprint) (Token, bool) {
	if u.certificates == nil {
		return u.common.Bind(token, under)
	}
	certificate := u.certificates.current()
	return token.bind(certificate), u.fingerprintWith(certificate) == under
}

// Fetch implements [Upstream]. If another client certificate takes the place of the one in
// use meanwhile, it asks again under that one: the token would be of no use, and a refusal
// may be of the old certificate.
func (u *oauth2) Fetch(ctx context.Context, key Key, _ TokenSource) (Token, error) {
	for {
		at, err := u.endpointNow()
		if err != nil {
			return Token{}, err
		}
		token, err := u.request(ctx, key, at.endpoint)
		if at.certificate.InUse() || ctx.Err() != nil {
			return token.bind(at.certificate), err
		}
	}
}

// CloseIdleConnections implements [Upstream].
func (u *oauth2) CloseIdleConnections() {
	u.common.CloseIdleConnections()
	if at := u.certified.Load(); at != nil {
		at.client.CloseIdleConnections()
	}
}

// endpointNow returns the token endpoint with connections of the client certificate in use.
// Those of the one before are not used any more, and closed when they are idle. It fails if
// the upstream has no such certificate but should; the error is an *Error.
func (u *oauth2) endpointNow() (*certifiedEndpoint, error) {
	if u.certificates == nil {
		return &certifiedEndpoint{endpoint: u.endpoint}, nil
	}
	certificate := u.certificates.current()
	if certificate == nil {
		return nil, u.endpoint.fail(ClassCredential, 0, "the client certificate cannot be used")
	}
	before := u.certified.Load()
	if before != nil && before.certificate == certificate {
		return before, nil
	}
	next := &certifiedEndpoint{u.endpoint.presenting(certificate), certificate}
	if !u.certified.CompareAndSwap(before, next) {
		return u.endpointNow()
	}
	if before != nil {
		before.client.CloseIdleConnections()
	}
	return next, nil
}

// request makes one token request to the endpoint at, whose connections it uses. Its error
// is an *Error.
func (u *oauth2) request(ctx context.Context, key Key, at *endpoint) (Token, error) {
	subject := SubjectTokenOf(ctx).Reveal()
	form, err := u.form(subject)
	if err != nil {
		return Token{}, err
	}
	target, err := u.locate(ctx, at)
	if err != nil {
		return Token{}, err
	}
	m, err := u.message(key, target, subject)
	if err != nil {
		return Token{}, err
	}
	a, err := at.send(ctx, m)
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

// locate returns the URL of the token endpoint. It blocks while that is being discovered over
// the connections of at, until the end of ctx. The error is an *Error.
func (u *oauth2) locate(ctx context.Context, at *endpoint) (*url.URL, error) {
	if u.finder != nil {
		return u.finder.find(ctx, at)
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

// form says how this upstream writes a good answer; subject is the token that is exchanged, if
// one is. Its error is an *Error. Older servers of Apigee leave
// token_type out or call it BearerToken.
func (u *oauth2) form(subject string) (tokenForm, error) {
	form := standardForm
	form.typeMissing, form.typeBearerToken = true, true
	form.text = u.config.Answer == AnswerText
	form.separator, form.life = u.config.ScopeSeparator, u.config.Lifetime
	if u.config.Grant == GrantTokenExchange {
		form.life, form.longest = 0, u.config.longestExchanged(subject, time.Now())
		if form.longest < minLifetime {
			return form, u.endpoint.fail(ClassSubject, 0, "the token of the user has expired")
		}
	}
	return form, nil
}
