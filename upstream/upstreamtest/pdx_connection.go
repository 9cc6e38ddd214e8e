package upstreamtest

import (
	"crypto/rand"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
)

// connections is what PDX knows of First Time Connections.
type connections struct {
	mu     sync.Mutex      // guards the fields below
	issued []string        // short access tokens, oldest first
	unused map[string]bool // of them, those that no request has brought
	made   int
}

// ShortTokens returns the short access tokens that PDX has issued, oldest first.
func (s *Server) ShortTokens() []string {
	s.connections.mu.Lock()
	defer s.connections.mu.Unlock()
	return slices.Clone(s.connections.issued)
}

// ConnectionsMade returns how many First Time Connections PDX has taken.
func (s *Server) ConnectionsMade() int {
	s.connections.mu.Lock()
	defer s.connections.mu.Unlock()
	return s.connections.made
}

// issue makes a short access token.
func (c *connections) issue() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unused == nil {
		c.unused = map[string]bool{}
	}
	short := "short-" + rand.Text()
	c.issued = append(c.issued, short)
	c.unused[short] = true
	return short
}

// use reports whether a short access token was issued and not used before.
func (c *connections) use(short string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	unused := c.unused[short]
	delete(c.unused, short)
	return unused
}

// connectionMembers are the members of the body of a First Time Connection, by its path.
var connectionMembers = map[string][]string{
	"/api/connection":        {"mydexid", "connection_nid", "connection_token_hash", "return_to"},
	"/api/pds":               {"mydexid", "connection_nid", "connection_token_hash", "return_to"},
	"/api/connection/update": {"mydexid", "connection_nid", "connection_token_hash", "return_to", "version"},
}

// connect answers what belongs to First Time Connections, and returns nil for any other
// request. Its host is the main one.
func (p *pdx) connect(host string, r *http.Request, g *Grant) *Answer {
	path := r.URL.EscapedPath()
	switch {
	case p.opts.ConnectionNID == "" || host != "":
		return nil
	case r.Method == http.MethodGet && path == "/access-token/"+p.opts.ConnectionNID:
		return p.shortToken(r)
	case r.Method == http.MethodPost && connectionMembers[path] != nil:
		return p.firstTimeConnection(r, g, connectionMembers[path])
	}
	return nil
}

// shortToken issues a short access token to a request that carries nothing.
func (p *pdx) shortToken(r *http.Request) *Answer {
	for _, name := range []string{"Authorization", "Authentication", "Short-Access-Token", "Connection-Token", "Cookie"} {
		if r.Header[name] != nil {
			return jsonAnswer(http.StatusBadRequest, "a short access token is given without "+name)
		}
	}
	if r.URL.RawQuery != "" || r.ContentLength != 0 {
		return jsonAnswer(http.StatusBadRequest, "a short access token is asked for without parameters")
	}
	short := p.connections.issue()
	if p.opts.ShortTokenObject {
		return jsonAnswer(http.StatusOK, map[string]string{"token": short})
	}
	return jsonAnswer(http.StatusOK, short)
}

// firstTimeConnection judges each byte of the three headers and the body.
func (p *pdx) firstTimeConnection(r *http.Request, g *Grant, names []string) *Answer {
	body, refused := readCall(nil, r)
	if refused != nil {
		return refused
	}
	short, authentication := r.Header["Short-Access-Token"], r.Header["Authentication"]
	unused := len(short) == 1 && p.connections.use(short[0])
	switch {
	case g == nil:
		return pdxDenied("The token is invalid or expired")
	case !unused:
		return pdxDenied("Short-Access-Token is missing, unknown or used")
	case len(authentication) != 1 || authentication[0] != sha512Hex(short[0]+p.opts.ConnectionToken):
		return pdxDenied("Authentication is not the hash of both tokens")
	case body.mediaType() != "application/json":
		return jsonAnswer(http.StatusBadRequest, "Content-Type is not application/json")
	}
	if reason := p.wrongConnection(body.body, names); reason != "" {
		return jsonAnswer(http.StatusBadRequest, reason)
	}
	p.connections.mu.Lock()
	p.connections.made++
	p.connections.mu.Unlock()
	return p.echo(r, g, int64(len(body.body)))
}

// wrongConnection returns why a body is not that of a First Time Connection; "" if it is.
func (p *pdx) wrongConnection(body string, names []string) string {
	found, reason := members(body)
	if reason != "" {
		return reason
	}
	fields := map[string]string{}
	for name, raw := range found {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return "not a string: " + name
		}
		fields[name] = text
	}
	switch reason := wrongFields(fields, names...); {
	case reason != "":
		return reason
	case fields["connection_nid"] != p.opts.ConnectionNID:
		return "connection_nid is not that of the connection"
	case fields["connection_token_hash"] != sha512Hex(p.opts.ConnectionToken):
		return "connection_token_hash is not the hash of the connection token"
	}
	return ""
}

// pdxDenied is how PDX refuses a request to its API.
func pdxDenied(reason string) *Answer {
	return jsonAnswer(http.StatusUnauthorized, map[string]any{
		"error": map[string]string{"message": "Access denied", "reason": reason},
	})
}

func sha512Hex(text string) string {
	sum := sha512.Sum512([]byte(text))
	return hex.EncodeToString(sum[:])
}
