package check

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream"
	"token-sidecar/upstream/upstreamtest"
)

// brokenCheck is one way in which something is wrong.
type brokenCheck struct {
	name    string
	start   func(t *testing.T) []string // its settings
	args    []string
	outcome string // class/code of the last row that was tried
	cause   string // part of it
	mend    string // variable in it, without SIDECAR_
}

func checkBroken(t *testing.T, cases []brokenCheck) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			settings := c.start(t)
			text, report, err := runCheck(t, settings, c.args...)
			if exitCode(err) != 1 {
				t.Fatalf("exit code %d: %v\n%s", exitCode(err), err, text)
			}
			r := report.lastTried()
			if r.outcome() != c.outcome {
				t.Errorf("outcome %s, want %s", r.outcome(), c.outcome)
			}
			if !strings.Contains(r.Cause, c.cause) {
				t.Errorf("cause %q lacks %q", r.Cause, c.cause)
			}
			if !regexp.MustCompile(`\bSIDECAR_` + c.mend + `\b`).MatchString(r.Mend) {
				t.Errorf("mend %q does not name SIDECAR_%s", r.Mend, c.mend)
			}
			flat := rounded(strings.Join(strings.Fields(text), " "))
			if !strings.Contains(flat, "cause: "+rounded(r.Cause)) || !strings.Contains(flat, "mend: "+r.Mend) || !strings.Contains(text, r.outcome()) {
				t.Errorf("people are told something else\n%s", text)
			}
			testkit.AssertNoLeak(t, text+report.raw, secretsOf(settings, c.args)...)
		})
	}
}

// lastTried returns the last row of a token that was asked for.
func (r report) lastTried() row {
	tried := slices.DeleteFunc(slices.Clone(r.Requests), func(r row) bool { return r.Outcome == outcomeUntried })
	return tried[len(tried)-1]
}

var skewSeconds = regexp.MustCompile(`\d+ s (ahead|behind)`)

// rounded leaves the seconds out of a cause: the Date header has whole seconds,
// so that two answers with the same clock may differ by one.
func rounded(text string) string { return skewSeconds.ReplaceAllString(text, "some s $1") }

func faulty(s *upstreamtest.Server, a *upstreamtest.Answer) *upstreamtest.Server {
	s.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer { return a })
	return s
}

func dated(a *upstreamtest.Answer, ahead time.Duration) *upstreamtest.Answer {
	a.Header = a.Header.Clone()
	a.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
	return a
}

// genericAnswering is a generic provider that always answers a.
func genericAnswering(a *upstreamtest.Answer) func(*testing.T) []string {
	return func(t *testing.T) []string {
		return testkit.OAuth2(faulty(testkit.Closing(t, upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{})), a))
	}
}

func genericAt(tokenURL func(*testing.T) string) func(*testing.T) []string {
	return func(t *testing.T) []string { return generic("OAUTH2_0_TOKEN_URL=" + tokenURL(t)) }
}

func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return "http://" + l.Addr().String() + "/token"
}

func untrusted(t *testing.T) string {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func TestBrokenConnectionsAreExplained(t *testing.T) {
	html := http.Header{"Content-Type": {"text/html"}}
	const page = "<!doctype html><title>" + testkit.Canary + "</title>"
	checkBroken(t, []brokenCheck{
		{"refused", genericAt(closedPort), nil, "unavailable/connection_refused", "refuses the connection", "OAUTH2_0_TOKEN_URL"},
		{"untrusted certificate", genericAt(untrusted), nil, "unavailable/tls_certificate_error", "certificate", "CA_FILE"},
		{"https to plain http", func(t *testing.T) []string {
			s := testkit.Closing(t, upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{}))
			return testkit.OAuth2(s, "OAUTH2_0_TOKEN_URL="+strings.Replace(s.TokenURL(), "http:", "https:", 1))
		}, nil, "unavailable/http_protocol_error", "plain HTTP", "OAUTH2_0_TOKEN_URL"},
		{"hang", func(t *testing.T) []string {
			s := faulty(testkit.Closing(t, upstreamtest.NewPDX(upstreamtest.Options{})), &upstreamtest.Answer{Hang: true})
			return testkit.PDX(s, "TOKEN_TIMEOUT=2s")
		}, nil, "unavailable/http_response_timeout", "within 2s", "TOKEN_TIMEOUT"},
		{"reset", genericAnswering(&upstreamtest.Answer{Reset: true}), nil, "unavailable/connection_terminated", "ended the connection", "OAUTH2_0_TOKEN_URL"},
		{"page", genericAnswering(&upstreamtest.Answer{Header: html, Body: page}), nil, "malformed/200", "HTML page", "OAUTH2_0_TOKEN_URL"},
		{"page of a firewall", genericAnswering(&upstreamtest.Answer{Status: 403, Header: html, Body: page}), nil, "malformed/403", "firewall", "OAUTH2_0_TOKEN_URL"},
		{"page of a gateway", genericAnswering(&upstreamtest.Answer{Status: 401, Header: html, Body: page}), nil, "credential/401", "gateway", "OAUTH2_0_TOKEN_URL"},
		{"bad request", genericAnswering(&upstreamtest.Answer{Status: 400, Body: page}), nil, "malformed/400", "no token endpoint", "OAUTH2_0_TOKEN_URL"},
		{"unusable token", genericAnswering(&upstreamtest.Answer{Body: `{"access_token":"` + testkit.Canary + `","token_type":"mac"}`}), nil,
			"malformed/200", "token_type is not Bearer", "OAUTH2_0_TOKEN_URL"},
		{"redirect", genericAnswering(&upstreamtest.Answer{Status: 302, Header: http.Header{"Location": {"https://" + testkit.Canary + ".example/"}}}), nil,
			"malformed/302", "redirect", "OAUTH2_0_TOKEN_URL"},
		{"wrong path", func(t *testing.T) []string {
			s := testkit.Closing(t, upstreamtest.NewPDX(upstreamtest.Options{}))
			return testkit.PDX(s, "PDX_TOKEN_URL="+s.TokenURL()+"s")
		}, nil, "malformed/404", "no token endpoint at this address", "PDX_TOKEN_URL"},
		{"rate limit", genericAnswering(&upstreamtest.Answer{Status: 429, Header: http.Header{"Retry-After": {"7"}}}), nil, "throttled/429", "rate limited", "TOKEN_RATE"},
		{"outage", genericAnswering(&upstreamtest.Answer{Status: 503, Header: html, Body: page}), nil, "unavailable/503", "status 503", "OAUTH2_0_TOKEN_URL"},
	})
}

// TestEveryFailureHasACauseAndAMend makes sure that whatever may come has a cause and a mend.
func TestEveryFailureHasACauseAndAMend(t *testing.T) {
	classes := []upstream.Class{upstream.ClassCredential, upstream.ClassSubject, upstream.ClassScope,
		upstream.ClassThrottled, upstream.ClassUnavailable, upstream.ClassMalformed}
	words := []string{"dns_error", "dns_timeout", "tls_certificate_error", "tls_alert_received", "tls_protocol_error", "connection_refused",
		"connection_timeout", "destination_ip_unroutable", "http_response_timeout", "connection_terminated", "http_protocol_error",
		"egress_proxy_answered_401", "egress_proxy_answered_407", "egress_proxy_answered_502", "egress_proxy_unreachable"}
	for _, e := range configOf(t, generic()).Endpoints {
		var all []*upstream.Error
		for _, class := range classes {
			for _, status := range []int{0, 200, 302, 400, 401, 403, 404, 500} {
				all = append(all, &upstream.Error{Class: class, Status: status, Reason: "reason"})
			}
		}
		for _, word := range words {
			for _, start := range []string{"no answer: ", "the answer broke off: "} {
				err := &upstream.Error{Class: upstream.ClassUnavailable, Cause: word, Reason: start + word}
				all = append(all, err)
				if found := explain(failure{err, e, upstream.KindClient, false}); !strings.Contains(found.cause, e.URL.Host) {
					t.Errorf("%s: %q does not name the host", word, found.cause)
				}
			}
		}
		for _, err := range all {
			found := explain(failure{err, e, upstream.KindClient, false})
			if found.cause == "" || !strings.Contains(found.mend, "SIDECAR_") || strings.ContainsAny(found.cause+found.mend, "{}\n") {
				t.Errorf("%v: %+v", err, found)
			}
		}
	}
}
