package upstreamtest

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// NewOCLC starts a simulated OCLC (OCLC client credentials page, HMAC
// signature page and error handling page; the bookops-worldcat and oclc-auth
// clients).
//
// Token requests carry grant_type and scope in the query, an empty body with
// Content-Length: 0, Accept: application/json, and Basic authentication with
// WSKey and secret as they are: the secret looks like base64, and a
// URL-encoded one is refused. The context institution is a scope item
// context:<registry id>. With Options.FormBody the two fields come in a form
// body instead; with Options.LegacyHMAC requests are signed and sent to the
// older endpoint's path.
//
// A wrong credential is answered 401, a scope not on the key 403, and a scope
// outside Options.GrantOnly is silently not granted. Its API hosts are the
// main one and "discovery".
//
// Decided here, since no source says so: a missing Content-Length is 411, a
// missing Accept 406, malformed parameters 400; an institution that is not on
// the key is refused like any other scope item (by the older endpoint with
// unauthorized_client); a token without a context is for institution 128807;
// a scope of which nothing is granted is 403; a signature's timestamp may be
// 5 minutes off. It panics if loopback has no free port.
func NewOCLC(o Options) *Server {
	if o.Scopes == nil {
		o.Scopes = []string{
			"WorldCatMetadataAPI", "WorldCatMetadataAPI:view_brief_bib", "wcapi", "wcapi:view_holdings",
			"wcapi:view_institution_holdings", "WMS_ACQ", "WMS_NCIP", "configPlatform", "SCIM",
		}
	}
	random := make([]byte, 25)
	_, _ = rand.Read(random) // never fails
	secret := base64.StdEncoding.EncodeToString(random)
	s := newServer("oclc", "WSKeyMadeUp"+rand.Text(), secret, o)
	if o.LegacyHMAC {
		return s.start(&oclcHMAC{s}, []string{"/oauth2/accessToken"}, "discovery")
	}
	return s.start(&oclc{s}, []string{"/token"}, "discovery")
}

const (
	oclcContext = "context:" // precedes a registry id among scope items
	oclcHome    = "128807"   // institution of a token without a context
)

// oclc is what is special about the simulated OCLC.
type oclc struct{ *Server }

func (p *oclc) subject(c *call) string {
	encoded := c.r.URL.RawQuery
	if p.opts.FormBody {
		encoded = c.body
	}
	fields, _ := parseFields(encoded)
	_, institution, _ := splitContext(strings.Split(fields["scope"], " "))
	return institution
}

func (p *oclc) exchange(c *call) *Answer {
	if !c.acceptsJSON() {
		return oclcError(http.StatusNotAcceptable, "Accept: application/json missing")
	}
	fields, a := p.parameters(c)
	if a != nil {
		return a
	}
	if id, secret, ok := c.basic(); !ok || id != p.id || secret != p.secret {
		return oclcError(http.StatusUnauthorized, "No valid authentication credentials found in request")
	}
	if reason := wrongFields(fields, "grant_type", "scope"); reason != "" {
		return oclcError(http.StatusBadRequest, reason)
	}
	if fields["grant_type"] != "client_credentials" {
		return oclcError(http.StatusBadRequest, "grant_type is not client_credentials")
	}
	return p.grant(fields["scope"])
}

// parameters returns the fields of the request from where they must be.
func (p *oclc) parameters(c *call) (fields map[string]string, refusal *Answer) {
	reason := ""
	if p.opts.FormBody {
		fields, reason = c.form()
	} else {
		if a := notEmpty(c); a != nil {
			return nil, a
		}
		fields, reason = parseFields(c.r.URL.RawQuery)
	}
	if reason != "" {
		return nil, oclcError(http.StatusBadRequest, reason)
	}
	return fields, nil
}

// notEmpty refuses a request that does not announce its empty body.
func notEmpty(c *call) *Answer {
	switch {
	case c.body != "":
		return oclcError(http.StatusBadRequest, "body is not empty")
	case !slices.Equal(c.r.Header.Values("Content-Length"), []string{"0"}):
		return oclcError(http.StatusLengthRequired, "Content-Length: 0 missing")
	}
	return nil
}

func (p *oclc) grant(scope string) *Answer {
	items, ok := splitScope(scope)
	if !ok {
		return oclcError(http.StatusBadRequest, "scope is not a list of single items one space apart")
	}
	services, institution, ok := splitContext(items)
	if !ok || len(services) == 0 {
		return oclcError(http.StatusBadRequest, "scope needs a service and takes one context")
	}
	var invalid []string
	for _, item := range services {
		if !slices.Contains(p.opts.Scopes, item) {
			invalid = append(invalid, item)
		}
	}
	if institution != "" && !p.onKey(institution) {
		invalid = append(invalid, oclcContext+institution)
	}
	if len(invalid) > 0 {
		return invalidScopes(invalid)
	}
	granted := p.granted(items)
	if left, _, _ := splitContext(granted); len(left) == 0 {
		return invalidScopes(services)
	}
	return p.issueOCLC(institution, strings.Join(granted, " "))
}

// granted returns the items that are granted of those asked for.
func (s *Server) granted(items []string) []string {
	if s.opts.GrantOnly == nil {
		return items
	}
	return slices.DeleteFunc(slices.Clone(items), func(item string) bool {
		return !strings.HasPrefix(item, oclcContext) && !slices.Contains(s.opts.GrantOnly, item)
	})
}

// onKey reports whether the WSKey is good for the institution; registry ids are numbers.
func (s *Server) onKey(institution string) bool {
	_, err := strconv.ParseUint(institution, 10, 32)
	return err == nil && allows(s.opts.InstitutionOnKey, institution)
}

// issueOCLC answers with the very members that the live service was seen to send.
func (s *Server) issueOCLC(institution, scope string) *Answer {
	token := "tk_" + rand.Text() + rand.Text()
	g := s.tokens.issue(token, Grant{Kind: KindClient, Client: s.id, Subject: institution, Scope: scope})
	var expiresIn any = g.expiresIn()
	if s.opts.ExpiresInString {
		expiresIn = strconv.Itoa(g.expiresIn())
	}
	if institution == "" {
		institution = oclcHome
	}
	return jsonAnswer(http.StatusOK, map[string]any{
		"access_token": token, "token_type": "bearer",
		"expires_in": expiresIn, "expires_at": g.Expiry.UTC().Format("2006-01-02 15:04:05Z"),
		"scope": scope, "scopes": scope,
		"authenticating_institution_id": oclcHome, "context_institution_id": institution,
		"principalID": "", "principalIDNS": "",
	}).because(OutcomeIssued, "")
}

func (p *oclc) api(_ string, r *http.Request, g *Grant, bodyBytes int64) *Answer {
	return p.oclcAPI(r, g, bodyBytes)
}

func (s *Server) oclcAPI(r *http.Request, g *Grant, bodyBytes int64) *Answer {
	if g == nil {
		return jsonAnswer(http.StatusUnauthorized, map[string]string{"message": "Unauthorized"})
	}
	return s.echo(r, g, bodyBytes)
}

// splitContext parts services from the context institution. It is false if
// there is more than one context.
func splitContext(items []string) (services []string, institution string, ok bool) {
	contexts := 0
	for _, item := range items {
		if id, is := strings.CutPrefix(item, oclcContext); is {
			institution = id
			contexts++
		} else {
			services = append(services, item)
		}
	}
	return services, institution, contexts <= 1 && (contexts == 0 || institution != "")
}

func invalidScopes(items []string) *Answer {
	var list []string
	for _, item := range items {
		list = append(list, item+" ("+item+") [Invalid service specified, Not on key]")
	}
	return oclcError(http.StatusForbidden, "Invalid scope(s): "+strings.Join(list, ", "))
}

func oclcError(status int, message string) *Answer {
	return jsonAnswer(status, map[string]any{"code": status, "message": message}).because(strconv.Itoa(status), message)
}
