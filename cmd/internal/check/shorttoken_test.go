package check

import (
	"net/http"
	"strings"
	"testing"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// connection starts a PDX with a Dedicated Connection, which answers requests for short
// access tokens with a unless that is nil, and returns the settings of a sidecar for it.
func connection(t *testing.T, a *upstreamtest.Answer, more ...string) (*upstreamtest.Server, []string) {
	s := testkit.Closing(t, upstreamtest.NewPDX(upstreamtest.Options{ConnectionNID: "4711", ConnectionToken: testkit.Canary}))
	s.SetAPIFault(func(*http.Request, int) *upstreamtest.Answer { return a })
	return s, testkit.PDX(s, append([]string{"PDX_CONNECTION_NID=4711", "PDX_CONNECTION_TOKEN=" + testkit.Canary}, more...)...)
}

// Case FTC5.
func TestCheckAsksForAShortToken(t *testing.T) {
	s, settings := connection(t, nil)
	text, report, err := runCheck(t, settings)
	if err != nil || len(report.Requests) != 2 || len(s.ShortTokens()) != 2 { // for people and for machines
		t.Fatalf("%v, %d short access tokens\n%s", err, len(s.ShortTokens()), text)
	}
	if r := report.Requests[1]; r.Upstream != "pdx" || r.Kind != kindShortToken || r.Outcome != outcomeOK || "http://"+r.Host != s.APIURL() || r.Cause != "" {
		t.Errorf("%+v", r)
	}
	testkit.AssertNoLeak(t, text+report.raw, append(s.ShortTokens(), testkit.Canary)...)
}

// Case FTC5.
func TestCheckExplainsAMissingShortToken(t *testing.T) {
	with := func(a *upstreamtest.Answer, more ...string) func(*testing.T) []string {
		return func(t *testing.T) []string {
			_, settings := connection(t, a, more...)
			return settings
		}
	}
	checkBroken(t, []brokenCheck{
		{"unknown NID", with(nil, "PDX_CONNECTION_NID=4712"), nil, "credential/401", "no short access token is given, status 401", "PDX_CONNECTION_NID"},
		{"HTML", with(&upstreamtest.Answer{Body: "<html>"}), nil, "malformed/200", "not a short access token", "PDX_TARGET"},
		{"down", with(&upstreamtest.Answer{Reset: true}), nil, "unavailable/connection_terminated", "ended the connection", "PDX_TARGET"},
		{"nobody there", with(nil, "PDX_TARGET=http://127.0.0.1:1"), nil, "unavailable/connection_refused", "127.0.0.1:1 refuses", "PDX_TARGET"},
		{"slow", with(&upstreamtest.Answer{Hang: true}, "TOKEN_TIMEOUT=2s"), nil, "unavailable/http_response_timeout", "within 2s", "PDX_TARGET"},
	})
	_, settings := connection(t, &upstreamtest.Answer{Body: testkit.Canary})
	if text, _, err := runCheck(t, settings); err == nil || strings.Contains(text, testkit.Canary) {
		t.Errorf("%v\n%s", err, text)
	}
}
