package upstreamtest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// maxAssertionLife is the limit of FHIR SMART Backend Services, which the
// MyDataHelps documentation points to.
const maxAssertionLife = 5 * time.Minute

type rsaKey struct {
	private *rsa.PrivateKey
	pem     string
}

// testKey makes the one RSA key of the process: a key takes longer to make
// than most tests to run.
var testKey = sync.OnceValue(func() rsaKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(fmt.Sprintf("upstreamtest: make an RSA key: %v", err))
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return rsaKey{key, string(pem.EncodeToMemory(block))}
})

// wrongAssertion returns why assertion does not authenticate the client, "" if
// it does: an RS256 JWT signed with the server's key, iss and sub the client,
// aud the token URL as a string (what every known client sends, though RFC
// 7519 section 4.1.3 would allow a list), exp in whole seconds and at most 5
// minutes ahead, a jti that never came before. RFC 7523 section 3.
func (s *Server) wrongAssertion(assertion string) string {
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding())
	token, err := parser.ParseWithClaims(assertion, claims, func(*jwt.Token) (any, error) { return &testKey().private.PublicKey, nil })
	if err != nil {
		return "assertion: " + err.Error()
	}
	if typ, given := token.Header["typ"]; given && typ != "JWT" {
		return "assertion: typ is not JWT"
	}
	if claims["iss"] != s.id || claims["sub"] != s.id {
		return "assertion: iss and sub are not both the client"
	}
	if claims["aud"] != s.tokenURL {
		return "assertion: aud is not the token URL"
	}
	seconds, _ := claims["exp"].(float64)
	if seconds != math.Trunc(seconds) {
		return "assertion: exp is not in whole seconds"
	}
	expiry := time.Unix(int64(seconds), 0)
	if time.Until(expiry) > maxAssertionLife {
		return "assertion: exp is more than 5 minutes ahead"
	}
	jti, _ := claims["jti"].(string)
	if jti == "" {
		return "assertion: jti missing"
	}
	if !s.assertions.add(jti, expiry) {
		return "assertion: jti came before"
	}
	return ""
}
