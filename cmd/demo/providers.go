package main

import (
	"strings"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// Subjects that the simulated providers treat as their names say. They know
// every other one.
const (
	unknownParticipant = "nobody"
	unconnectedUser    = "not-connected"
	foreignInstitution = "99999" // not on the WSKey
	homeInstitution    = "128807"
)

// providers are the simulated remote APIs. Books and ledger are generic OAuth
// 2.0 APIs, ledger with private_key_jwt.
type providers struct {
	mydatahelps, pdx, oclc, humanapi, books, ledger *upstreamtest.Server
}

// lives is how long tokens live.
type lives struct{ ledger, others time.Duration }

func startProviders(life lives) *providers {
	shared := upstreamtest.Options{Lifetime: life.others}
	mydatahelps, oclc, humanapi := shared, shared, shared
	mydatahelps.KnowsParticipant = func(id string) bool { return id != unknownParticipant }
	oclc.InstitutionOnKey = func(id string) bool { return id != foreignInstitution }
	humanapi.HIP = true
	humanapi.ConnectedUser = func(id string) bool { return id != unconnectedUser }
	return &providers{
		mydatahelps: upstreamtest.NewMyDataHelps(mydatahelps),
		pdx:         upstreamtest.NewPDX(shared),
		oclc:        upstreamtest.NewOCLC(oclc),
		humanapi:    upstreamtest.NewHumanAPI(humanapi),
		books:       upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Name: "books", Lifetime: life.others}),
		ledger: upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Name: "ledger", Lifetime: life.ledger,
			Auth: upstreamtest.AuthPrivateKeyJWT}),
	}
}

// upstreams are the names of the providers as the sidecar knows them.
var upstreams = [...]string{"mydatahelps", "pdx", "oclc", "humanapi", "books", "ledger"}

// of returns the provider that a route leads to, nil if there is none.
func (p *providers) of(route string) *upstreamtest.Server {
	name, _, _ := strings.Cut(route, ".")
	switch name {
	case "mydatahelps":
		return p.mydatahelps
	case "pdx":
		return p.pdx
	case "oclc":
		return p.oclc
	case "humanapi":
		return p.humanapi
	case "books":
		return p.books
	case "ledger":
		return p.ledger
	}
	return nil
}

func (p *providers) close() {
	for _, name := range upstreams {
		p.of(name).Close()
	}
}

// environ is the part of a sidecar's environment that the providers made up:
// credentials and addresses.
func (p *providers) environ() []string {
	return []string{
		"SIDECAR_MYDATAHELPS_SERVICE_ACCOUNT=" + p.mydatahelps.ClientID(),
		"SIDECAR_MYDATAHELPS_PRIVATE_KEY=" + p.mydatahelps.PrivateKey(),
		"SIDECAR_MYDATAHELPS_TOKEN_URL=" + p.mydatahelps.TokenURL(),
		"SIDECAR_MYDATAHELPS_TARGET=" + p.mydatahelps.APIURL(),
		"SIDECAR_MYDATAHELPS_TARGETS=designer=" + p.mydatahelps.HostURL("designer"),
		"SIDECAR_MYDATAHELPS_ALLOWED_SCOPES=" + readScope,
		"SIDECAR_MYDATAHELPS_PARTICIPANT_LISTEN=" + anyPort,

		"SIDECAR_PDX_CLIENT_ID=" + p.pdx.ClientID(),
		"SIDECAR_PDX_CLIENT_SECRET=" + p.pdx.ClientSecret(),
		"SIDECAR_PDX_TOKEN_URL=" + p.pdx.TokenURL(),
		"SIDECAR_PDX_TARGET=" + p.pdx.APIURL(),
		"SIDECAR_PDX_TARGETS=idaas=" + p.pdx.HostURL("idaas"),
		"SIDECAR_PDX_ALLOWED_SCOPES=" + mamScope,

		"SIDECAR_OCLC_WSKEY=" + p.oclc.ClientID(),
		"SIDECAR_OCLC_SECRET=" + p.oclc.ClientSecret(),
		"SIDECAR_OCLC_TOKEN_URL=" + p.oclc.TokenURL(),
		"SIDECAR_OCLC_TARGET=" + p.oclc.APIURL(),
		"SIDECAR_OCLC_TARGETS=discovery=" + p.oclc.HostURL("discovery"),
		"SIDECAR_OCLC_INSTITUTION=" + homeInstitution,
		"SIDECAR_OCLC_LISTEN=" + anyPort,

		"SIDECAR_HUMANAPI_CLIENT_ID=" + p.humanapi.ClientID(),
		"SIDECAR_HUMANAPI_CLIENT_SECRET=" + p.humanapi.ClientSecret(),
		"SIDECAR_HUMANAPI_TOKEN_URL=" + p.humanapi.TokenURL(),
		"SIDECAR_HUMANAPI_TARGET=" + p.humanapi.APIURL(),
		"SIDECAR_HUMANAPI_TARGETS=admin=" + p.humanapi.HostURL("admin"),
		"SIDECAR_HUMANAPI_HIP=true",

		"SIDECAR_OAUTH2_0_NAME=books",
		"SIDECAR_OAUTH2_0_CLIENT_ID=" + p.books.ClientID(),
		"SIDECAR_OAUTH2_0_CLIENT_SECRET=" + p.books.ClientSecret(),
		"SIDECAR_OAUTH2_0_TOKEN_URL=" + p.books.TokenURL(),
		"SIDECAR_OAUTH2_0_TARGET=" + p.books.APIURL(),

		"SIDECAR_OAUTH2_1_NAME=ledger",
		"SIDECAR_OAUTH2_1_AUTH=private_key_jwt",
		"SIDECAR_OAUTH2_1_CLIENT_ID=" + p.ledger.ClientID(),
		"SIDECAR_OAUTH2_1_PRIVATE_KEY=" + p.ledger.PrivateKey(),
		"SIDECAR_OAUTH2_1_TOKEN_URL=" + p.ledger.TokenURL(),
		"SIDECAR_OAUTH2_1_TARGET=" + p.ledger.APIURL(),
	}
}
