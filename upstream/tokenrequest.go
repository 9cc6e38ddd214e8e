package upstream

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// jwtBearerGrant is the grant_type of RFC 7523 section 2.1.
const jwtBearerGrant = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// message returns the token request for key to the token endpoint at target; subject is the
// token that is exchanged, if one is. The error is an *Error.
func (u *oauth2) message(key Key, target *url.URL, subject string) (message, error) {
	c := u.config
	header, err := u.header()
	if err != nil {
		return message{}, u.endpoint.fail(ClassCredential, 0, err.Error())
	}
	m := message{target: target, method: c.Method, header: header}
	fields := func() (url.Values, error) { return u.fields(key, target, subject) }
	first, err := fields()
	if err != nil {
		var own *Error
		if errors.As(err, &own) {
			return message{}, own
		}
		return message{}, u.endpoint.fail(ClassCredential, 0, err.Error())
	}
	encode := func(values url.Values) []byte { return []byte(values.Encode()) }
	switch c.Body {
	case BodyNone:
		return m, nil
	case BodyQuery:
		m.query = first
		return m, nil
	case BodyJSON:
		m.contentType, encode = jsonType, jsonBody
	default:
		m.contentType = formType
	}
	m.body = encode(first)
	if c.signs() {
		m.newBody = func() ([]byte, error) {
			again, err := fields()
			if err != nil {
				return nil, err
			}
			return encode(again), nil
		}
	}
	return m, nil
}

// header returns the header fields of a token request: those of the settings, and the
// proof of the client if that is HTTP Basic.
func (u *oauth2) header() (http.Header, error) {
	c, header := u.config, http.Header{}
	if c.Headers.IsSet() {
		fields, err := ParseFields(c.Headers.Reveal())
		if err != nil {
			return nil, err
		}
		for _, f := range fields {
			header[f.Name] = []string{f.Value.Reveal()}
		}
	}
	if c.Auth == AuthBasic || c.Auth == "" {
		header["Authorization"] = []string{basicAuth(c.ClientID, c.ClientSecret.Reveal(), !c.PlainBasic)}
	}
	return header, nil
}

// fields returns the parameters of a token request: those of the settings, the grant, and
// the proof of the client unless that is in the header. It signs anew each time. Its
// errors are about the credential; an *Error says what else is wrong.
func (u *oauth2) fields(key Key, target *url.URL, subject string) (url.Values, error) {
	c, fields := u.config, url.Values{}
	if c.Params.IsSet() {
		var err error
		if fields, err = ParseParams(c.Params.Reveal()); err != nil {
			return nil, err
		}
	}
	fields.Set("grant_type", c.Grant)
	if scope := u.scope(key); scope != "" && c.ScopeIn != ScopeInAssertion {
		fields.Set("scope", scope)
	}
	if c.Subject.Param != "" && key.Subject != "" {
		fields.Set(c.Subject.Param, key.Subject)
	}
	switch c.Grant {
	case "":
		fields.Set("grant_type", GrantClientCredentials)
	case GrantJWTBearer:
		signed, err := u.assertion(key, target)
		if err != nil {
			return nil, err
		}
		fields.Set("grant_type", jwtBearerGrant)
		fields.Set("assertion", signed)
	case GrantTokenExchange:
		fields.Set("grant_type", grantTokenExchange)
		fields.Set("subject_token", subject)
		fields.Set("subject_token_type", u.config.subjectTokenType())
	}
	return fields, u.prove(fields, key, target)
}

// prove adds the proof of the client to the parameters, if it belongs there.
func (u *oauth2) prove(fields url.Values, key Key, target *url.URL) error {
	c := u.config
	switch c.Auth {
	case AuthPost:
		fields.Set("client_id", c.ClientID)
		fields.Set("client_secret", c.ClientSecret.Reveal())
	case AuthTLS:
		fields.Set("client_id", c.ClientID) // RFC 8705 section 2
	case AuthPrivateKeyJWT, AuthClientSecretJWT:
		signed, err := u.assertion(key, target)
		if err != nil {
			return err
		}
		setAssertion(fields, c.ClientID, assertionType, signed)
	case AuthAssertionFile:
		ready := c.Assertion.Reveal()
		claims, err := ParseAssertion(ready)
		if err != nil {
			return err
		}
		if claims.ExpiresAt != nil && !time.Now().Before(claims.ExpiresAt.Time) {
			// Whoever writes the file is late. That says nothing of the credential.
			return u.endpoint.fail(ClassUnavailable, 0, "the assertion in the file has expired, and no new one is there")
		}
		kind := c.AssertionType
		if kind == "" {
			kind = assertionType
		}
		setAssertion(fields, c.ClientID, kind, ready)
	}
	return nil
}

// setAssertion adds an assertion that proves the client (RFC 7523 section 2.2). The client
// id is optional (RFC 7521 section 4.2); some servers look the key up by it.
func setAssertion(fields url.Values, id, kind, signed string) {
	if id != "" {
		fields.Set("client_id", id)
	}
	fields.Set("client_assertion_type", kind)
	fields.Set("client_assertion", signed)
}

// scope returns the scope of a token as this provider writes it.
func (u *oauth2) scope(key Key) string {
	if u.config.ScopeSeparator == "" {
		return key.Scope
	}
	return strings.ReplaceAll(key.Scope, " ", u.config.ScopeSeparator)
}

// assertion returns a signed assertion about the client or, where it is the grant, about
// the subject, if there is one (RFC 7523 section 3).
func (u *oauth2) assertion(key Key, target *url.URL) (string, error) {
	c := u.config
	claims, err := ParseClaims(c.Claims.Reveal())
	if err != nil {
		return "", err
	}
	a := assertion{issuer: c.ClientID, audience: c.Audience, lifetime: assertionLifetime, issued: true, claims: claims}
	if c.Grant != GrantJWTBearer {
		a.subject = c.ClientID
	}
	if a.audience == "" {
		a.audience = target.String()
	}
	if c.ScopeIn == ScopeInAssertion && key.Scope != "" {
		claims["scope"] = u.scope(key)
	}
	if c.Subject.Claim != "" && key.Subject != "" {
		claims[c.Subject.Claim] = key.Subject
	}
	signing, err := u.signingKey()
	if err == nil {
		err = u.nameCertificate(&a, signing)
	}
	if err != nil {
		return "", err
	}
	return a.sign(signing)
}

// signingKey returns the key that assertions are signed with now.
func (u *oauth2) signingKey() (SigningKey, error) {
	if u.keys != nil {
		return u.keys.signing()
	}
	alg := u.config.Alg
	if alg == "" {
		alg = "HS256"
	}
	return NewSecretKey(u.config.ClientSecret.Reveal(), alg)
}

// nameCertificate adds the certificate of the key to an assertion. Entra ID, which looks it
// up by its thumbprint, also wants nbf.
func (u *oauth2) nameCertificate(a *assertion, key SigningKey) error {
	c := u.config
	if c.CertHeader == "" || c.CertHeader == CertHeaderNone {
		return nil
	}
	chain, err := ParseCertificates(c.Certificate.Reveal())
	if err != nil {
		return err
	}
	if !key.Matches(chain[0]) {
		// Their files were not replaced in the same moment: the next try finds both.
		return u.endpoint.fail(ClassUnavailable, 0, "the certificate is not of the private key")
	}
	if c.CertHeader == CertHeaderX5T {
		sum := sha256.Sum256(chain[0].Raw)
		a.header = map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
		a.claims["nbf"] = time.Now().Add(-clockMargin).Unix()
		return nil
	}
	var whole []string
	for _, certificate := range chain {
		whole = append(whole, base64.StdEncoding.EncodeToString(certificate.Raw))
	}
	a.header = map[string]any{"x5c": whole}
	return nil
}
