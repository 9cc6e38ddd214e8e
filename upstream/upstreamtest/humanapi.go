package upstreamtest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
)

const (
	connectPath = "/v1/connect/token"
	hipPath     = "/v1/admin/token"
)

// NewHumanAPI starts a simulated Human API (Human API pages "Retrieve user
// access token" and "Admin API"; OpenAPI files of its auth and admin APIs).
//
// Token requests are JSON. A connect client asks for tokens of type access at
// one path; a client with Options.HIP asks for type access or client at the
// other. A client token comes in the member client_token, without token_type.
// The main API host is the data API, which takes access tokens; "admin" takes
// client tokens.
//
// Decided here, since no source says so: the error code comes in errorCode,
// with 401 for a wrong credential, 403 where the client or user is not
// allowed, else 400; a malformed request is 400 without errorCode, another
// Content-Type 415; type id_token and session are INVALID_TOKEN_TYPE, since
// their answers are not documented; a client at the other contract's path is
// NOT_AUTHORIZED, or CLIENT_TOKEN_GENERATION_NOT_ALLOWED if it asks for a
// client token; the data API answers 401 in the shape of the admin API. It
// panics if loopback has no free port.
func NewHumanAPI(o Options) *Server {
	s := newServer("humanapi", "cid-"+rand.Text(), "cs-"+rand.Text(), o)
	paths := []string{connectPath, hipPath}
	if o.HIP {
		slices.Reverse(paths)
	}
	return s.start(&humanAPI{s}, paths, "admin")
}

// humanAPI is what is special about the simulated Human API.
type humanAPI struct{ *Server }

// humanRequest holds the members of a token request that decide.
type humanRequest struct {
	ClientID     string   `json:"client_id"`
	ClientSecret string   `json:"client_secret"`
	ClientUserID string   `json:"client_user_id"`
	Email        string   `json:"client_user_email"`
	ExtraScopes  []string `json:"extra_scopes"`
	Type         string   `json:"type"`
}

func (*humanAPI) subject(c *call) string {
	var r humanRequest
	_ = json.Unmarshal([]byte(c.body), &r)
	return r.ClientUserID
}

func (h *humanAPI) exchange(c *call) *Answer {
	r, a := h.parse(c)
	if a != nil {
		return a
	}
	known := h.opts.KnowsClient != nil && h.opts.KnowsClient(r.ClientID, r.ClientSecret)
	switch {
	case !known && r.ClientID != h.id:
		return humanError(http.StatusUnauthorized, "INVALID_CLIENT_ID", "Invalid client_id")
	case !known && r.ClientSecret != h.secret:
		return humanError(http.StatusUnauthorized, "INVALID_CLIENT_ID_OR_SECRET", "Invalid client_id or client_secret")
	case r.Type != "access" && (r.Type != "client" || c.r.URL.Path != hipPath):
		return humanError(http.StatusBadRequest, "INVALID_TOKEN_TYPE", "The specified token type parameter is invalid")
	case r.Type == "client":
		return h.clientToken(r)
	case c.r.URL.Path != h.tokenPaths[0]:
		return humanError(http.StatusForbidden, "NOT_AUTHORIZED", "Not authorized to perform this action")
	}
	return h.accessToken(r)
}

// parse returns the request if its members are the documented ones. Those that
// depend on type are client_user_id and, at the connect path only, the e-mail
// and extra scopes.
func (h *humanAPI) parse(c *call) (humanRequest, *Answer) {
	var r humanRequest
	if c.mediaType() != "application/json" {
		return r, humanMalformed(http.StatusUnsupportedMediaType, "Content-Type is not application/json")
	}
	if c.r.URL.RawQuery != "" || len(c.r.Header.Values("Authorization")) > 0 {
		return r, humanMalformed(http.StatusBadRequest, "credentials belong into the body alone")
	}
	given, reason := members(c.body)
	if reason == "" && json.Unmarshal([]byte(c.body), &r) != nil {
		reason = "a member has the wrong type"
	}
	if reason != "" {
		return r, humanMalformed(http.StatusBadRequest, reason)
	}
	required := []string{"client_id", "client_secret", "type"}
	if r.Type != "client" {
		required = append(required, "client_user_id")
	}
	allowed := required
	if c.r.URL.Path == connectPath {
		allowed = append(slices.Clone(required), "client_user_email", "extra_scopes")
	}
	for name := range given {
		if !slices.Contains(allowed, name) {
			return r, humanMalformed(http.StatusBadRequest, "unknown member: "+name)
		}
	}
	for _, name := range required {
		if value := string(given[name]); value == "" || value == `""` || value == "null" {
			return r, humanMalformed(http.StatusBadRequest, "member missing: "+name)
		}
	}
	return r, nil
}

func (h *humanAPI) clientToken(r humanRequest) *Answer {
	if !h.opts.HIP || h.opts.NoClientTokens {
		return humanError(http.StatusForbidden, "CLIENT_TOKEN_GENERATION_NOT_ALLOWED", "client_id is not allowed to generate client tokens")
	}
	token := jwtLooking()
	g := h.tokens.issue(token, Grant{Kind: KindClient, Client: r.ClientID, Secret: r.ClientSecret})
	return jsonAnswer(http.StatusOK, map[string]any{"client_token": token, "expires_in": g.expiresIn()}).because(OutcomeIssued, "")
}

func (h *humanAPI) accessToken(r humanRequest) *Answer {
	if !allows(h.opts.KnowsUser, r.ClientUserID) {
		return humanError(http.StatusBadRequest, "UNKNOWN_CLIENT_USER_ID", "Unknown client_user_id")
	}
	if !allows(h.opts.ConnectedUser, r.ClientUserID) {
		return humanError(http.StatusForbidden, "ACCESS_TOKEN_GENERATION_NOT_ALLOWED", "User is not allowed to generate access tokens")
	}
	token, refresh := "hapi-"+rand.Text()+rand.Text(), "atrt-"+rand.Text()
	if h.opts.NewToken != nil {
		token, refresh = h.opts.NewToken(), h.opts.NewToken()
	}
	g := h.tokens.issue(token, Grant{Kind: KindAccess, Client: r.ClientID, Secret: r.ClientSecret, Subject: r.ClientUserID})
	return jsonAnswer(http.StatusOK, map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": g.expiresIn(), "refresh_token": refresh,
	}).because(OutcomeIssued, "")
}

func (h *humanAPI) api(host string, r *http.Request, g *Grant, bodyBytes int64) *Answer {
	kind := KindAccess
	if host == "admin" {
		kind = KindClient
	}
	if g == nil || g.Kind != kind {
		return jsonAnswer(http.StatusUnauthorized, map[string]any{
			"code": 401, "error": "Unauthorized", "message": "Cannot authenticate you with this token",
			"x-humanapi-request-id": rand.Text(),
		})
	}
	return h.echo(r, g, bodyBytes)
}

func humanError(status int, code, message string) *Answer {
	return jsonAnswer(status, map[string]string{"errorCode": code, "message": message}).because(code, message)
}

func humanMalformed(status int, reason string) *Answer {
	return jsonAnswer(status, map[string]any{
		"statusCode": status, "error": http.StatusText(status), "message": reason,
	}).because("malformed", reason)
}

// jwtLooking returns a token in the outer form of a JWT; nobody verifies it.
func jwtLooking() string {
	signature := make([]byte, 256)
	_, _ = rand.Read(signature) // never fails
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode([]byte(`{"jti":"`+rand.Text()+`"}`)) + "." + encode(signature)
}
