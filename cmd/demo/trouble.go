package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/upstream/upstreamtest"
)

// trouble is something that goes wrong while a person is on call.
type trouble struct {
	name     string
	what     string                             // that goes wrong, told only at the end
	settings func() (more []string, end func()) // of the sidecars, without SIDECAR_; nil if there are none
	begin    func(*demo)                        // nil if it is there from the start
	ask      []request                          // that the app sends, beside the usual ones
}

// troubles are all of them. Most play at books, whose token lives half a minute.
func troubles() []trouble {
	return []trouble{
		{name: "secret", what: "the client secret of books was replaced at the provider, which answers as Keycloak does",
			begin: tokensFail("books", upstreamtest.OAuthError(http.StatusUnauthorized, "unauthorized_client"))},
		{name: "scope", what: "the client of books lost a scope",
			begin: tokensFail("books", upstreamtest.OAuthError(http.StatusBadRequest, "invalid_scope"))},
		{name: "provider-down", what: "the token endpoint of books is down", begin: tokensFail("books", &upstreamtest.Answer{Status: http.StatusServiceUnavailable})},
		{name: "rate-limited", what: "the provider of books answers 429 to token requests",
			begin: tokensFail("books", &upstreamtest.Answer{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"60"}}})},
		{name: "clock", what: "the clock of this machine is ten minutes slow, by that of ledger's provider", begin: func(d *demo) {
			d.providers["ledger"].SetTokenFault(func(*http.Request, int) *upstreamtest.Answer {
				a := upstreamtest.OAuthError(http.StatusUnauthorized, "invalid_client")
				a.Header.Set("Date", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat))
				return a
			})
		}},
		{name: "redis", what: "the password of Redis was changed", begin: func(d *demo) {
			d.redis.SetError("WRONGPASS invalid username-password pair or user is disabled.")
		}},
		{name: "target-down", what: "the API of books is down", settings: func() ([]string, func()) {
			return []string{"OAUTH2_0_TARGET=http://" + unused()}, func() {} // nobody listens there
		}},
		{name: "certificate", what: "the certificate of books' API is of a CA that the sidecar does not trust", settings: func() ([]string, func()) {
			api := httptest.NewUnstartedServer(http.NotFoundHandler())
			api.Config.ErrorLog = log.New(io.Discard, "", 0)
			api.StartTLS()
			return []string{"OAUTH2_0_TARGET=" + api.URL}, api.Close
		}},
		{name: "budget", what: "more users of Human API are served than its budget of token requests allows",
			settings: func() ([]string, func()) { return []string{"HUMANAPI_TOKEN_BUDGET=6/m"}, func() {} }, ask: manyUsers()},
	}
}

// tokensFail has all token requests to a provider answered so.
func tokensFail(provider string, a *upstreamtest.Answer) func(*demo) {
	return func(d *demo) {
		d.providers[provider].SetTokenFault(func(*http.Request, int) *upstreamtest.Answer { return a })
	}
}

// manyUsers asks for more users than a budget has turns.
func manyUsers() (all []request) {
	for i := range 60 {
		all = append(all, profile.as(fmt.Sprintf("user-%d", 1000+i)))
	}
	return all
}

// findTrouble returns the trouble of that name.
func findTrouble(name string) (trouble, error) {
	var names []string
	for _, t := range troubles() {
		if t.name == name {
			return t, nil
		}
		names = append(names, t.name)
	}
	return trouble{}, fmt.Errorf("no trouble is named %q; there are %s", name, strings.Join(names, ", "))
}

// startTrouble starts the demo with what the trouble needs. The caller must call end.
func startTrouble(ctx context.Context, t trouble, data, admin string, life lives, log zerolog.Logger) (d *demo, end func(), err error) {
	var more []string
	ended := func() {}
	if t.settings != nil {
		more, ended = t.settings()
	}
	if d, err = start(ctx, data, admin, life, log, more...); err != nil {
		ended()
		return nil, nil, err
	}
	return d, func() { d.stop(); ended() }, nil
}

// peace is how long all is well before a trouble begins.
const peace = 5 * time.Second

// onCall says where a person can look.
func (d *demo) onCall(w io.Writer) {
	_, _ = fmt.Fprintf(w, `# You are on call. An app asks every provider once a second, and soon something goes wrong.
# What is it, whom does it hurt, and what is to be done? Ctrl-C ends the trouble and says what it was.
#
# status page: http://%[1]s/
# metrics:     curl http://%[1]s/metrics
# log:         below, warnings only
# runbook:     docs/runbook.md

`, d.address("admin"))
}

// live has an app ask every provider once a second, and the trouble begin after a while, until ctx
// ends.
func (d *demo) live(ctx context.Context, t trouble, after time.Duration) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	began := time.Now()
	asked := append([]request{projects, members, bibs, profile.as("user-42"), books, ledger, fhir}, t.ask...)
	for {
		if t.begin != nil && time.Since(began) >= after {
			t.begin(d)
			t.begin = nil
		}
		for _, r := range asked {
			_, _ = d.send(ctx, r) // that it fails is the point
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
