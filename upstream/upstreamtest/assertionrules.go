package upstreamtest

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// AssertionRules say which assertions a token endpoint takes (RFC 7523 section 3).
type AssertionRules struct {
	Type       string              // client_assertion_type; empty: that of RFC 7523
	Algorithms []string            // alg of the header
	NeedKeyID  bool                // the header must have a kid that is among the keys
	Keys       *jose.JSONWebKeySet // registered public keys, or secrets; nil: fetched from KeysURL
	KeysURL    func() string       // of a JWK Set, fetched anew for each assertion

	Issuer, Subject string // iss and sub; empty: iss is the client, sub too unless the assertion is the grant
	Audience        string // aud; empty: the URL of the token endpoint
	SubjectClaim    string // names whom a token is for: any text, or nobody if there is none
	MaxLife         time.Duration
	IssuedAt        bool // iat must be there; MaxLife then counts from it
	NotBefore       bool // nbf must be there
	ScopeInside     bool // the scope is a claim
	Repeats         bool // the same assertion may come again, as one from a file does
	Claims          map[string]any
	// Certificate must be named by the header as CertHeader says: x5c or x5t#S256.
	Certificate *x509.Certificate
	CertHeader  string
}

// wrong returns why an assertion is refused, "" if it is not. bearer: it is the grant.
func (r *AssertionRules) wrong(s *Server, text string, bearer bool) string {
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(jwt.WithValidMethods(r.Algorithms), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding())
	token, err := parser.ParseWithClaims(text, claims, r.key)
	if err != nil {
		return "assertion: " + err.Error()
	}
	if reason := r.wrongHeader(token.Header); reason != "" {
		return reason
	}
	issuer, subject := r.Issuer, r.Subject
	if issuer == "" {
		issuer = s.id
	}
	if subject == "" && !bearer {
		subject = s.id
	}
	audience := r.Audience
	if audience == "" {
		audience = s.tokenURL
	}
	want := map[string]any{"iss": issuer, "aud": audience}
	if subject != "" && r.SubjectClaim != "sub" {
		want["sub"] = subject
	}
	for name, value := range r.Claims {
		want[name] = value
	}
	for name, value := range want {
		if !reflect.DeepEqual(claims[name], value) {
			return fmt.Sprintf("assertion: %s is %v, not %v", name, claims[name], value)
		}
	}
	for name := range claims {
		known := append([]string{"exp", "jti", "iat", "nbf", r.SubjectClaim}, map[bool][]string{true: {"scope"}}[r.ScopeInside]...)
		if _, wanted := want[name]; !wanted && !slices.Contains(known, name) {
			return "assertion: unknown claim " + name
		}
	}
	return r.wrongTimes(s, claims)
}

// wrongTimes checks exp, iat, nbf and jti.
func (r *AssertionRules) wrongTimes(s *Server, claims jwt.MapClaims) string {
	exp, _ := claims["exp"].(float64)
	issued, hasIssued := claims["iat"].(float64)
	_, hasNotBefore := claims["nbf"]
	jti, _ := claims["jti"].(string)
	from := float64(time.Now().Unix())
	if r.IssuedAt {
		from = issued
	}
	switch {
	case exp != math.Trunc(exp):
		return "assertion: exp is not in whole seconds"
	case r.IssuedAt && !hasIssued:
		return "assertion: iat missing"
	case r.NotBefore && !hasNotBefore:
		return "assertion: nbf missing"
	case r.MaxLife > 0 && exp-from > r.MaxLife.Seconds():
		return "assertion: it lives for too long"
	case r.Repeats:
		return ""
	case jti == "":
		return "assertion: jti missing"
	case !s.assertions.add(jti, time.Unix(int64(exp), 0)):
		return "assertion: jti came before"
	}
	return ""
}

// wrongHeader checks how the certificate is named.
func (r *AssertionRules) wrongHeader(header map[string]any) string {
	for _, name := range []string{"x5c", "x5t#S256", "x5t"} {
		if _, given := header[name]; given != (name == r.CertHeader) {
			return "assertion: header " + name + " is missing, or there"
		}
	}
	switch r.CertHeader {
	case "x5t#S256":
		sum := sha256.Sum256(r.Certificate.Raw)
		if header["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
			return "assertion: x5t#S256 is of another certificate"
		}
	case "x5c":
		chain, _ := header["x5c"].([]any)
		if len(chain) == 0 || chain[0] != base64.StdEncoding.EncodeToString(r.Certificate.Raw) {
			return "assertion: x5c does not begin with the certificate"
		}
	}
	return ""
}

// key finds the key that the header names; without a kid, where none is needed, the only
// one there is.
func (r *AssertionRules) key(token *jwt.Token) (any, error) {
	set, err := r.keys()
	if err != nil {
		return nil, err
	}
	id, named := token.Header["kid"].(string)
	switch {
	case !named && r.NeedKeyID:
		return nil, errors.New("kid missing")
	case !named && len(set.Keys) == 1:
		return set.Keys[0].Key, nil
	}
	for _, key := range set.Key(id) {
		if key.Algorithm == "" || key.Algorithm == token.Method.Alg() {
			return key.Key, nil
		}
	}
	return nil, errors.New("kid is of no key")
}

// keys returns the keys that assertions may be signed with.
func (r *AssertionRules) keys() (*jose.JSONWebKeySet, error) {
	if r.Keys != nil {
		return r.Keys, nil
	}
	res, err := http.Get(r.KeysURL())
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	defer http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return nil, err
	}
	set := &jose.JSONWebKeySet{}
	return set, json.Unmarshal(body, set)
}

// claimOf returns a claim of a JWT that was verified before, "" if it has none of that name.
func claimOf(text, name string) string {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims map[string]any
	if json.Unmarshal(raw, &claims) != nil {
		return ""
	}
	value, _ := claims[name].(string)
	return value
}
