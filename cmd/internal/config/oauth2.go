package config

import (
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
	"time"

	"token-sidecar/upstream"
)

// OAuth2 holds the settings of one generic upstream, whose name is Name. What they mean
// together is checked in oauth2_check.go.
type OAuth2 struct {
	Name             string                `env:"NAME" check:"name" help:"Name of the upstream and of its route: a lower-case letter, then up to 31 lower-case letters, digits and dashes. Needed. The numbers n run from 0 without a gap."`
	Grant            string                `env:"GRANT" envDefault:"client_credentials" check:"grant" help:"Grant type: client_credentials, jwt_bearer (the signed assertion is the grant), token_exchange (RFC 8693: the bearer token that the app sends is exchanged for one of the API), or another provider's own, sent as it is."`
	ClientID         string                `env:"CLIENT_ID" file:"start" help:"Client id; with jwt_bearer the iss claim. Needed, but with AUTH=assertion_file and none."`
	ClientSecret     upstream.Secret       `env:"CLIENT_SECRET" file:"rotates" help:"Client secret. Needed with basic, post and client_secret_jwt, and with jwt_bearer and an ALG that begins with HS."`
	PrivateKey       upstream.Secret       `env:"PRIVATE_KEY" file:"rotates" check:"signingkey" help:"RSA key of at least 2048 bits or EC key (P-256, P-384, P-521): PEM, a JWK, or Google's JSON key file. Needed with private_key_jwt, and with jwt_bearer unless ALG begins with HS."`
	NextKey          upstream.Secret       `env:"NEXT_KEY" file:"rotates" check:"signingkey" help:"Key that will be PRIVATE_KEY next, in the same forms: it is in the JWK Set before it is used."`
	KeyID            string                `env:"KEY_ID" check:"word" help:"Key id (kid) in the header of assertions, or the word thumbprint: the RFC 7638 thumbprint, which changes with the key. Without it, that of a JWK or of Google's file."`
	Alg              string                `env:"ALG" oneof:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,HS256,HS384,HS512" help:"Algorithm of assertions: RS256 ... ES512, HS256 ... Without it that of a JWK, else RS256, ES256, ES384 or ES512 as fits the key, and HS256 with client_secret_jwt."`
	Cert             upstream.Secret       `env:"CERT" file:"rotates" check:"certificates" help:"Certificate of PRIVATE_KEY or of CERT_KEY, then those of its issuers, PEM. Needed with CERT_HEADER and with CERT_KEY."`
	CertKey          upstream.Secret       `env:"CERT_KEY" file:"rotates" check:"signingkey" help:"Private key of CERT, in the forms of PRIVATE_KEY. With it CERT is a client certificate: it is presented in TLS at the token endpoint and at the targets (RFC 8705). Of two files, a new pair is used as soon as both are there."`
	CertHeader       string                `env:"CERT_HEADER" envDefault:"none" oneof:"none,x5t,x5c" help:"How the header of assertions names that certificate: not at all (none), by its SHA-256 thumbprint (x5t, also adds nbf), or whole (x5c)."`
	Scope            string                `env:"SCOPE" check:"scope" help:"Scope of tokens, space-separated."`
	ScopeIn          string                `env:"SCOPE_IN" envDefault:"form" oneof:"form,assertion" help:"Whether the scope is a parameter (form) or a claim of the assertion (assertion)."`
	ScopeSeparator   string                `env:"SCOPE_SEPARATOR" shown:"a space" check:"separator" help:"Separator of scopes on the wire, one character."`
	Target           *url.URL              `env:"TARGET" help:"API host. Needed."`
	Targets          Targets               `env:"TARGETS" help:"Further API hosts name=https://host,... routed as /{NAME}.{name}/."`
	TargetHeaders    upstream.Secret       `env:"TARGET_HEADERS" file:"rotates" check:"fields" help:"Header fields that every API request gets beside the token, in the form of a URL query: X-Api-Key=abc&X-Tenant=7."`
	TokenURL         *url.URL              `env:"TOKEN_URL" help:"Token endpoint. Needed, or ISSUER."`
	Issuer           *url.URL              `env:"ISSUER" help:"Issuer whose metadata name the token endpoint (RFC 8414, OpenID Connect Discovery, SMART), in place of TOKEN_URL; of SMART, the base URL of the FHIR server."`
	TokenHosts       []string              `env:"TOKEN_HOSTS" check:"hosts" help:"Hosts, without port, beside the issuer's on which its token endpoint may be, comma-separated."`
	Auth             string                `env:"AUTH" envDefault:"basic" when:"GRANT=jwt_bearer" then:"none" oneof:"basic,post,private_key_jwt,client_secret_jwt,assertion_file,tls,none" help:"How the client authenticates: basic, post, private_key_jwt, client_secret_jwt, assertion_file (an assertion read from ASSERTION_FILE), tls (the client certificate CERT), or none."`
	BasicEncoding    string                `env:"BASIC_ENCODING" envDefault:"form" oneof:"form,plain" only:"AUTH=basic" help:"Whether id and secret are form-encoded before Basic (form, RFC 6749 section 2.3.1) or not (plain)."`
	Audience         string                `env:"AUDIENCE" shown:"the token URL" help:"aud claim of the assertion."`
	Claims           upstream.Secret       `env:"CLAIMS" file:"rotates" check:"claims" help:"Further claims of the assertion, a JSON object; with jwt_bearer it may set sub."`
	Assertion        upstream.Secret       `env:"ASSERTION" file:"rotates" check:"assertion" only:"AUTH=assertion_file" help:"Assertion that somebody else renews, a JWT: give ASSERTION_FILE, such as a projected service account token."`
	AssertionType    string                `env:"ASSERTION_TYPE" check:"word" shown:"that of RFC 7523" only:"AUTH=assertion_file" help:"client_assertion_type that goes with it."`
	Params           upstream.Secret       `env:"PARAMS" file:"rotates" check:"params" help:"Further parameters of the token request, in the form of a URL query: audience=https%3A%2F%2Fapi&organization=7."`
	Headers          upstream.Secret       `env:"HEADERS" file:"rotates" check:"fields" help:"Further header fields of the token request, in the same form."`
	Method           string                `env:"METHOD" envDefault:"post" oneof:"post,get" help:"Method of the token request: post or get."`
	Body             string                `env:"BODY" envDefault:"form" when:"METHOD=get" then:"query" oneof:"form,json,query,none" help:"Where its parameters are: in a form (form), in a JSON object (json), in the query (query); none: only header fields are sent."`
	Answer           string                `env:"ANSWER" envDefault:"json" oneof:"json,text" help:"Form of a good answer: JSON (RFC 6749 section 5.1), or the bare token (text)."`
	Lifetime         time.Duration         `env:"LIFETIME" min:"1s" max:"24h" shown:"as the answer says" help:"Life of tokens, whatever the answer says. With token_exchange the longest life; a token got for an opaque one lives for this, or DEFAULT_LIFETIME, at most."`
	DefaultLifetime  time.Duration         `env:"DEFAULT_LIFETIME" envDefault:"300s" min:"1s" max:"720h" help:"Life assumed when a token answer names none."`
	Subject          upstream.SubjectPlace `env:"SUBJECT" envDefault:"refused" help:"Whether a request names a subject and where the token request has it: refused, or optional or required with claim:NAME of the assertion or param:NAME, such as: required claim:sub."`
	SubjectTokenType string                `env:"SUBJECT_TOKEN_TYPE" envDefault:"access_token" check:"word" only:"GRANT=token_exchange" help:"Type of the token that the app sends: access_token, jwt, id_token, saml2 ... (RFC 8693 section 3), or another URI."`
	Common
}

// On reports whether the upstream is configured: a number in use is.
func (c *OAuth2) On() bool { return true }

// upstream implements provider.
func (c *OAuth2) upstream(roots *x509.CertPool) upstream.Upstream {
	method := http.MethodPost
	if c.Method == "get" {
		method = http.MethodGet
	}
	return upstream.NewOAuth2(upstream.OAuth2Config{
		Config:           c.upstreamConfig(c.TokenURL, c.Target, c.Targets, c.Scope, c.DefaultLifetime, roots),
		Name:             c.Name,
		Issuer:           c.Issuer,
		TokenHosts:       lowerAll(c.TokenHosts),
		Grant:            c.Grant,
		ClientID:         c.ClientID,
		ClientSecret:     c.ClientSecret,
		Auth:             c.Auth,
		PlainBasic:       c.BasicEncoding == "plain",
		PrivateKey:       c.PrivateKey,
		NextKey:          c.NextKey,
		KeyID:            c.KeyID,
		Alg:              c.Alg,
		Certificate:      c.Cert,
		CertKey:          c.CertKey,
		CertHeader:       c.CertHeader,
		Audience:         c.Audience,
		Claims:           c.Claims,
		Assertion:        c.Assertion,
		AssertionType:    c.AssertionType,
		Params:           c.Params,
		Headers:          c.Headers,
		Method:           method,
		Body:             c.Body,
		Answer:           c.Answer,
		ScopeIn:          c.ScopeIn,
		ScopeSeparator:   c.ScopeSeparator,
		Lifetime:         c.Lifetime,
		Subject:          c.Subject,
		TargetHeaders:    c.TargetHeaders,
		SubjectTokenType: c.SubjectTokenType,
		SubjectHashKey:   c.subjectHashKey,
	})
}

// lowerAll returns list in lower case.
func lowerAll(list []string) []string {
	var lower []string
	for _, s := range list {
		lower = append(lower, strings.ToLower(s))
	}
	return lower
}
