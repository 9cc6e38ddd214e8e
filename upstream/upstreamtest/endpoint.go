package upstreamtest

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
)

// NewEndpoint starts a provider with these rules. Like all of this package it is strict:
// a parameter or header field that is missing, wrong, unknown or there twice, another
// method, place or content type, and an assertion with anything else than its rules want
// are refused. Decided here, since providers differ: a wrong client is refused as
// RefusalStatus and RefusalCode say, and everything else with 400 invalid_request,
// invalid_scope or unsupported_grant_type (RFC 6749 section 5.2), a wrong content type with
// 415, a wrong method with 405. It panics if loopback has no free port.
func NewEndpoint(rules EndpointRules) *Server {
	rules.Name = cmp.Or(rules.Name, "endpoint")
	rules.Method = cmp.Or(rules.Method, http.MethodPost)
	rules.Body = cmp.Or(rules.Body, BodyForm)
	rules.Auth = cmp.Or(rules.Auth, AuthBasic)
	if rules.SubjectToken != nil {
		rules.Grant = "urn:ietf:params:oauth:grant-type:token-exchange"
		rules.SubjectTokenType = cmp.Or(rules.SubjectTokenType, "urn:ietf:params:oauth:token-type:access_token")
	}
	rules.Grant = cmp.Or(rules.Grant, "client_credentials")
	rules.RefusalStatus = cmp.Or(rules.RefusalStatus, http.StatusUnauthorized)
	rules.RefusalCode = cmp.Or(rules.RefusalCode, "invalid_client")
	if rules.Scopes == nil {
		rules.Scopes = []string{"read", "write"}
	}
	s := newServer(rules.Name, "client-"+rand.Text(), "secret-"+rand.Text()+rand.Text(), Options{
		Lifetime: rules.Lifetime, ClientID: rules.ClientID, ClientSecret: rules.ClientSecret, Scopes: rules.Scopes})
	p := &ruled{Server: s, rules: rules}
	s.other = p.serveMetadata
	if rules.ClientCertificate != nil {
		s.requireCertificates()
	}
	return s.start(p, []string{"/oauth/token"})
}

// ruled is what is special about a provider that is made of rules.
type ruled struct {
	*Server
	rules EndpointRules
}

// serveMetadata answers what is not a token request, and returns nil if it is one.
func (p *ruled) serveMetadata(r *http.Request) *Answer {
	text, known := p.rules.Metadata[r.URL.Path]
	switch {
	case !strings.Contains(r.URL.Path, "/.well-known/"):
		return nil
	case !known || r.Method != http.MethodGet:
		return textAnswer(http.StatusNotFound, "no such document")
	}
	return &Answer{Header: http.Header{"Content-Type": {"application/json"}}, Body: strings.ReplaceAll(text, "{issuer}", p.Issuer())}
}

func (p *ruled) subject(c *call) string {
	fields, a := p.parameters(c)
	if a != nil {
		return ""
	}
	return p.subjectOf(fields)
}

// subjectOf returns on whose behalf a token request is, "" if that is the client.
func (p *ruled) subjectOf(fields map[string]string) string {
	if p.rules.SubjectToken != nil {
		subject, _ := p.rules.SubjectToken(fields["subject_token"])
		return subject
	}
	if name := p.rules.SubjectParam; name != "" {
		return fields[name]
	}
	if p.rules.Assertion != nil && p.rules.Assertion.SubjectClaim != "" {
		return claimOf(p.assertionIn(fields), p.rules.Assertion.SubjectClaim)
	}
	return ""
}

func (p *ruled) exchange(c *call) *Answer {
	if c.r.Method != p.rules.Method {
		return textAnswer(http.StatusMethodNotAllowed, "wrong method").because("method_not_allowed", "method is not "+p.rules.Method)
	}
	fields, a := p.parameters(c)
	if a != nil {
		return a
	}
	for name, value := range p.rules.Headers {
		if given := c.r.Header.Values(name); len(given) != 1 || given[0] != value {
			return p.refuseClient("header field missing or wrong: " + name)
		}
	}
	if reason := p.wrongClient(c, fields); reason != "" {
		return p.refuseClient(reason)
	}
	if p.rules.Body == BodyNone {
		return p.issue(c, fields, strings.Join(p.rules.Scopes, " "))
	}
	if fields["grant_type"] != p.rules.Grant {
		return oauthRefusal(http.StatusBadRequest, "unsupported_grant_type", "grant_type is not "+p.rules.Grant)
	}
	if reason := p.wrongParameters(fields); reason != "" {
		return oauthRefusal(http.StatusBadRequest, "invalid_request", reason)
	}
	scope := fields["scope"]
	if p.rules.Assertion != nil && p.rules.Assertion.ScopeInside {
		scope = claimOf(p.assertionIn(fields), "scope")
	}
	if p.rules.Separator != "" && strings.Contains(scope, " ") {
		return oauthRefusal(http.StatusBadRequest, "invalid_scope", "scopes are not divided by "+p.rules.Separator)
	}
	if p.rules.Separator != "" {
		scope = strings.ReplaceAll(scope, p.rules.Separator, " ")
	}
	if scope == "" {
		scope = strings.Join(p.rules.Scopes, " ")
	} else if reason := wrongScope(scope, p.rules.Scopes); reason != "" {
		return oauthRefusal(http.StatusBadRequest, "invalid_scope", reason)
	}
	return p.issue(c, fields, scope)
}

// wrongParameters returns why the parameters are refused, "" if they are not. RFC 8693 section
// 2.2.2 has the same code for a subject token that is not accepted.
func (p *ruled) wrongParameters(fields map[string]string) string {
	if reason := wrongFields(fields, p.wanted(fields)...); reason != "" {
		return reason
	}
	for name, value := range p.rules.Params {
		if fields[name] != value {
			return "wrong parameter: " + name
		}
	}
	if p.rules.SubjectToken == nil {
		return ""
	}
	if _, good := p.rules.SubjectToken(fields["subject_token"]); !good || fields["subject_token_type"] != p.rules.SubjectTokenType {
		return "subject token is not accepted"
	}
	return ""
}

// refuseClient refuses a request whose client is not known to be the right one. Where the
// assertion is the grant, invalid_grant says so (RFC 7521 section 4.1.1).
func (p *ruled) refuseClient(reason string) *Answer {
	if p.isBearer() && p.rules.Auth == AuthNone {
		return oauthRefusal(http.StatusBadRequest, "invalid_grant", reason)
	}
	return oauthRefusal(p.rules.RefusalStatus, p.rules.RefusalCode, reason)
}

// issue answers with a new token.
func (p *ruled) issue(c *call, fields map[string]string, scope string) *Answer {
	token := newToken("at-")
	g := p.tokens.issue(token, Grant{Kind: KindClient, Client: p.id, Subject: p.subjectOf(fields), Scope: scope, Thumbprint: presented(c.r)})
	if p.rules.Text {
		return textAnswer(http.StatusOK, token).because(OutcomeIssued, "")
	}
	members := map[string]any{"access_token": token}
	if !p.rules.NoLifetime {
		members["expires_in"] = strconv.Itoa(g.expiresIn())
	}
	if p.rules.SubjectToken != nil {
		members["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token" // RFC 8693 section 2.2.1
	}
	if p.rules.TokenType != "-" {
		members["token_type"] = cmp.Or(p.rules.TokenType, "Bearer")
	}
	return jsonAnswer(http.StatusOK, members).because(OutcomeIssued, "")
}

func (p *ruled) api(_ string, r *http.Request, g *Grant, bodyBytes int64) *Answer {
	if p.rules.ClientCertificate != nil && !p.rules.ClientCertificate(presented(r)) {
		return textAnswer(http.StatusForbidden, "the certificate is of another client")
	}
	if g != nil && g.Thumbprint != presented(r) {
		g = nil // it is bound to another certificate (RFC 8705 section 3)
	}
	for name, value := range p.rules.TargetHeaders {
		if given := r.Header.Values(name); len(given) != 1 || given[0] != value {
			return textAnswer(http.StatusForbidden, "header field missing or wrong: "+name)
		}
	}
	if g == nil {
		a := jsonAnswer(http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
		a.Header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		return a
	}
	return p.echo(r, g, bodyBytes)
}
