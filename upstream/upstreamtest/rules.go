package upstreamtest

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Further ways for a client to authenticate, beside those of NewOAuth2.
const (
	AuthClientSecretJWT = "client_secret_jwt"
	AuthAssertion       = "assertion_file" // an assertion that another party has signed
	AuthTLS             = "tls"            // a client certificate (RFC 8705 section 2)
	AuthNone            = "none"
)

// Places of the parameters of a token request.
const (
	BodyForm  = "form"
	BodyJSON  = "json"
	BodyQuery = "query"
	BodyNone  = "none"
)

// EndpointRules say what a token endpoint takes. Whatever else it is sent it refuses.
// Empty values mean the usual: POST, a form, HTTP Basic, client_credentials.
type EndpointRules struct {
	Name                   string // of the provider in Echo; empty: endpoint
	Method                 string
	Body                   string
	Grant                  string // the grant_type on the wire
	Auth                   string
	ClientID, ClientSecret string            // empty: made up
	Params                 map[string]string // further parameters, exactly these
	Headers                map[string]string // header fields that must be there
	Assertion              *AssertionRules   // nil: there is none
	SubjectParam           string            // parameter that names the subject; empty: none does
	// SubjectToken makes the grant that of RFC 8693: it says whose token it is given, and whether
	// one is issued for it. It is called from many goroutines. SubjectTokenType is its type.
	SubjectToken     func(token string) (subject string, good bool)
	SubjectTokenType string
	Scopes           []string      // that the client may ask for; nil: read and write
	Separator        string        // of scopes; empty: a space
	Lifetime         time.Duration // of tokens, as in Options

	Text       bool   // the answer is the bare token
	NoLifetime bool   // the answer has no expires_in
	TokenType  string // of the answer; empty: Bearer; "-": the answer has none

	// Refusal is how a wrong client is refused: its status and code. Zero: 401 and
	// invalid_client.
	RefusalStatus int
	RefusalCode   string
	// Metadata, by their path, are served by GET beside the token endpoint; {issuer} in
	// them stands for its scheme and host.
	Metadata map[string]string
	// ClientCertificate, if not nil, has token endpoint and API speak TLS and want a client
	// certificate, and says of each request whether the one with this thumbprint is the
	// client's. Tokens are bound to it (RFC 8705 section 3). It is called concurrently.
	ClientCertificate func(thumbprint string) bool
	// TargetHeaders are header fields that API requests must have.
	TargetHeaders map[string]string
}

// parameters returns the parameters of a request, from the one place where they may be.
func (p *ruled) parameters(c *call) (map[string]string, *Answer) {
	malformed := func(reason string) (map[string]string, *Answer) {
		return nil, oauthRefusal(http.StatusBadRequest, "invalid_request", reason)
	}
	inBody := p.rules.Body == BodyForm || p.rules.Body == BodyJSON
	switch {
	case !inBody && (c.body != "" || c.mediaType() != ""):
		return malformed("there is a body")
	case p.rules.Body != BodyQuery && c.r.URL.RawQuery != "":
		return malformed("parameters in the URL")
	case p.rules.Body == BodyForm && c.mediaType() != formType, p.rules.Body == BodyJSON && c.mediaType() != "application/json":
		return nil, textAnswer(http.StatusUnsupportedMediaType, "wrong content type").because("unsupported_media_type", "Content-Type is "+c.mediaType())
	}
	encoded, reason := c.r.URL.RawQuery, ""
	fields := map[string]string{}
	switch p.rules.Body {
	case BodyForm:
		encoded = c.body
		fallthrough
	case BodyQuery:
		fields, reason = parseFields(encoded)
	case BodyJSON:
		var all map[string]json.RawMessage
		all, reason = members(c.body)
		for name, raw := range all {
			var text string
			if json.Unmarshal(raw, &text) != nil {
				reason = "member is no string: " + name
			}
			fields[name] = text
		}
	}
	if reason != "" {
		return malformed(reason)
	}
	return fields, nil
}

// wanted returns the names of the parameters that a right request has.
func (p *ruled) wanted(fields map[string]string) []string {
	names := append([]string{"grant_type"}, slices.Collect(maps.Keys(p.rules.Params))...)
	switch p.rules.Auth {
	case AuthPost:
		names = append(names, "client_id", "client_secret")
	case AuthTLS:
		names = append(names, "client_id")
	case AuthPrivateKeyJWT, AuthClientSecretJWT, AuthAssertion:
		names = append(names, "client_assertion_type", "client_assertion")
	}
	if p.isBearer() {
		names = append(names, "assertion")
	}
	if p.rules.SubjectToken != nil {
		names = append(names, "subject_token", "subject_token_type")
	}
	optional := []string{p.rules.SubjectParam}
	if p.rules.Assertion == nil || !p.rules.Assertion.ScopeInside {
		optional = append(optional, "scope")
	}
	if strings.HasSuffix(p.rules.Auth, "_jwt") || p.rules.Auth == AuthAssertion {
		optional = append(optional, "client_id") // RFC 7521 section 4.2
	}
	for _, name := range optional {
		if _, given := fields[name]; given {
			names = append(names, name)
		}
	}
	return names
}

// wrongClient returns why the client is refused, "" if it is not.
func (p *ruled) wrongClient(c *call, fields map[string]string) string {
	if header := len(c.r.Header.Values("Authorization")) > 0; header != (p.rules.Auth == AuthBasic) {
		return "an Authorization header is there, or missing"
	}
	if id, given := fields["client_id"]; given && p.rules.Params["client_id"] == "" && id != p.id {
		return "client_id is of another client"
	}
	if p.rules.ClientCertificate != nil && !p.rules.ClientCertificate(presented(c.r)) {
		return "the certificate is of another client"
	}
	switch p.rules.Auth {
	case AuthBasic:
		if id, secret, ok := c.basicEncoded(); !ok || id != p.id || secret != p.secret {
			return "Basic credentials are not the URL-encoded id and secret"
		}
	case AuthPost:
		if fields["client_secret"] != p.secret {
			return "client_secret is wrong"
		}
	case AuthPrivateKeyJWT, AuthClientSecretJWT, AuthAssertion:
		if fields["client_assertion_type"] != cmp.Or(p.rules.Assertion.Type, assertionType) {
			return "client_assertion_type is wrong"
		}
	}
	if p.rules.Assertion == nil {
		return ""
	}
	return p.rules.Assertion.wrong(p.Server, p.assertionIn(fields), p.isBearer())
}

// assertionIn returns the assertion among the parameters.
func (p *ruled) assertionIn(fields map[string]string) string {
	if p.isBearer() {
		return fields["assertion"]
	}
	return fields["client_assertion"]
}

// isBearer reports whether the assertion is the grant (RFC 7523 section 2.1).
func (p *ruled) isBearer() bool {
	return p.rules.Grant == "urn:ietf:params:oauth:grant-type:jwt-bearer"
}
