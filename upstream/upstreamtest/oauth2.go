package upstreamtest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Ways for a client to authenticate at a generic token endpoint. RFC 7591
// section 2 calls the first two client_secret_basic and client_secret_post.
const (
	AuthBasic         = "basic"           // RFC 6749 section 2.3.1, header
	AuthPost          = "post"            // RFC 6749 section 2.3.1, body
	AuthPrivateKeyJWT = "private_key_jwt" // RFC 7523 section 2.2
)

// OAuth2Options shape a generic OAuth 2.0 provider.
type OAuth2Options struct {
	// Name of the provider in Echo. Empty: oauth2.
	Name string
	// Auth is the only way to authenticate that the provider takes. Empty: AuthBasic.
	Auth string
	// Lifetime of tokens, as in Options.
	Lifetime time.Duration
	// KeepExpired, as in Options.
	KeepExpired bool
	// ClientID and ClientSecret replace the made-up credential. Empty: made up.
	ClientID, ClientSecret string
	// Scopes that the client may ask for; all are granted if it asks for none.
	// Nil: read and write.
	Scopes []string
}

// NewOAuth2 starts a provider of the client credentials grant (RFC 6749
// section 4.4). Its made-up client id and secret hold reserved characters,
// which the Basic header must carry URL-encoded. Client assertions must name
// the token URL as a single string in aud, not as a list. Error answers follow section
// 5.2: 401 for invalid_client, else 400. Its API answers 401 as RFC 6750
// section 3 has it. It panics if Auth is unknown or loopback has no free port.
func NewOAuth2(o OAuth2Options) *Server {
	if o.Name == "" {
		o.Name = "oauth2"
	}
	if o.Auth == "" {
		o.Auth = AuthBasic
	}
	if !slices.Contains([]string{AuthBasic, AuthPost, AuthPrivateKeyJWT}, o.Auth) {
		panic(fmt.Sprintf("upstreamtest: no client authentication %q", o.Auth))
	}
	if o.Scopes == nil {
		o.Scopes = []string{"read", "write"}
	}
	id, secret := "client:made up/"+rand.Text(), reservedSecret()
	s := newServer(o.Name, id, secret, Options{Lifetime: o.Lifetime, KeepExpired: o.KeepExpired, ClientID: o.ClientID, ClientSecret: o.ClientSecret, Scopes: o.Scopes})
	if o.Auth == AuthPrivateKeyJWT {
		s.secret = ""
	}
	return s.start(&oauth2{s, o.Auth}, []string{"/oauth/token"})
}

// reservedSecret returns a secret that arrives whole only if it was encoded
// where it must be.
func reservedSecret() string { return rand.Text()[:8] + "+/%:&= " + rand.Text() }

// oauth2 is what is special about the simulated generic provider.
type oauth2 struct {
	*Server
	auth string
}

func (*oauth2) subject(*call) string { return "" }

func (p *oauth2) exchange(c *call) *Answer {
	fields, reason := c.form()
	if reason != "" {
		return oauthRefusal(http.StatusBadRequest, "invalid_request", reason)
	}
	known, reason := p.authenticate(c, fields)
	if reason != "" {
		a := oauthRefusal(http.StatusUnauthorized, "invalid_client", reason)
		if p.auth == AuthBasic {
			a.Header.Set("WWW-Authenticate", `Basic realm="`+p.name+`"`)
		}
		return a
	}
	if a := wrongGrant(fields); a != nil {
		return a
	}
	names := append(known, "grant_type")
	if _, given := fields["scope"]; given {
		names = append(names, "scope")
	}
	if reason := wrongFields(fields, names...); reason != "" {
		return oauthRefusal(http.StatusBadRequest, "invalid_request", reason)
	}
	scope, given := fields["scope"]
	if !given {
		scope = strings.Join(p.opts.Scopes, " ")
	} else if reason := wrongScope(scope, p.opts.Scopes); reason != "" {
		return oauthRefusal(http.StatusBadRequest, "invalid_scope", reason)
	}
	return p.issueClient("Bearer", newToken("at+"), scope)
}

// authenticate returns the fields that belong to the client's authentication,
// and why it is refused, "" if it is not.
func (p *oauth2) authenticate(c *call, fields map[string]string) (names []string, reason string) {
	header := len(c.r.Header.Values("Authorization")) > 0
	switch p.auth {
	case AuthBasic:
		if id, secret, ok := c.basicEncoded(); !ok || id != p.id || secret != p.secret {
			return nil, "Basic credentials are not the URL-encoded id and secret"
		}
		return nil, ""
	case AuthPost:
		if header || fields["client_id"] != p.id || fields["client_secret"] != p.secret {
			return nil, "client_id and client_secret are not in the body alone, or wrong"
		}
		return []string{"client_id", "client_secret"}, ""
	}
	names = []string{"client_assertion_type", "client_assertion"}
	if id, given := fields["client_id"]; given { // optional: RFC 7521 section 4.2
		if id != p.id {
			return nil, "client_id is not the subject of the assertion"
		}
		names = append(names, "client_id")
	}
	if header || fields["client_assertion_type"] != assertionType {
		return nil, "not authenticated by client_assertion alone"
	}
	return names, p.wrongAssertion(fields["client_assertion"])
}

func (p *oauth2) api(_ string, r *http.Request, g *Grant, bodyBytes int64) *Answer {
	if g == nil {
		a := jsonAnswer(http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
		a.Header.Set("WWW-Authenticate", `Bearer realm="`+p.name+`", error="invalid_token"`)
		return a
	}
	return p.echo(r, g, bodyBytes)
}

// wrongGrant returns the refusal of a grant_type other than client credentials.
func wrongGrant(fields map[string]string) *Answer {
	switch fields["grant_type"] {
	case "client_credentials":
		return nil
	case "":
		return oauthRefusal(http.StatusBadRequest, "invalid_request", "field missing: grant_type")
	}
	return oauthRefusal(http.StatusBadRequest, "unsupported_grant_type", "grant_type is not client_credentials")
}

// oauthRefusal is an error answer of RFC 6749 section 5.2 with a description.
func oauthRefusal(status int, code, reason string) *Answer {
	return jsonAnswer(status, map[string]string{"error": code, "error_description": reason}).because(code, reason)
}

// issueClient issues a token of the client itself and answers as RFC 6749
// section 5.1 has it.
func (s *Server) issueClient(tokenType, token, scope string) *Answer {
	g := s.tokens.issue(token, Grant{Kind: KindClient, Client: s.id, Scope: scope})
	return jsonAnswer(http.StatusOK, map[string]any{
		"access_token": token, "token_type": tokenType, "expires_in": g.expiresIn(), "scope": scope,
	}).because(OutcomeIssued, "")
}

// newToken returns an unguessable token that uses every character of RFC 6750
// section 2.1 sooner or later.
func newToken(prefix string) string {
	random := make([]byte, 31) // ends in padding
	_, _ = rand.Read(random)   // never fails
	return prefix + base64.StdEncoding.EncodeToString(random)
}
