package upstream

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

func newTestConnection(t *testing.T, target string) *pdxConnection {
	u := newTestPDX(t, "http://token.example/", func(c *PDXConfig) {
		c.Target, c.Targets = parseURL(t, target), []Target{{"idaas", parseURL(t, "https://idaas.example")}}
		c.ConnectionNID, c.ConnectionToken = "4711", NewSecret("connection")
	})
	t.Cleanup(u.CloseIdleConnections)
	routes := u.Routes()
	if routes[1].Fields != nil {
		t.Error("a further host gets the fields of a connection")
	}
	return routes[0].Fields.(*pdxConnection)
}

// The SHA-512 of "connection" and of "shortconnection", as sha512sum prints them.
const (
	hashOfToken = "3a3cd1428cda56d28d8eea7591418b4caa0bcf4fe2e9def87a255bc5646ce78899cb9332edfda0fe921aa5b684e7ffe3dbfdb78a27de31f2bf4105ea9d4ffbab"
	hashOfBoth  = "d43ea1fb30c62eb004a3bff38be2ac4f3565d9465a13628967d143ca69a1f90dc80de3b4cf89db389f5524e86d60dd140cec512a4e59b6a222a3b94a157f7f00"
)

// Case FTC4.
func TestShortTokenRequestIsWhatTheContractAsks(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{ConnectionNID: "4711", ConnectionToken: "connection"})
	t.Cleanup(s.Close)
	var got *http.Request
	s.SetAPIFault(func(r *http.Request, _ int) *upstreamtest.Answer {
		got = r.Clone(t.Context())
		return nil
	})
	c := newTestConnection(t, s.APIURL())
	if err := c.Try(t.Context()); err != nil || len(s.ShortTokens()) != 1 {
		t.Fatalf("%v, %d tokens", err, len(s.ShortTokens()))
	}
	want := http.Header{"Accept": {"application/json"}, "User-Agent": {"token-sidecar"}}
	if got.Method != "GET" || got.RequestURI != "/access-token/4711" || got.ContentLength != 0 || !reflect.DeepEqual(got.Header, want) {
		t.Errorf("the request is %s %s, %q", got.Method, got.RequestURI, got.Header)
	}
}

// A short access token is read in both forms that Mydex's examples take, and hashed with the
// connection token behind it.
//
// Case FTC4.
func TestShortTokenIsReadInBothForms(t *testing.T) {
	s := newScripted(t)
	c := newTestConnection(t, strings.TrimSuffix(s.url, "/token"))
	for _, body := range []string{`"short"`, " \"sh\\u006frt\"\n", `{"token":"short"}`, `{"expires":{"in":1},"token":"short","Tokens":2}`} {
		s.answer(reply{body: body})
		fields, err := c.Fields(t.Context(), "POST", "/api/connection", nil)
		if err != nil || len(fields) != 2 || fields[0].Name != "Authentication" || fields[0].Value.Reveal() != hashOfBoth ||
			fields[1].Name != "Short-Access-Token" || fields[1].Value.Reveal() != "short" {
			t.Errorf("%s: %v", body, err)
		}
	}
	if got := PDXConnectionHash(NewSecret("connection")); got != hashOfToken {
		t.Errorf("the hash of the connection token is %s", got)
	}
}

// What keeps a short access token from coming is told by its class, in our words.
//
// Case FTC5.
func TestMissingShortTokenIsTold(t *testing.T) {
	s := newScripted(t)
	c := newTestConnection(t, strings.TrimSuffix(s.url, "/token"))
	for _, tt := range []struct {
		reply reply
		want  Error
	}{
		{reply{status: 401}, Error{Class: ClassCredential, Status: 401, Reason: "no short access token is given"}},
		{reply{status: 429, header: http.Header{"Retry-After": {"7"}}}, Error{Class: ClassThrottled, Status: 429, Reason: "no short access token is given", RetryAfter: 7 * time.Second}},
		{reply{status: 500, body: `"short"`}, Error{Class: ClassUnavailable, Status: 500, Reason: "no short access token is given"}},
		{reply{body: `<html>short</html>`}, Error{Class: ClassMalformed, Status: 200, Reason: "the answer is not a short access token"}},
		{reply{body: `"short"` + strings.Repeat(" ", maxAnswer)}, Error{Class: ClassMalformed, Status: 200, Reason: "the answer is not a short access token"}},
	} {
		s.answer(tt.reply)
		fields, err := c.Fields(t.Context(), "POST", "/api/pds", nil)
		tt.want.Upstream = "pdx"
		if got, ok := err.(*Error); !ok || *got != tt.want || fields != nil {
			t.Errorf("error %+v, want %+v", err, tt.want)
		}
	}
}
