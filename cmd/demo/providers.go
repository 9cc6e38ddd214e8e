package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"sync"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// lives is how long tokens live, and where the sidecar serves the keys that a provider
// fetches.
type lives struct {
	ledger, others time.Duration
	keysAt         string
}

// simulated is a provider of the demo.
type simulated struct {
	name     string                              // of its upstream
	start    func(lives) *upstreamtest.Server    // what simulates it
	settings func(*upstreamtest.Server) []string // that make a sidecar use it, without SIDECAR_
	rows     func() []row                        // what -once plays
}

// table lists the providers, in the order in which -once plays them. Books, ledger and
// fhir are generic OAuth 2.0 APIs, ledger with private_key_jwt, fhir as a FHIR server with
// SMART Backend Services.
func table() []simulated {
	return []simulated{
		{"mydatahelps", startMyDataHelps, myDataHelpsSettings, myDataHelpsRows},
		{"pdx", startPDX, pdxSettings, pdxRows},
		{"oclc", startOCLC, oclcSettings, oclcRows},
		{"humanapi", startHumanAPI, humanAPISettings, humanAPIRows},
		{"books", startBooks, booksSettings, booksRows},
		{"ledger", startLedger, ledgerSettings, ledgerRows},
		{"fhir", startFHIR, fhirSettings, fhirRows},
	}
}

// upstreams returns the names of the providers as the sidecar knows them.
func upstreams() []string {
	var names []string
	for _, p := range table() {
		names = append(names, p.name)
	}
	return names
}

// providers are the running simulations by name.
type providers map[string]*upstreamtest.Server

// startProviders starts the simulations, whose tokens live for so long.
func startProviders(life lives) providers {
	all := providers{}
	for _, p := range table() {
		all[p.name] = p.start(life)
	}
	return all
}

// of returns the provider that a route leads to, nil if there is none.
func (p providers) of(route string) *upstreamtest.Server {
	name, _, _ := strings.Cut(route, ".")
	return p[name]
}

func (p providers) close() {
	for _, s := range p {
		s.Close()
	}
}

// environ is the part of a sidecar's environment that the providers made up:
// credentials and addresses.
func (p providers) environ() []string {
	var environ []string
	for _, row := range table() {
		for _, setting := range row.settings(p[row.name]) {
			environ = append(environ, "SIDECAR_"+setting)
		}
	}
	return environ
}

func startMyDataHelps(life lives) *upstreamtest.Server {
	return upstreamtest.NewMyDataHelps(upstreamtest.Options{Lifetime: life.others,
		KnowsParticipant: func(id string) bool { return id != unknownParticipant }})
}

func myDataHelpsSettings(s *upstreamtest.Server) []string {
	return []string{
		"MYDATAHELPS_SERVICE_ACCOUNT=" + s.ClientID(),
		"MYDATAHELPS_PRIVATE_KEY=" + s.PrivateKey(),
		"MYDATAHELPS_TOKEN_URL=" + s.TokenURL(),
		"MYDATAHELPS_TARGET=" + s.APIURL(),
		"MYDATAHELPS_TARGETS=designer=" + s.HostURL("designer"),
		"MYDATAHELPS_ALLOWED_SCOPES=" + readScope,
		"MYDATAHELPS_PARTICIPANT_LISTEN=" + anyPort,
	}
}

func startPDX(life lives) *upstreamtest.Server {
	return upstreamtest.NewPDX(upstreamtest.Options{Lifetime: life.others})
}

func pdxSettings(s *upstreamtest.Server) []string {
	return []string{
		"PDX_CLIENT_ID=" + s.ClientID(),
		"PDX_CLIENT_SECRET=" + s.ClientSecret(),
		"PDX_TOKEN_URL=" + s.TokenURL(),
		"PDX_TARGET=" + s.APIURL(),
		"PDX_TARGETS=idaas=" + s.HostURL("idaas"),
		"PDX_ALLOWED_SCOPES=" + mamScope,
	}
}

func startOCLC(life lives) *upstreamtest.Server {
	return upstreamtest.NewOCLC(upstreamtest.Options{Lifetime: life.others,
		InstitutionOnKey: func(id string) bool { return id != foreignInstitution }})
}

func oclcSettings(s *upstreamtest.Server) []string {
	return []string{
		"OCLC_WSKEY=" + s.ClientID(),
		"OCLC_SECRET=" + s.ClientSecret(),
		"OCLC_TOKEN_URL=" + s.TokenURL(),
		"OCLC_TARGET=" + s.APIURL(),
		"OCLC_TARGETS=discovery=" + s.HostURL("discovery"),
		"OCLC_INSTITUTION=" + homeInstitution,
	}
}

func startHumanAPI(life lives) *upstreamtest.Server {
	return upstreamtest.NewHumanAPI(upstreamtest.Options{Lifetime: life.others, HIP: true,
		ConnectedUser: func(id string) bool { return id != unconnectedUser }})
}

func humanAPISettings(s *upstreamtest.Server) []string {
	return []string{
		"HUMANAPI_CLIENT_ID=" + s.ClientID(),
		"HUMANAPI_CLIENT_SECRET=" + s.ClientSecret(),
		"HUMANAPI_TOKEN_URL=" + s.TokenURL(),
		"HUMANAPI_TARGET=" + s.APIURL(),
		"HUMANAPI_TARGETS=admin=" + s.HostURL("admin"),
		"HUMANAPI_HIP=true",
	}
}

func startBooks(life lives) *upstreamtest.Server {
	return upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Name: "books", Lifetime: life.others})
}

func booksSettings(s *upstreamtest.Server) []string {
	return []string{
		"OAUTH2_0_NAME=books",
		"OAUTH2_0_CLIENT_ID=" + s.ClientID(),
		"OAUTH2_0_CLIENT_SECRET=" + s.ClientSecret(),
		"OAUTH2_0_TOKEN_URL=" + s.TokenURL(),
		"OAUTH2_0_TARGET=" + s.APIURL(),
	}
}

func startLedger(life lives) *upstreamtest.Server {
	return upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Name: "ledger", Lifetime: life.ledger, Auth: upstreamtest.AuthPrivateKeyJWT})
}

func ledgerSettings(s *upstreamtest.Server) []string {
	return []string{
		"OAUTH2_1_NAME=ledger",
		"OAUTH2_1_AUTH=private_key_jwt",
		"OAUTH2_1_CLIENT_ID=" + s.ClientID(),
		"OAUTH2_1_PRIVATE_KEY=" + s.PrivateKey(),
		"OAUTH2_1_TOKEN_URL=" + s.TokenURL(),
		"OAUTH2_1_TARGET=" + s.APIURL(),
	}
}

// startFHIR starts a FHIR server with SMART Backend Services (SMART App Launch 2), which
// is found by its address, and fetches the public keys of its client from the sidecar.
func startFHIR(life lives) *upstreamtest.Server {
	return upstreamtest.NewEndpoint(upstreamtest.EndpointRules{
		Name: "fhir", Lifetime: life.others, Auth: upstreamtest.AuthPrivateKeyJWT, Scopes: []string{"system/Patient.rs"},
		Metadata: map[string]string{"/r4/.well-known/smart-configuration": `{"token_endpoint":"{issuer}/oauth/token"}`},
		Assertion: &upstreamtest.AssertionRules{
			Algorithms: []string{"ES384", "RS384"}, NeedKeyID: true, MaxLife: 5 * time.Minute,
			KeysURL: func() string { return "http://" + life.keysAt + "/.well-known/jwks.json" },
		},
	})
}

func fhirSettings(s *upstreamtest.Server) []string {
	return []string{
		"OAUTH2_2_NAME=fhir",
		"OAUTH2_2_AUTH=private_key_jwt",
		"OAUTH2_2_CLIENT_ID=" + s.ClientID(),
		"OAUTH2_2_PRIVATE_KEY=" + fhirKey(),
		"OAUTH2_2_KEY_ID=thumbprint",
		"OAUTH2_2_ISSUER=" + s.Issuer() + "/r4",
		"OAUTH2_2_SCOPE=system/Patient.rs",
		"OAUTH2_2_TARGET=" + s.APIURL(),
	}
}

// fhirKey is the key of all replicas, which signs with ES384.
var fhirKey = sync.OnceValue(func() string {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
})
