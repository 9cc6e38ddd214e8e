package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/testkit"
)

// pemKey returns a private key in PKCS #8, and a certificate of it, on one line each.
func pemKey(t *testing.T, key any) (private, certificate string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, publicOf(key), key)
	if err != nil {
		t.Fatal(err)
	}
	line := func(kind string, der []byte) string {
		return strings.ReplaceAll(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})), "\n", `\n`)
	}
	return line("PRIVATE KEY", der), line("CERTIFICATE", cert)
}

func publicOf(key any) any {
	if k, ok := key.(*ecdsa.PrivateKey); ok {
		return &k.PublicKey
	}
	return &key.(*rsa.PrivateKey).PublicKey
}

// jwkLine returns a key as a JWK.
func jwkLine(t *testing.T, key any, id string) string {
	t.Helper()
	text, err := (&jose.JSONWebKey{Key: key, KeyID: id}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Each row is a wrong combination of settings that are right by themselves, or a value in a
// form that would only be found out at the token endpoint. Case K1.
func TestWrongTokenRequestsAreRefused(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, cert := pemKey(t, ec)
	otherKey, otherCert := pemKey(t, mustRSA(t))
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	odd, _ := pemKey(t, p224)
	o := func(more ...string) []string {
		for i, s := range more {
			more[i] = strings.Replace(s, "!", "OAUTH2_0_", 1)
		}
		return oauth2With(more...)
	}
	signed := func(more ...string) []string {
		return o(append([]string{"-!CLIENT_SECRET", "!AUTH=private_key_jwt", "!PRIVATE_KEY=" + key}, more...)...)
	}
	bearer := func(more ...string) []string {
		return o(append([]string{"-!CLIENT_SECRET", "!GRANT=jwt_bearer", "!PRIVATE_KEY=" + key}, more...)...)
	}
	certified := func(more ...string) []string {
		return o(append([]string{"-!CLIENT_SECRET", "!AUTH=tls", "!CERT=" + cert, "!CERT_KEY=" + key}, more...)...)
	}
	const n = "OAUTH2_0_"
	checkWrong(t, []wrong{
		{signed("!ALG=RS256"), n + "ALG", "P-384 signs with ES384"},
		{signed("!ALG=ES256"), n + "ALG", "ES384"},
		{signed("!ALG=HS256"), n + "ALG", "ES384"},
		{signed("!ALG=none"), n + "ALG", "RS256,RS384"},
		{o("!ALG=RS256"), n + "ALG", "no assertion is signed"},
		{o("!AUTH=client_secret_jwt", "-!CLIENT_SECRET", "!CLIENT_SECRET="+testkit.Canary), n + "CLIENT_SECRET", "too short for HS256"},
		{o("!AUTH=client_secret_jwt", "-!CLIENT_SECRET", "!CLIENT_SECRET="+strings.Repeat("s", 40), "!ALG=HS512"), n + "ALG", "too short for HS512"},
		{o("!AUTH=client_secret_jwt", "-!CLIENT_SECRET", "!CLIENT_SECRET="+strings.Repeat("s", 40), "!ALG=ES256"), n + "ALG", "none that signs with a client secret"},
		{signed("-!PRIVATE_KEY", "!PRIVATE_KEY="+odd), n + "PRIVATE_KEY", "another curve"},
		{signed("-!PRIVATE_KEY", `!PRIVATE_KEY={"kty":"oct","k":"`+testkit.Canary+`"}`), n + "PRIVATE_KEY", "JWK"},
		{signed("!CLAIMS=[1]"), n + "CLAIMS", "JSON object"},
		{signed(`!CLAIMS={"iss":"` + testkit.Canary + `"}`), n + "CLAIMS", "set iss"},
		{signed(`!CLAIMS={"aud":"x"}`), n + "CLAIMS", "set aud"},
		{signed(`!CLAIMS={"exp":1}`), n + "CLAIMS", "set exp"},
		{signed(`!CLAIMS={"jti":"x"}`), n + "CLAIMS", "set jti"},
		{signed(`!CLAIMS={"scope":"x"}`), n + "CLAIMS", "set scope"},
		{signed(`!CLAIMS={"sub":"x"}`), n + "CLAIMS", "sets sub"},
		{signed(`!CLAIMS={"a":1,"a":2}`), n + "CLAIMS", "double names"},
		{o(`!CLAIMS={"a":1}`), n + "CLAIMS", "no assertion is signed"},
		{o("!SCOPE_IN=assertion"), n + "SCOPE_IN", "no assertion is signed"},
		{o("!PARAMS=grant_type=password"), n + "PARAMS", "set grant_type"},
		{o("!PARAMS=scope=x"), n + "PARAMS", "set scope"},
		{o("!PARAMS=client_secret=" + testkit.Canary), n + "PARAMS", "set client_secret"},
		{o("!PARAMS=a=1&a=2"), n + "PARAMS", "given twice"},
		{o("!PARAMS=a=%zz"), n + "PARAMS", "URL query"},
		{signed("!PARAMS=client_id=x"), n + "PARAMS", "CLIENT_ID does"},
		{o("!HEADERS=Authorization=" + testkit.Canary), n + "HEADERS", "field 1 has a name that is not for you"},
		{o("!HEADERS=X-A=1&Content-Type=x"), n + "HEADERS", "Content-Type"},
		{o("!HEADERS=X-A=1&x-a=2"), n + "HEADERS", "another one has"},
		{o("!TARGET_HEADERS=authorization=" + testkit.Canary), n + "TARGET_HEADERS", "not for you to set"},
		{o("!TARGET_HEADERS=X-Token-Subject=x"), n + "TARGET_HEADERS", "not for you to set"},
		{o("!TARGET_HEADERS=X-A=a%0d%0ab"), n + "TARGET_HEADERS", "visible ASCII"},
		{o("!TARGET_HEADERS=Host=x"), n + "TARGET_HEADERS", "not for you to set"},
		{o("!ISSUER=https://id.example.org"), n + "ISSUER", "TOKEN_URL too"},
		{o("-!TOKEN_URL", "!ISSUER=http://id.example.org"), n + "ISSUER", "not loopback"},
		{o("-!TOKEN_URL", "!ISSUER=https://id.example.org?x=1"), n + "ISSUER", "has a query"},
		{o("-!TOKEN_URL", "!ISSUER=https://id.example.org", "!TOKEN_HOSTS=https://x"), n + "TOKEN_HOSTS", "no host"},
		{o("!TOKEN_HOSTS=x.example"), n + "TOKEN_HOSTS", "ISSUER is not"},
		{signed("!NEXT_KEY=" + key), n + "NEXT_KEY", "no key id of its own"},
		{signed("!KEY_ID=k1", "!NEXT_KEY="+key), n + "NEXT_KEY", "no key id of its own"},
		{o("!NEXT_KEY=" + key), n + "NEXT_KEY", "PRIVATE_KEY is not"},
		{o("!KEY_ID=k1"), n + "KEY_ID", "PRIVATE_KEY is not"},
		{signed("!KEY_ID=k 1"), n + "KEY_ID", "one word"},
		{signed("!CERT_HEADER=x5c"), n + "CERT", "CERT_HEADER is"},
		{signed("!CERT=" + cert), n + "CERT", "CERT_HEADER does not name it"},
		{signed("!CERT_HEADER=x5t", "!CERT="+otherCert), n + "CERT", "does not begin with the certificate"},
		{signed("!CERT_HEADER=x5t", "!CERT="+key), n + "CERT", "no certificate"},
		{certified("-!CERT"), n + "CERT", "AUTH is tls"},
		{certified("-!CERT_KEY"), n + "CERT_KEY", "AUTH is tls"},
		{certified("-!CLIENT_ID"), n + "CLIENT_ID", "is not set"},
		{certified("-!CERT_KEY", "!CERT_KEY="+otherKey), n + "CERT_KEY", "not the key of SIDECAR_OAUTH2_0_CERT"},
		{certified("-!CERT_KEY", "!CERT_KEY="+cert), n + "CERT_KEY", "private key"},
		{certified("!CLIENT_SECRET=" + testkit.Canary), n + "CLIENT_SECRET", "AUTH is tls"},
		{certified("!PRIVATE_KEY=" + key), n + "PRIVATE_KEY", "AUTH is tls"},
		{certified("-!TOKEN_URL", "!TOKEN_URL=http://127.0.0.1:1/token"), n + "TOKEN_URL", "no client certificate is presented"},
		{certified("-!TOKEN_URL", "!ISSUER=http://127.0.0.1:1"), n + "ISSUER", "no client certificate is presented"},
		{certified("-!TARGET", "!TARGET=http://127.0.0.1:1"), n + "TARGET", "no client certificate is presented"},
		{certified("!TARGETS=b=http://127.0.0.1:1"), n + "TARGETS", "no client certificate is presented"},
		{certified("!BODY=none"), n + "BODY", "is a parameter"},
		{o("!CERT_KEY=" + key), n + "CERT", "CERT_KEY is"},
		{o("!AUTH=assertion_file", "-!CLIENT_SECRET"), n + "ASSERTION", "AUTH is assertion_file"},
		{o("!AUTH=assertion_file", "-!CLIENT_SECRET", "!ASSERTION="+testkit.Canary), n + "ASSERTION", "not a signed JWT"},
		{o("!ASSERTION_TYPE=urn:x"), n + "ASSERTION_TYPE", "unless SIDECAR_OAUTH2_0_AUTH is assertion_file"},
		{o("!AUTH=none", "-!CLIENT_SECRET"), n + "CLIENT_ID", "PARAMS"},
		{bearer("!AUTH=private_key_jwt"), n + "AUTH", "GRANT is jwt_bearer"},
		{bearer("-!CLIENT_ID"), n + "CLIENT_ID", "is not set"},
		{bearer("!CLIENT_SECRET=" + testkit.Canary), n + "CLIENT_SECRET", "AUTH is none"},
		{o("!GRANT=urn:ietf:params:oauth:grant-type:jwt-bearer"), n + "GRANT", "without an assertion"},
		{o("!GRANT=urn:ietf:params:oauth:grant-type:token-exchange"), n + "GRANT", "without a subject_token"},
		{o("!SCOPE_SEPARATOR=,", "!ALLOWED_SCOPES=a b,c"), n + "SCOPE_SEPARATOR", "within a scope"},
		{o("!GRANT=token_exchange", "VEND=books"), "VEND", "no configured route with a subject"},
		{o("!GRANT=token_exchange", "!METHOD=get"), n + "GRANT", "in a body only"},
		{o("!GRANT=token_exchange", "!BODY=query"), n + "GRANT", "in a body only"},
		{o("!GRANT=token_exchange", "!SUBJECT=required param:user"), n + "SUBJECT", "the user whose token the app sends"},
		{o("!GRANT=token_exchange", "!PARAMS=subject_token="+testkit.Canary), n + "PARAMS", "GRANT=token_exchange does"},
		{o("!SUBJECT_TOKEN_TYPE=jwt"), n + "SUBJECT_TOKEN_TYPE", "unless SIDECAR_OAUTH2_0_GRANT is token_exchange"},
		{o("!METHOD=get", "!BODY=json"), n + "BODY", "a GET has none"},
		{o("!AUTH=post", "!BODY=none"), n + "BODY", "is a parameter"},
		{o("!BODY=none", "!PARAMS=a=1"), n + "PARAMS", "BODY is none"},
		{o("!BODY=none", "!SCOPE=a"), n + "SCOPE", "BODY is none"},
		{o("!SUBJECT=required"), n + "SUBJECT", "where a subject goes"},
		{o("!SUBJECT=always param:user"), n + "SUBJECT", "where a subject goes"},
		{o("!SUBJECT=required claim:sub"), n + "SUBJECT", "no assertion is signed"},
		{signed("!SUBJECT=required claim:sub"), n + "SUBJECT", "the client unless"},
		{bearer("!SUBJECT=required claim:aud"), n + "SUBJECT", "another meaning"},
		{bearer("!SUBJECT=required claim:sub", `!CLAIMS={"sub":"x"}`), n + "CLAIMS", "the claim of SIDECAR_OAUTH2_0_SUBJECT"},
		{o("!SUBJECT=optional param:scope"), n + "SUBJECT", "another meaning"},
		{o("!SUBJECT=optional param:client_id"), n + "SUBJECT", "another meaning"},
		{o("!SUBJECT=optional param:user", "!PARAMS=user=7"), n + "SUBJECT", "PARAMS sets"},
		{o("!SUBJECT=optional param:user", "!BODY=none"), n + "SUBJECT", "BODY is none"},
		{o("!SCOPE_SEPARATOR=ab"), n + "SCOPE_SEPARATOR", "one character"},
		{o("!LIFETIME=25h"), n + "LIFETIME", "more than 24h"},
		{o("JWKS_LISTEN=127.0.0.1:7070"), "JWKS_LISTEN", "no key to publish"},
		{signed("JWKS_LISTEN=127.0.0.1:7070"), n + "KEY_ID", "publishes the key"},
		{signed("!KEY_ID=k 1", "JWKS_LISTEN=127.0.0.1:7070"), n + "KEY_ID", "one word"},
		{append(signed("!KEY_ID=k1", "JWKS_LISTEN=127.0.0.1:7070"), with([]string{
			"OAUTH2_1_NAME=b", "OAUTH2_1_TARGET=https://h", "OAUTH2_1_TOKEN_URL=https://h", "OAUTH2_1_CLIENT_ID=i", "OAUTH2_1_AUTH=private_key_jwt",
			"OAUTH2_1_KEY_ID=k1", "OAUTH2_1_PRIVATE_KEY=" + testkit.PrivateKey()})...), "OAUTH2_1_KEY_ID", "another key"},
		{signed("!KEY_ID=thumbprint", "JWKS_LISTEN=127.0.0.1:8080"), "JWKS_LISTEN", "SIDECAR_LISTEN too"},
	})
}

// All of them are told at once.
func TestWrongTokenRequestSettingsAreToldTogether(t *testing.T) {
	faults := faultsOf(t, oauth2With("OAUTH2_0_ALG=RS256", "OAUTH2_0_PARAMS=scope=x", "OAUTH2_0_TOKEN_HOSTS=x.example",
		"OAUTH2_0_SUBJECT=required claim:sub", "OAUTH2_0_METHOD=get", "OAUTH2_0_BODY=form", "OAUTH2_0_SCOPE_IN=assertion"))
	if len(faults) != 6 {
		t.Errorf("%d faults are told, want 6:\n%v", len(faults), faults)
	}
}

// Right combinations, one for each way in which token requests differ.
func TestTokenRequestsOfEveryKindAreTaken(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, cert := pemKey(t, ec)
	jwk, next := jwkLine(t, ec, "a"), jwkLine(t, mustEC(t), "b")
	base := []string{"NAME=books", "TARGET=https://api.example.org"}
	at := append(slices.Clone(base), "TOKEN_URL=https://id.example.org/token")
	for name, settings := range map[string][]string{
		"by issuer":             append(slices.Clone(base), "ISSUER=https://id.example.org/", "TOKEN_HOSTS=token.example.org", "CLIENT_ID=i", "CLIENT_SECRET=s"),
		"private_key_jwt":       append(slices.Clone(at), "CLIENT_ID=i", "AUTH=private_key_jwt", "PRIVATE_KEY="+key, "KEY_ID=thumbprint", "ALG=ES384", "NEXT_KEY="+next),
		"JWKs":                  append(slices.Clone(at), "CLIENT_ID=i", "AUTH=private_key_jwt", "PRIVATE_KEY="+jwk, "NEXT_KEY="+next),
		"certificate":           append(slices.Clone(at), "CLIENT_ID=i", "AUTH=private_key_jwt", "PRIVATE_KEY="+key, "CERT="+cert, "CERT_HEADER=x5c", `CLAIMS={"extensions":{"hl7-b2b":{"version":"1"}}}`, "PARAMS=udap=1"),
		"tls":                   append(slices.Clone(at), "CLIENT_ID=i", "AUTH=tls", "CERT="+cert, "CERT_KEY="+key),
		"certificate for both":  append(slices.Clone(at), "CLIENT_ID=i", "AUTH=private_key_jwt", "PRIVATE_KEY="+key, "CERT="+cert, "CERT_HEADER=x5t", "CERT_KEY="+key),
		"bound by a secret":     append(slices.Clone(at), "CLIENT_ID=i", "CLIENT_SECRET=s", "CERT="+cert, "CERT_KEY="+key),
		"jwt_bearer":            append(slices.Clone(at), "CLIENT_ID=i", "GRANT=jwt_bearer", "PRIVATE_KEY="+key, "SCOPE_IN=assertion", "SCOPE=a", "SUBJECT=optional claim:sub"),
		"jwt_bearer by secret":  append(slices.Clone(at), "CLIENT_ID=i", "GRANT=jwt_bearer", "ALG=HS256", "CLIENT_SECRET="+strings.Repeat("s", 32), `CLAIMS={"sub":"u"}`, "PARAMS=client_id=i"),
		"client_secret_jwt":     append(slices.Clone(at), "CLIENT_ID=i", "AUTH=client_secret_jwt", "CLIENT_SECRET="+strings.Repeat("s", 32)),
		"headers and a GET":     append(slices.Clone(at), "AUTH=none", "METHOD=get", "BODY=none", "ANSWER=text", "LIFETIME=1h", "HEADERS=client-id=a&client-secret=b"),
		"own grant, subject":    append(slices.Clone(at), "CLIENT_ID=i", "CLIENT_SECRET=s", "GRANT=account_credentials", "PARAMS=account_id=7", "SUBJECT=required param:user"),
		"JSON, other separator": append(slices.Clone(at), "CLIENT_ID=i", "CLIENT_SECRET=s", "AUTH=post", "BODY=json", "SCOPE=a b", "SCOPE_SEPARATOR=,"),
	} {
		for i, s := range settings {
			settings[i] = "OAUTH2_0_" + s
		}
		if _, err := Parse(with(settings), goredis.Driver{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mustEC(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func mustRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
