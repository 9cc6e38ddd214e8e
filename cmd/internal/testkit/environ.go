package testkit

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"sync"
	"testing"

	"token-sidecar/upstream/upstreamtest"
)

// Canary is part of secrets in tests. Where it is seen, a secret has leaked.
const Canary = "c4nary-v4lue"

// PrivateKey is an RSA key of 2048 bits in PEM, which no simulated provider knows.
var PrivateKey = sync.OnceValue(func() string { return NewPrivateKey(2048) })

// NewPrivateKey returns a new RSA key in PEM, PKCS#1.
func NewPrivateKey(bits int) string {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return string(pem.EncodeToMemory(block))
}

// Closing returns s, which it closes at the end of the test.
func Closing(t testing.TB, s *upstreamtest.Server) *upstreamtest.Server {
	t.Cleanup(s.Close)
	return s
}

// Environ returns settings, each NAME=value without the prefix SIDECAR_, as the
// program's environment. A later setting replaces an earlier one of its name, and
// -NAME removes it.
func Environ(settings ...string) []string {
	var environ []string
	for _, s := range settings {
		name, _, _ := strings.Cut(strings.TrimPrefix(s, "-"), "=")
		environ = slices.DeleteFunc(environ, func(e string) bool { return strings.HasPrefix(e, "SIDECAR_"+name+"=") })
		if !strings.HasPrefix(s, "-") {
			environ = append(environ, "SIDECAR_"+s)
		}
	}
	return environ
}

// MyDataHelps returns the settings, in the form that Environ takes, with which a
// sidecar uses the simulated MyDataHelps s, and then those in more.
func MyDataHelps(s *upstreamtest.Server, more ...string) []string {
	return append([]string{"MYDATAHELPS_SERVICE_ACCOUNT=" + s.ClientID(), "MYDATAHELPS_PRIVATE_KEY=" + s.PrivateKey(),
		"MYDATAHELPS_TOKEN_URL=" + s.TokenURL(), "MYDATAHELPS_TARGET=" + s.APIURL()}, more...)
}

// PDX does for a simulated Mydex PDX what MyDataHelps does.
func PDX(s *upstreamtest.Server, more ...string) []string {
	return append([]string{"PDX_CLIENT_ID=" + s.ClientID(), "PDX_CLIENT_SECRET=" + s.ClientSecret(),
		"PDX_TOKEN_URL=" + s.TokenURL(), "PDX_TARGET=" + s.APIURL()}, more...)
}

// OCLC does for a simulated OCLC what MyDataHelps does.
func OCLC(s *upstreamtest.Server, more ...string) []string {
	return append([]string{"OCLC_WSKEY=" + s.ClientID(), "OCLC_SECRET=" + s.ClientSecret(),
		"OCLC_TOKEN_URL=" + s.TokenURL(), "OCLC_TARGET=" + s.APIURL()}, more...)
}

// HumanAPI does for a simulated Human API what MyDataHelps does. If s has the contract HIP, more must hold
// HUMANAPI_HIP=true.
func HumanAPI(s *upstreamtest.Server, more ...string) []string {
	return append([]string{"HUMANAPI_CLIENT_ID=" + s.ClientID(), "HUMANAPI_CLIENT_SECRET=" + s.ClientSecret(),
		"HUMANAPI_TOKEN_URL=" + s.TokenURL(), "HUMANAPI_TARGET=" + s.APIURL()}, more...)
}

// OAuth2 does the same for the generic upstream with the number 0, named books.
func OAuth2(s *upstreamtest.Server, more ...string) []string {
	return append([]string{"OAUTH2_0_NAME=books", "OAUTH2_0_CLIENT_ID=" + s.ClientID(), "OAUTH2_0_CLIENT_SECRET=" + s.ClientSecret(),
		"OAUTH2_0_TOKEN_URL=" + s.TokenURL(), "OAUTH2_0_TARGET=" + s.APIURL()}, more...)
}

// OAuth2Key does what OAuth2 does for a client that authenticates by private_key_jwt.
func OAuth2Key(s *upstreamtest.Server, more ...string) []string {
	return OAuth2(s, append([]string{"-OAUTH2_0_CLIENT_SECRET", "OAUTH2_0_AUTH=private_key_jwt",
		"OAUTH2_0_PRIVATE_KEY=" + s.PrivateKey()}, more...)...)
}
