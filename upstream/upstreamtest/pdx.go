package upstreamtest

import (
	"net/http"
	"slices"
	"strings"
)

// NewPDX starts a simulated Mydex PDX (Mydex PDX overview; the Mydex
// developer-api-examples repository; OpenAPI files of its PDX and IDaaS SDKs).
// Token requests carry the client's id and secret URL-encoded in Basic
// authentication, and a scope that holds mydex:pdx. Errors are those of ORY
// Hydra: 401 invalid_client, else 400.
//
// Its API hosts are the main one and "idaas". A request whose method and path
// are the name of one of Options.Scopes, as get:/api/pds/mam, needs that scope
// in its token; without it the answer is 401, as for an expired token.
//
// With Options.ConnectionNID the main API host gives short access tokens, by GET
// /access-token/{NID} to whoever sends no credential, and takes First Time Connections:
// POST /api/connection, /api/pds and /api/connection/update, with Authentication =
// hex(sha512(short token + connection token)), Short-Access-Token, and a JSON body with
// connection_token_hash = hex(sha512(connection token)) (developer-api-examples).
//
// Decided here, since no source says so: a scope without mydex:pdx is
// invalid_scope. A short access token is good for one request, whatever its answer.
// Headers of a First Time Connection that are not right are answered 401 like a bad
// token, a body that is not 400; the members of a body are strings, none of them empty,
// and there are no others. One that is right is answered like any API request. It panics if loopback has no free port.
func NewPDX(o Options) *Server {
	if o.Scopes == nil {
		o.Scopes = []string{
			"mydex:identifiers", "mydex:scotaccount", "mydex:myaccount",
			"get:/api/pds/mam", "post:/api/pds/mam/add-person", "post:/api/pds/add-measurements",
		}
	}
	o.Scopes = append(slices.Clone(o.Scopes), pdxScope) // every client has it
	s := newServer("pdx", "6f1c1a52-7a0e-4d6b-9c57-3f2d0c8b1e90", reservedSecret(), o)
	return s.start(&pdx{s}, []string{"/oauth2/token"}, "idaas")
}

const pdxScope = "mydex:pdx"

// pdx is what is special about the simulated Mydex PDX.
type pdx struct{ *Server }

func (*pdx) subject(*call) string { return "" }

func (p *pdx) exchange(c *call) *Answer {
	fields, reason := c.form()
	if reason != "" {
		return oauthRefusal(http.StatusBadRequest, "invalid_request", reason)
	}
	if id, secret, ok := c.basicEncoded(); !ok || id != p.id || secret != p.secret {
		return oauthRefusal(http.StatusUnauthorized, "invalid_client", "Basic credentials are not the URL-encoded id and secret")
	}
	if a := wrongGrant(fields); a != nil {
		return a
	}
	scope, given := fields["scope"]
	if !given {
		return oauthRefusal(http.StatusBadRequest, "invalid_scope", "scope missing")
	}
	if reason := wrongFields(fields, "grant_type", "scope"); reason != "" {
		return oauthRefusal(http.StatusBadRequest, "invalid_request", reason)
	}
	if reason := wrongScope(scope, p.opts.Scopes); reason != "" {
		return oauthRefusal(http.StatusBadRequest, "invalid_scope", reason)
	}
	if !hasScope(scope, pdxScope) {
		return oauthRefusal(http.StatusBadRequest, "invalid_scope", "scope lacks "+pdxScope)
	}
	return p.issueClient("bearer", newToken("mdx-"), scope)
}

func (p *pdx) api(_ string, r *http.Request, g *Grant, bodyBytes int64) *Answer {
	if g == nil {
		return pdxDenied("The token is invalid or expired")
	}
	route := strings.ToLower(r.Method) + ":" + r.URL.EscapedPath()
	if slices.Contains(p.opts.Scopes, route) && !hasScope(g.Scope, route) {
		return pdxDenied("Unable to authorize the request. Please make sure you send an OAuth2.0 bearer token or an API key.")
	}
	return p.echo(r, g, bodyBytes)
}

func hasScope(scope, item string) bool { return slices.Contains(strings.Split(scope, " "), item) }
