package main_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// What the app is told depends on what the provider says of a subject, and on
// nothing that happened before: not on what is cached, nor on whether it is.
//
// Case D13.
func TestAnswersDoNotTellWhatIsCached(t *testing.T) {
	t.Parallel()
	human, p := startHuman(t)
	const subjects = 20
	// same asks twice for each subject and wants one face for all answers.
	same := func(status int, names ...string) {
		t.Helper()
		first := ""
		for _, name := range names {
			for i := range subjects {
				id := fmt.Sprintf("%s-%02d", name, i)
				before := human.TokenRequests()
				for _, cached := range []bool{false, true} {
					a := p.mustGet(status, "/humanapi/v1/x", "X-Token-Subject", id)
					if first == "" {
						first = face(a, id)
					}
					if got := face(a, id); got != first {
						t.Fatalf("%s, cached %t, is told\n%s\nand another\n%s", id, cached, got, first)
					}
				}
				if n := human.TokenRequests() - before; n != 1 {
					t.Fatalf("%d token requests for %s: the second answer did not come from memory", n, id)
				}
			}
		}
	}
	same(http.StatusOK, "one", "two")
	same(http.StatusForbidden, "unknown", "alone")

	// While there are no tokens, those whom the provider knows look like others.
	human.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer { return &upstreamtest.Answer{Status: 500} })
	first := ""
	for i := range subjects {
		for _, id := range []string{fmt.Sprintf("three-%02d", i), fmt.Sprintf("unknown-x%02d", i)} {
			a := p.mustGet(http.StatusServiceUnavailable, "/humanapi/v1/x", "X-Token-Subject", id)
			if first == "" {
				first = face(a, id)
			}
			if got := face(a, id); got != first {
				t.Fatalf("during an outage %s is told\n%s\nand another\n%s", id, got, first)
			}
		}
	}
	p.mustGet(http.StatusOK, "/humanapi/v1/x", "X-Token-Subject", "one-00")
	p.mustGet(http.StatusForbidden, "/humanapi/v1/x", "X-Token-Subject", "unknown-00")
}

// startHuman starts a sidecar before a Human API that does not know some users
// and has others who are not connected.
func startHuman(t *testing.T) (*upstreamtest.Server, *process) {
	t.Helper()
	human := upstreamtest.NewHumanAPI(upstreamtest.Options{Lifetime: time.Hour, ClientID: clientID, ClientSecret: clientSecret,
		KnowsUser:     func(id string) bool { return !strings.HasPrefix(id, "unknown") },
		ConnectedUser: func(id string) bool { return !strings.HasPrefix(id, "alone") }})
	t.Cleanup(human.Close)
	p := start(t, nil, "SIDECAR_LOG_LEVEL=info", "SIDECAR_HUMANAPI_CLIENT_ID="+clientID, "SIDECAR_HUMANAPI_CLIENT_SECRET="+clientSecret,
		"SIDECAR_HUMANAPI_TARGET="+human.APIURL(), "SIDECAR_HUMANAPI_TOKEN_URL="+human.TokenURL())
	return human, p
}

var serial = regexp.MustCompile(`"token":"\d+"`)

// face is all that an answer shows, save the time, the subject itself and the
// number of its token.
func face(a answer, subject string) string {
	a.header.Del("Date")
	if a.header.Get("Retry-After") != "" {
		a.header.Set("Retry-After", "some seconds")
	}
	if a.status == http.StatusOK {
		a.header.Del("Content-Length") // with the number of the token
	}
	body := strings.ReplaceAll(serial.ReplaceAllString(a.body, ""), subject, "subject")
	return fmt.Sprint(a.status, a.header, body, a.err)
}
