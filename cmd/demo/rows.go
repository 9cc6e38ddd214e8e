package main

import (
	"context"
	"net/http"
	"sync/atomic"

	"token-sidecar/upstream/upstreamtest"
)

// row is one request of -once and what must come of it.
type row struct {
	about string // what is special about it
	request
	before func(context.Context, *demo) error // brings that about
	want   want
}

// want is the right outcome of a row.
type want struct {
	status               int // zero: 200
	code                 string
	kind, subject, scope string // of the token that arrived; scope is not looked at if empty
	from                 source
	asked                int  // token requests to the provider
	renewed              bool // the token is newer than the one seen last
}

// source is where a token came from.
type source string

const (
	nowhere       source = "-" // none was looked up
	memory        source = "memory"
	tokenEndpoint source = "token endpoint"
	redis         source = "redis" // waited for, without a token request: another replica had it
)

// Subjects that the simulated providers treat as their names say. They know
// every other one.
const (
	unknownParticipant = "nobody"
	unconnectedUser    = "not-connected"
	foreignInstitution = "99999" // not on the WSKey
	homeInstitution    = "128807"
)

const (
	readScope = "Participant:read"
	mamScope  = "get:/api/pds/mam"
)

// The ways in, and the outcomes that many rows share.
var (
	projects    = request{route: "mydatahelps", path: "/api/v1/administration/projects"}
	surveys     = request{route: "mydatahelps.designer", path: "/api/v1/surveys"}
	participant = request{route: "mydatahelps.participant", path: "/api/v1/participant"}
	members     = request{route: "pdx", path: "/api/pds"}
	identities  = request{route: "pdx.idaas", path: "/api/uid"}
	mam         = request{route: "pdx", path: "/api/pds/mam"}
	bibs        = request{route: "oclc", path: "/worldcat/manage/bibs/1"}
	discovery   = request{route: "oclc.discovery", path: "/worldcat/search/v2/bibs"}
	profile     = request{route: "humanapi", path: "/v1/human/profile"}
	users       = request{route: "humanapi.admin", path: "/api/v1/users"}
	books       = request{route: "books", path: "/v1/books"}
	ledger      = request{route: "ledger", path: "/v1/entries"}
	fhir        = request{route: "fhir", path: "/Patient"}

	service  = want{kind: upstreamtest.KindService, from: memory}
	client   = want{kind: upstreamtest.KindClient, from: memory}
	homeOCLC = want{kind: upstreamtest.KindClient, subject: homeInstitution, from: memory}
)

func (r request) as(subject string) request { r.subject = subject; return r }
func (r request) inPath() request           { r.subjectInPath = true; return r }
func (r request) with(scope string) request { r.scope = scope; return r }
func (r request) by(w way) request          { r.way = w; return r }

func (w want) of(subject string) want { w.subject = subject; return w }
func (w want) shared() want           { w.from = redis; return w }
func (w want) scoped(s string) want   { w.scope = s; return w }

// bought is w with the token fresh from the token endpoint, by n token requests.
func (w want) bought(n int) want { w.from, w.asked = tokenEndpoint, n; return w }

func (w want) again() want { w.renewed = true; return w }

// refused is an answer without a token, before anyone was asked for one.
func refused(status int, code string) want { return want{status: status, code: code} }

// denied is the refusal of a token endpoint after n token requests; 0 means
// that it is remembered.
func denied(status int, code string, n int) want {
	w := want{status: status, code: code, from: memory}
	if n > 0 {
		w = w.bought(n)
	}
	return w
}

// allRows are played in this order: a later row finds what an earlier one left
// in the cache.
func allRows() []row {
	var all []row
	for _, p := range table() {
		all = append(all, p.rows()...)
	}
	return append(all, row{about: "no such route", request: request{route: "nowhere", path: "/v1"},
		want: refused(http.StatusNotFound, "unknown_route")})
}

func myDataHelpsRows() []row {
	p1 := want{kind: upstreamtest.KindParticipant, subject: "P-1001", from: memory}
	return []row{
		{"loaded at the start", projects, nil, service},
		{"other host, same token", surveys, nil, service},
		{"a service token is for nobody", projects.as("P-1001"), nil, refused(http.StatusBadRequest, "subject_not_taken")},
		{"first request", participant.as("P-1001"), nil, p1.bought(1)},
		{"second request", participant.as("P-1001"), nil, p1},
		{"subject in the path", participant.as("P-1001").inPath(), nil, p1},
		{"own listener", participant.as("P-1001").inPath().by(byListener), nil, p1},
		{"another replica, first request", participant.as("P-1001").by(byReplica), nil, p1.shared()},
		{"another replica, second request", participant.as("P-1001").by(byReplica), nil, p1},
		{"another participant", participant.as("P-1002"), nil, p1.of("P-1002").bought(1)},
		{"subject forgotten", participant, nil, refused(http.StatusBadRequest, "subject_required")},
		{"narrower scope", participant.as("P-1001").with(readScope), nil, p1.scoped(readScope).bought(1)},
		{"scope not allowed", participant.as("P-1001").with("DeviceData:write"), nil, refused(http.StatusForbidden, "scope_not_allowed")},
		{"token revoked", participant.as("P-1002"), revoke("P-1002"), p1.of("P-1002").bought(1)},
		// One request that is refused, one for a service token, and one more.
		{"service token revoked", participant.as("P-1003"), revoke(""), p1.of("P-1003").bought(3)},
		{"its replacement", projects, nil, service.again()},
		{"unknown participant", participant.as(unknownParticipant), nil, denied(http.StatusForbidden, "subject_refused", 1)},
		{"refusal remembered", participant.as(unknownParticipant), nil, denied(http.StatusForbidden, "subject_refused", 0)},
	}
}

func pdxRows() []row {
	// PDX answers 401 to a token without the scope, as to an expired one.
	short := want{status: http.StatusUnauthorized, from: memory}
	return []row{
		{"loaded at the start", members, nil, client},
		{"other host, same token", identities, nil, client},
		{"first for this scope", mam.with(mamScope), nil, client.scoped(mamScope + " mydex:pdx").bought(1)},
		{"second for this scope", mam.with(mamScope), nil, client.scoped(mamScope + " mydex:pdx")},
		{"401 whatever the token", mam, nil, short.bought(1)},
		{"401 soon after: cool-down", mam, nil, short},
		{"a PDX token is for nobody", members.as("member-7"), nil, refused(http.StatusBadRequest, "subject_not_taken")},
	}
}

func oclcRows() []row {
	return []row{
		{"default institution", bibs, nil, homeOCLC},
		{"other host, same token", discovery, nil, homeOCLC},
		{"own listener", bibs.by(byListener), nil, homeOCLC},
		{"another institution", bibs.as("91475"), nil, homeOCLC.of("91475").bought(1)},
		{"second request", bibs.as("91475"), nil, homeOCLC.of("91475")},
		{"institution not on the key", bibs.as(foreignInstitution), nil, denied(http.StatusForbidden, "subject_refused", 1)},
		{"not an institution", bibs.as("ocwms"), nil, refused(http.StatusBadRequest, "subject_invalid")},
		{"token endpoint down", bibs, tokenEndpointDown, homeOCLC},
		{"down, and a new institution", bibs.as("1582"), nil, denied(http.StatusServiceUnavailable, "token_unavailable", 1)},
	}
}

func humanAPIRows() []row {
	user := want{kind: upstreamtest.KindAccess, subject: "user-42", from: memory}
	return []row{
		{"first request", profile.as("user-42"), nil, user.bought(1)},
		{"second request", profile.as("user-42").inPath(), nil, user},
		{"HIP client", users, nil, client},
		{"user not connected", profile.as(unconnectedUser), nil, denied(http.StatusForbidden, "subject_refused", 1)},
		{"subject forgotten", profile, nil, refused(http.StatusBadRequest, "subject_required")},
	}
}

func booksRows() []row {
	return []row{
		{"loaded at the start", books, nil, client},
		{"app with http_proxy", books.by(byProxy), nil, client},
		{"target answers 401 once", books, answer401Once, client.bought(1)},
	}
}

func ledgerRows() []row {
	return []row{
		// Just replaced, it is not replaced again while the row is played.
		{"private_key_jwt, 3 s tokens", ledger, refreshed, client},
		{"replaced ahead of expiry", ledger, refreshed, client.again()},
	}
}

func fhirRows() []row {
	return []row{{"SMART: keys fetched from the sidecar", fhir, nil, client}}
}

// revoke makes the tokens of a participant worthless; "" means the service account.
func revoke(subject string) func(context.Context, *demo) error {
	return func(_ context.Context, d *demo) error {
		d.providers["mydatahelps"].RevokeSubject(subject)
		return nil
	}
}

func tokenEndpointDown(_ context.Context, d *demo) error {
	d.providers["oclc"].SetTokenFault(func(*http.Request, int) *upstreamtest.Answer {
		return &upstreamtest.Answer{Status: http.StatusServiceUnavailable}
	})
	return nil
}

func answer401Once(_ context.Context, d *demo) error {
	var done atomic.Bool
	d.providers["books"].SetAPIFault(func(*http.Request, int) *upstreamtest.Answer {
		if done.Swap(true) {
			return nil
		}
		return &upstreamtest.Answer{Status: http.StatusUnauthorized}
	})
	return nil
}

// refreshed waits until the token of ledger has been replaced once more.
func refreshed(ctx context.Context, d *demo) error {
	now, err := d.scrape(ctx, d.sidecar)
	if err != nil {
		return err
	}
	return d.await(ctx, d.sidecar, func(s series) bool { return s.refreshes("ledger") > now.refreshes("ledger") })
}
