package upstream

import (
	"crypto/rand"
	"fmt"
	"maps"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// assertionType is the client_assertion_type of RFC 7523 section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionLifetime is short: the assertion is used at once. Five minutes is
// the most that servers commonly take (SMART Backend Services).
const assertionLifetime = 200 * time.Second

// clockMargin is how far behind the server's clock may be before an iat or nbf lies in
// its future.
const clockMargin = 30 * time.Second

// assertion is a JWT of RFC 7523 section 3 before it is signed.
type assertion struct {
	issuer   string
	subject  string // empty: none is named
	audience string
	lifetime time.Duration
	issued   bool // says when it was issued (iat)
	header   map[string]any
	claims   map[string]any // further ones, none of the above
}

// sign returns the assertion, signed now by key. Each has a jti of its own: a server may
// refuse one it has seen, so every attempt signs anew.
func (a assertion) sign(key SigningKey) (string, error) {
	now := time.Now()
	// In seconds, as RFC 7519 section 2 has it and every MyDataHelps client sends it,
	// though that provider's table says milliseconds.
	claims := jwt.MapClaims{
		"iss": a.issuer,
		"aud": a.audience,
		"exp": now.Add(a.lifetime).Unix(),
		"jti": newUUID(),
	}
	if a.subject != "" {
		claims["sub"] = a.subject
	}
	if a.issued {
		claims["iat"] = now.Add(-clockMargin).Unix()
	}
	maps.Copy(claims, a.claims)
	token := jwt.NewWithClaims(key.method, claims)
	if key.id != "" {
		token.Header["kid"] = key.id
	}
	maps.Copy(token.Header, a.header)
	return token.SignedString(key.key)
}

// newUUID returns a random UUID, RFC 9562 section 5.4.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program first
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
