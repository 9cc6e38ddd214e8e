package upstream

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// assertionType is the client_assertion_type of RFC 7523 section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionLifetime is short: the assertion is used at once. Five minutes is
// the most that servers commonly take (SMART Backend Services).
const assertionLifetime = 200 * time.Second

// assertionSigner signs JWTs that prove a client (RFC 7523 section 3).
type assertionSigner struct {
	issuer   string // iss and sub
	audience string // aud: the token endpoint
	key      Secret // PEM
	lifetime time.Duration
}

// message returns a form of fields and an assertion. It signs anew for each time that
// the request is sent. The error is that of the key.
func (a assertionSigner) message(fields url.Values) (message, error) {
	fields.Set("client_assertion_type", assertionType)
	sign := func() ([]byte, error) {
		jwt, err := a.sign()
		fields.Set("client_assertion", jwt)
		return []byte(fields.Encode()), err
	}
	body, err := sign()
	return message{contentType: formType, body: body, newBody: sign}, err
}

// sign returns a new RS256 assertion. Each has a jti of its own: a server may
// refuse one it has seen, so every attempt signs anew.
func (a assertionSigner) sign() (string, error) {
	key, err := ParsePrivateKey(a.key.Reveal())
	if err != nil {
		return "", err
	}
	// exp in seconds, as RFC 7519 section 2 has it and every MyDataHelps
	// client sends it, though that provider's table says milliseconds. No iat:
	// a clock that runs ahead would make it lie in the server's future.
	claims := jwt.MapClaims{
		"iss": a.issuer,
		"sub": a.issuer,
		"aud": a.audience,
		"exp": time.Now().Add(a.lifetime).Unix(),
		"jti": newUUID(),
	}
	return jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
}

// newUUID returns a random UUID, RFC 9562 section 5.4.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program first
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// ParsePrivateKey reads an RSA key in PEM, PKCS #1 or PKCS #8. The line breaks
// may be written as \n, which is how a key travels in one environment
// variable. Its errors do not quote the text.
func ParsePrivateKey(text string) (*rsa.PrivateKey, error) {
	pem := strings.ReplaceAll(strings.TrimSpace(text), `\n`, "\n")
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(pem))
	if err != nil {
		return nil, errors.New("not an RSA private key in PEM (PKCS #1 or PKCS #8)")
	}
	if key.N.BitLen() < 2048 {
		return nil, errors.New("the RSA key has fewer than 2048 bits")
	}
	return key, nil
}
