package upstream

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// The ways in which a client proves itself. RFC 7591 section 2 calls the first two
// client_secret_basic and client_secret_post.
const (
	AuthBasic           = "basic"
	AuthPost            = "post"
	AuthPrivateKeyJWT   = "private_key_jwt"
	AuthClientSecretJWT = "client_secret_jwt"
	AuthAssertionFile   = "assertion_file" // an assertion that somebody else has signed
	AuthTLS             = "tls"            // the client certificate (RFC 8705 section 2)
	AuthNone            = "none"           // the grant or a header is the proof
)

// Grants by names that are shorter than on the wire. Any other is sent as it is.
const (
	GrantClientCredentials = "client_credentials" // RFC 6749 section 4.4
	GrantJWTBearer         = "jwt_bearer"         // RFC 7523 section 2.1: the assertion is the grant
	GrantTokenExchange     = "token_exchange"     // RFC 8693: the token of an app's user is exchanged
)

// Places for the parameters of a token request.
const (
	BodyForm  = "form"
	BodyJSON  = "json"
	BodyQuery = "query"
	BodyNone  = "none" // only the header fields are sent
)

// AnswerText is a token answer that is the token itself and nothing else.
const AnswerText = "text"

// Values of OAuth2Config.CertHeader: which header of an assertion names the certificate.
const (
	CertHeaderNone = "none"
	CertHeaderX5T  = "x5t" // its SHA-256 thumbprint, x5t#S256 of RFC 7515 section 4.1.8
	CertHeaderX5C  = "x5c" // it and its issuers, RFC 7515 section 4.1.6
)

// ScopeInAssertion is the scope as a claim of the assertion; otherwise it is a parameter.
const ScopeInAssertion = "assertion"

// SubjectPlace says whether tokens are issued on behalf of a subject, and where a token
// request names it.
type SubjectPlace struct {
	Rule  SubjectRule
	Claim string // of the assertion; empty: Param holds
	Param string // of the request
}

// String returns the place as it is written in the settings, such as "required claim:sub".
func (p SubjectPlace) String() string {
	rule := map[SubjectRule]string{SubjectOptional: "optional ", SubjectRequired: "required "}[p.Rule]
	switch {
	case rule == "":
		return "refused"
	case p.Claim != "":
		return rule + "claim:" + p.Claim
	}
	return rule + "param:" + p.Param
}

// ParseSubjectPlace reads what String writes. It reports whether text is in that form.
func ParseSubjectPlace(text string) (SubjectPlace, bool) {
	if text == "refused" {
		return SubjectPlace{}, true
	}
	rule, place, _ := strings.Cut(text, " ")
	p := SubjectPlace{Rule: map[string]SubjectRule{"optional": SubjectOptional, "required": SubjectRequired}[rule]}
	in, name, _ := strings.Cut(place, ":")
	switch in {
	case "claim":
		p.Claim = name
	case "param":
		p.Param = name
	default:
		return SubjectPlace{}, false
	}
	return p, p.Rule != SubjectRefused && name != "" && !strings.ContainsAny(name, " :&=")
}

// ReservedParams are the parameters that a token request has by other settings than
// PARAMS (RFC 6749 section 4.4.2, RFC 7521 section 4.2).
var ReservedParams = []string{
	"grant_type", "scope", "client_secret", "client_assertion", "client_assertion_type", "assertion",
}

// ReservedClaims are the claims that every assertion has by other settings than CLAIMS
// (RFC 7523 section 3).
var ReservedClaims = []string{"iss", "aud", "exp", "iat", "nbf", "jti", "scope"}

// ParseParams reads further parameters of a token request in the form of a URL query, no
// name empty or twice and none of ReservedParams. Its errors quote nothing.
func ParseParams(text string) (url.Values, error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, errors.New("the parameters are not in the form of a URL query")
	}
	for name, given := range values {
		switch {
		case name == "":
			return nil, errors.New("a parameter has no name")
		case len(given) > 1:
			return nil, errors.New("a parameter is given twice (RFC 6749 section 3.2)")
		case slices.Contains(ReservedParams, name):
			return nil, errors.New("the parameters set " + name + ", which other settings do")
		}
	}
	return values, nil
}

// ParseClaims reads further claims of an assertion: a JSON object, or nothing. Its errors
// quote nothing.
func ParseClaims(text string) (map[string]any, error) {
	claims := map[string]any{}
	if text == "" {
		return claims, nil
	}
	if parseObject([]byte(text)) == nil {
		return nil, errors.New("the claims are not one JSON object without double names")
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber() // as they are written
	if err := decoder.Decode(&claims); err != nil {
		return nil, errors.New("the claims are not one JSON object")
	}
	for _, name := range ReservedClaims {
		if _, given := claims[name]; given {
			return nil, errors.New("the claims set " + name + ", which other settings do")
		}
	}
	return claims, nil
}

// ParseCertificates reads certificates in PEM, at least one. Its errors quote nothing.
func ParseCertificates(text string) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("a certificate cannot be read")
		}
		chain = append(chain, certificate)
	}
	if len(chain) == 0 {
		return nil, errors.New("there is no certificate in PEM")
	}
	return chain, nil
}

// ParseAssertion reads the claims of a signed JWT in compact form. The signature is for the
// token endpoint to judge. Its errors quote nothing.
func ParseAssertion(text string) (jwt.RegisteredClaims, error) {
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(text, &claims); err != nil {
		return jwt.RegisteredClaims{}, errors.New("the assertion is not a signed JWT")
	}
	return claims, nil
}

// assertedIdentity returns the part of an assertion that stays the same when it is renewed:
// who says it, of whom and to whom. It is empty if there is no assertion.
func assertedIdentity(text string) string {
	claims, err := ParseAssertion(text)
	if err != nil {
		return ""
	}
	return strings.Join(append([]string{claims.Issuer, claims.Subject}, claims.Audience...), "\n")
}

// urlText returns u as text, empty if there is none.
func urlText(u *url.URL) string {
	if u == nil {
		return ""
	}
	return u.String()
}
