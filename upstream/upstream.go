// Package upstream knows the remote APIs: which tokens there are of each, and how
// its token endpoint is asked for one (RFC 6749). The rest of the program sees them
// through the interface Upstream alone.
//
// jwks.go gathers the public keys of upstreams that sign. There is one file for each
// provider, which cites the provider's documentation for every fact: pdx.go with its First
// Time Connection in pdx_connection.go, oclc.go with its older signature in oclc_hmac.go,
// humanapi.go, mydatahelps.go, and oauth2.go for any other API, whose token requests
// tokenrequest.go puts together from a grant, a proof of the client and further fields. The
// proof is made by auth.go or, as an assertion, by assertion.go with the key that keyring.go
// holds and signingkey.go has read; tokenexchange.go is what differs where the token of an app's
// user is exchanged; given.go reads what people write into settings for it.
// discovery.go finds the token endpoint where only the issuer is known. refusal.go makes the
// exchange and tells failures apart; endpoint.go sends the request and takes what comes
// back; answer.go reads it, with lifetime.go
// for how long the token lives and how long to wait; connerror.go names what happened
// to a connection, which package egress may have opened through a proxy. upstream.go is what all upstreams have in common, with the interface.
// field.go is about header fields that an API wants beside the token. The values are in
// token.go with the client certificate of clientcert.go, secret.go, key.go and error.go.
package upstream

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"net/url"
	"strconv"
	"strings"
	"time"

	"token-sidecar/upstream/egress"
)

// Upstream is one remote API behind OAuth tokens. Implementations are safe for
// concurrent use.
type Upstream interface {
	// Name returns the name that routes, logs and metrics use.
	Name() string

	// Routes returns the routes to this upstream, the first one being the
	// main one. The caller must not change them.
	Routes() []Route

	// Key checks what a request asked for (subject and scope as it gave them,
	// empty for the default) and returns the key of the token it needs. Its
	// errors are the Err values of this package. It does not block. For a
	// request that names no scope it allocates nothing, unless the subject
	// is a token that is to be exchanged (SubjectFromToken).
	Key(kind Kind, subject, scope string) (Key, error)

	// Fetch makes the token request for key, or several where one token is
	// bought with another, which it takes from tokens. It blocks until the
	// answer or the end of ctx. Its error is an *Error, save one of tokens. A
	// key that is OnDemand needs a ctx of WithSubjectToken.
	Fetch(ctx context.Context, key Key, tokens TokenSource) (Token, error)

	// Fingerprint names the credential and the token endpoint in use. It
	// changes when a secret is rotated. It is a hash of secrets: compare it,
	// feed it to a keyed hash, never show it.
	Fingerprint() Fingerprint

	// Bind returns a token, which another replica has got under the fingerprint,
	// as one that was issued under the client certificate in use, if there is
	// one. It reports false if that is no longer the one of then.
	Bind(token Token, under Fingerprint) (Token, bool)

	// CloseIdleConnections closes the connections to the token endpoint that
	// nobody uses now.
	CloseIdleConnections()
}

// TokenSource gives tokens for chains: a MyDataHelps participant token is
// bought with a service token. The cache is one.
type TokenSource interface {
	// Token returns a usable token, waiting for a load if it must.
	Token(ctx context.Context, key Key) (Token, error)
	// Reject reports that rejected was refused, and returns once a
	// replacement is there or is known not to come.
	Reject(ctx context.Context, key Key, rejected Token)
}

// Fingerprint is a hash over an upstream's credential and token endpoint, and over what it makes of
// an answer.
type Fingerprint [sha256.Size]byte

// fingerprint hashes parts, each behind its length, and how the answers are read of which tokens are
// made.
func (c Config) fingerprint(parts ...string) Fingerprint {
	var form []byte
	for _, p := range append(parts, c.DefaultLifetime.String(), strconv.FormatBool(c.RefuseNarrow)) {
		form = Key{Upstream: p}.AppendCanonical(form)
	}
	return sha256.Sum256(form)
}

// Route is one way in to an upstream: requests under its name go to Target
// with a token of Kind.
type Route struct {
	Name    string
	Target  *url.URL // without a trailing slash in its path
	Kind    Kind
	Subject SubjectRule
	Fields  FieldSource // what its requests need beside the token; nil: nothing
}

// common is the part of an Upstream that is the same for all providers.
type common struct {
	routes   []Route
	endpoint *endpoint
	kinds    []kindRule // one for each kind of token
}

// newCommon returns what an upstream needs whose tokens are all of the kind of rule.
func newCommon(name string, c Config, rule kindRule) common {
	return common{c.routes(name, rule.kind, rule.subject), newEndpoint(name, c), []kindRule{rule}}
}

// Name implements [Upstream].
func (c *common) Name() string { return c.endpoint.upstream }

// Routes implements [Upstream].
func (c *common) Routes() []Route { return c.routes }

// Bind implements [Upstream].
func (c *common) Bind(token Token, _ Fingerprint) (Token, bool) { return token, true }

// CloseIdleConnections implements [Upstream].
func (c *common) CloseIdleConnections() { c.endpoint.client.CloseIdleConnections() }

// Key implements [Upstream]. The kind must be that of one of the routes.
func (c *common) Key(kind Kind, subject, scope string) (Key, error) {
	for i := range c.kinds {
		if rule := &c.kinds[i]; rule.kind == kind {
			return rule.key(c.endpoint.upstream, subject, scope)
		}
	}
	return Key{}, errKindUnknown
}

// Target is a further API host of an upstream, routed as "upstream.Name".
type Target struct {
	Name string
	URL  *url.URL
}

// Config holds the settings that every upstream has, each its own.
type Config struct {
	TokenURL        *url.URL       // token endpoint, RFC 6749 section 3.2
	Target          *url.URL       // of the main route
	Targets         []Target       // further routes; of the same kind of token unless the constructor says otherwise
	Scope           string         // default scope, space-separated
	AllowedScopes   string         // what a request may name beside Scope
	DefaultLifetime time.Duration  // of a token whose answer names none
	RefuseNarrow    bool           // an answer that grants less than was asked is an error
	Roots           *x509.CertPool // nil: the system's
	Egress          *egress.Proxy  // that leads to the token endpoint; nil: connections are direct
}

// routes returns the main route and one for each further target.
func (c Config) routes(name string, kind Kind, rule SubjectRule) []Route {
	all := []Route{{Name: name, Target: withoutSlash(c.Target), Kind: kind, Subject: rule}}
	for _, t := range c.Targets {
		all = append(all, Route{Name: name + "." + t.Name, Target: withoutSlash(t.URL), Kind: kind, Subject: rule})
	}
	return all
}

// withoutSlash returns u without a slash at the end of its path. It may be nil, in a
// configuration that is about to be refused.
func withoutSlash(u *url.URL) *url.URL {
	if u == nil || !strings.HasSuffix(u.Path, "/") {
		return u
	}
	trimmed := *u
	trimmed.Path = strings.TrimSuffix(u.Path, "/")
	return &trimmed
}
