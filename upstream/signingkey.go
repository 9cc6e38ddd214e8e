package upstream

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// KeyIDThumbprint stands for the thumbprint of the key (RFC 7638) in place of a key id.
const KeyIDThumbprint = "thumbprint"

// SigningKey is a key that assertions are signed with, and how. It is immutable.
type SigningKey struct {
	key    any // *rsa.PrivateKey, *ecdsa.PrivateKey or, for HMAC, []byte
	method jwt.SigningMethod
	id     string // kid of the header; empty: none
}

// NewSigningKey reads a private key: RSA of at least 2048 bits or EC on the curve P-256,
// P-384 or P-521, written in PEM (PKCS #1, PKCS #8, SEC 1), as a JWK (RFC 7517) or as
// Google's JSON key file. The line breaks of PEM may be written as \n, which is how a key
// travels in one environment variable. alg is a name of RFC 7518 section 3.1; empty: that
// of the JWK, else the one of SHA-2 that fits the key, such as RS256 or ES384. id is the
// key id; empty: that of the JWK or of Google's file. Its errors do not quote the text.
func NewSigningKey(text, alg, id string) (SigningKey, error) {
	k, err := parsePrivateKey(text)
	if err != nil {
		return SigningKey{}, err
	}
	if alg == "" {
		alg = k.alg
	}
	if id == "" {
		id = k.id
	}
	method, err := methodFor(k.signer, alg)
	if err != nil {
		return SigningKey{}, err
	}
	signing := SigningKey{key: k.signer, method: method, id: id}
	if id == KeyIDThumbprint {
		signing.id = signing.thumbprint()
	}
	return signing, nil
}

// NewSecretKey returns the key that is the client secret itself, for HMAC with SHA-2: alg is
// HS256, HS384 or HS512. RFC 7518 section 3.2 wants as many bytes as the hash has.
func NewSecretKey(secret, alg string) (SigningKey, error) {
	method, ok := jwt.GetSigningMethod(alg).(*jwt.SigningMethodHMAC)
	if !ok {
		return SigningKey{}, errors.New("the algorithm is none that signs with a client secret (HS256, HS384, HS512)")
	}
	if len(secret) < method.Hash.Size() {
		return SigningKey{}, errors.New("the client secret is too short for " + alg + ": RFC 7518 section 3.2 wants as many bytes as the hash has")
	}
	return SigningKey{key: []byte(secret), method: method}, nil
}

// ID returns the key id, empty if there is none.
func (k SigningKey) ID() string { return k.id }

// Matches reports whether certificate is one of this key.
func (k SigningKey) Matches(certificate *x509.Certificate) bool {
	signer, ok := k.key.(crypto.Signer)
	if !ok {
		return false
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(certificate.PublicKey)
}

// Same reports whether k and other are the same private key.
func (k SigningKey) Same(other SigningKey) bool {
	key, ok := k.key.(interface{ Equal(crypto.PrivateKey) bool })
	return ok && key.Equal(other.key)
}

// public returns the public half in the form of RFC 7517. The key is no HMAC key.
func (k SigningKey) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.key.(crypto.Signer).Public(), KeyID: k.id, Algorithm: k.method.Alg(), Use: "sig"}
}

// thumbprint returns the SHA-256 thumbprint of RFC 7638 in base64url.
func (k SigningKey) thumbprint() string {
	key := jose.JSONWebKey{Key: k.key.(crypto.Signer).Public()}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		panic("every key that was read has a thumbprint")
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// privateKey is a private key with what its file says of it.
type privateKey struct {
	signer  crypto.Signer
	id, alg string // empty: the file does not say
}

var errNoKey = errors.New("not an unencrypted RSA or EC private key in PEM, as a JWK or as Google's JSON key file")

// parsePrivateKey reads the forms that NewSigningKey takes.
func parsePrivateKey(text string) (privateKey, error) {
	text = strings.TrimSpace(text)
	var k privateKey
	var err error
	if strings.HasPrefix(text, "{") {
		k, err = parseJSONKey([]byte(text))
	} else {
		k.signer, err = parsePEMKey(strings.ReplaceAll(text, `\n`, "\n"))
	}
	if err != nil {
		return privateKey{}, errNoKey
	}
	switch key := k.signer.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() < 2048 {
			return privateKey{}, errors.New("the RSA key has fewer than 2048 bits")
		}
	case *ecdsa.PrivateKey:
		if _, err := methodFor(key, ""); err != nil {
			return privateKey{}, err
		}
	default:
		return privateKey{}, errNoKey
	}
	return k, nil
}

// parseJSONKey reads a JWK, or Google's JSON key file (Google Cloud, "Create and delete
// service account keys"), whose private_key is PEM.
func parseJSONKey(text []byte) (privateKey, error) {
	var google struct {
		PrivateKey   string `json:"private_key"`
		PrivateKeyID string `json:"private_key_id"`
	}
	if json.Unmarshal(text, &google) == nil && google.PrivateKey != "" {
		signer, err := parsePEMKey(google.PrivateKey)
		return privateKey{signer, google.PrivateKeyID, ""}, err
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(text); err != nil || !jwk.Valid() {
		return privateKey{}, errNoKey
	}
	signer, ok := jwk.Key.(crypto.Signer)
	if !ok {
		return privateKey{}, errNoKey
	}
	return privateKey{signer, jwk.KeyID, jwk.Algorithm}, nil
}

// parsePEMKey reads the first block that holds a private key: programs write the
// parameters of a curve before it.
func parsePEMKey(text string) (crypto.Signer, error) {
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		default:
			continue
		}
		signer, ok := key.(crypto.Signer)
		if err != nil || !ok {
			return nil, errNoKey
		}
		return signer, nil
	}
	return nil, errNoKey
}

// Algorithms are the names of RFC 7518 section 3.1 that assertions may be signed with.
var Algorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512",
}

// methodFor returns the signing method named alg, or if that is empty the usual one of the
// key. RFC 7518 section 3.4 ties each curve to one method.
func methodFor(key crypto.Signer, alg string) (jwt.SigningMethod, error) {
	fits := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	kind := "an RSA key"
	if ec, ok := key.(*ecdsa.PrivateKey); ok {
		kind = "a key on the curve " + ec.Curve.Params().Name
		fits = map[string][]string{"P-256": {"ES256"}, "P-384": {"ES384"}, "P-521": {"ES512"}}[ec.Curve.Params().Name]
	}
	switch {
	case len(fits) == 0:
		return nil, errors.New("the EC key is on another curve than P-256, P-384 and P-521")
	case alg == "":
		alg = fits[0]
	case !slices.Contains(fits, alg):
		return nil, errors.New("the algorithm does not fit: " + kind + " signs with " + strings.Join(fits, ", "))
	}
	return jwt.GetSigningMethod(alg), nil
}
