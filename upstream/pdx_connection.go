package upstream

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// pdxConnection is the FieldSource of PDX's First Time Connection, by which a person's data
// store is connected with the organisation's Dedicated Connection. Such a request proves the
// organisation by two headers: a short access token, which PDX gives to everybody who names
// the connection and which is good for one request, and a hash of it with the connection
// token (Mydex developer-api-examples, the same in three languages).
type pdxConnection struct {
	endpoint *endpoint // of short access tokens, with connections of its own
	target   *url.URL
	nid      string
	token    Secret
}

// newPDXConnection returns the FieldSource for requests to target.
func newPDXConnection(c PDXConfig, target *url.URL) *pdxConnection {
	return &pdxConnection{newEndpoint("pdx", c.Config), target, c.ConnectionNID, c.ConnectionToken}
}

// The headers of a First Time Connection beside Authorization.
const (
	pdxAuthentication = "Authentication"
	pdxShortToken     = "Short-Access-Token"
)

// pdxConnectionPaths are the paths to which a First Time Connection is sent by POST: for a
// person who has a data store, for one who gets a new one, and to change a connection.
var pdxConnectionPaths = []string{"/api/connection", "/api/pds", "/api/connection/update"}

// Fields implements [FieldSource]: it asks for a short access token for each First Time
// Connection. An app that sends one of the headers itself makes both.
func (c *pdxConnection) Fields(ctx context.Context, method, path string, own http.Header) ([]Field, error) {
	if method != http.MethodPost || !slices.Contains(pdxConnectionPaths, path) || own[pdxAuthentication] != nil || own[pdxShortToken] != nil {
		return nil, nil
	}
	short, err := c.shortToken(ctx)
	if err != nil {
		return nil, err
	}
	return []Field{
		{pdxAuthentication, NewSecret(sha512Hex(short + c.token.Reveal()))},
		{pdxShortToken, NewSecret(short)},
	}, nil
}

// Try implements [FieldTrier].
func (c *pdxConnection) Try(ctx context.Context) error {
	_, err := c.shortToken(ctx)
	return err
}

// shortToken asks for a short access token, by GET and without any credential. The error is
// an *Error.
func (c *pdxConnection) shortToken(ctx context.Context) (string, error) {
	address := c.target.JoinPath("access-token", url.PathEscape(c.nid)).String()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", c.endpoint.fail(ClassUnavailable, 0, "the request for a short access token cannot be built")
	}
	a, err := c.endpoint.do(req)
	if err != nil {
		return "", err
	}
	if a.status != http.StatusOK {
		refused := c.endpoint.fail(classOfStatus(a.status), a.status, "no short access token is given")
		refused.RetryAfter = a.retry
		return "", refused
	}
	short, ok := a.shortToken()
	if !ok {
		return "", c.endpoint.fail(ClassMalformed, a.status, "the answer is not a short access token")
	}
	return short, nil
}

// maxShortToken bounds a short access token, in bytes.
const maxShortToken = 1024

// shortToken reads an answer that is a JSON string, or an object with the string token,
// which one of Mydex's examples takes as well. It reports false for any other.
func (a answer) shortToken() (short string, ok bool) {
	if a.members != nil {
		short = a.text("token")
	} else if json.Unmarshal(a.body, &short) != nil {
		return "", false
	}
	visible := !strings.ContainsFunc(short, func(r rune) bool { return r <= ' ' || r > '~' })
	return short, visible && short != "" && len(short) <= maxShortToken
}

// PDXConnectionHash returns the hash of a connection token that the body of a First Time
// Connection carries as connection_token_hash.
func PDXConnectionHash(connectionToken Secret) string { return sha512Hex(connectionToken.Reveal()) }

// sha512Hex returns the SHA-512 of text in lower-case hexadecimal.
func sha512Hex(text string) string {
	sum := sha512.Sum512([]byte(text))
	return hex.EncodeToString(sum[:])
}
