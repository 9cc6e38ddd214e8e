package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// setup is an upstream that something is wrong with from the start.
type setup struct {
	name     string
	fault    *upstreamtest.Answer // to all token requests; nil: as the provider answers them
	provider upstreamtest.OAuth2Options
	settings []string // of the upstream, that go before those of the provider

	outcome string // class/code of its row in check, which the log has as fields
	cause   string // part of what check says
	mend    string // variable that it names, without the upstream's part of the name
	alert   string // that fires, without TokenSidecar
}

// setups are 25 ways to get an upstream wrong.
func setups(t *testing.T) []setup {
	page := func(status int) *upstreamtest.Answer {
		return &upstreamtest.Answer{Status: status, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<!doctype html><title>Welcome</title>"}
	}
	granted := func(body string) *upstreamtest.Answer { return &upstreamtest.Answer{Body: body} }
	late := upstreamtest.OAuthError(http.StatusUnauthorized, "invalid_client")
	late.Header.Set("Date", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat))
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(untrusted.Close)
	t.Cleanup(plain.Close)
	closed, notTLS := "http://"+unused(), strings.Replace(plain.URL, "http:", "https:", 1)
	withKey := []string{"-CLIENT_SECRET", "AUTH=private_key_jwt", "PRIVATE_KEY=" + testkit.PrivateKey()}
	byKey := upstreamtest.OAuth2Options{Auth: upstreamtest.AuthPrivateKeyJWT}
	return []setup{
		{name: "wrong-secret", settings: []string{"CLIENT_SECRET=other"}, outcome: "credential/invalid_client", cause: "wrong client id or secret", mend: "CLIENT_SECRET", alert: "CredentialRefused"},
		{name: "unknown-client", settings: []string{"CLIENT_ID=other"}, outcome: "credential/invalid_client", cause: "wrong client id or secret", mend: "CLIENT_ID", alert: "CredentialRefused"},
		{name: "wrong-proof", provider: upstreamtest.OAuth2Options{Auth: upstreamtest.AuthPost, ClientID: "shop", ClientSecret: "of-the-shop"}, outcome: "credential/invalid_client", cause: "in another way", mend: "AUTH", alert: "CredentialRefused"},
		{name: "wrong-key", provider: byKey, settings: withKey, outcome: "credential/invalid_client", cause: "not signed with a key", mend: "PRIVATE_KEY", alert: "CredentialRefused"},
		{name: "late-clock", provider: byKey, settings: withKey, fault: late, outcome: "credential/invalid_client", cause: "clock skew", mend: "*", alert: "CredentialRefused"},
		{name: "firewall", fault: page(http.StatusUnauthorized), outcome: "credential/401", cause: "gateway", mend: "TOKEN_URL", alert: "CredentialRefused"},
		{name: "unknown-scope", settings: []string{"SCOPE=delete"}, outcome: "scope/invalid_scope", cause: "scope not given", mend: "SCOPE", alert: "ScopeRefused"},
		{name: "no-grant", fault: upstreamtest.OAuthError(http.StatusBadRequest, "unauthorized_client"), outcome: "scope/unauthorized_client", cause: "grant not enabled", mend: "GRANT", alert: "ScopeRefused"},
		{name: "narrow", settings: []string{"SCOPE=read write", "NARROW_SCOPE=refuse"}, fault: granted(`{"access_token":"t","token_type":"Bearer","expires_in":3600,"scope":"read"}`),
			outcome: "scope/200", cause: "narrow scope", mend: "NARROW_SCOPE", alert: "ScopeRefused"},
		{name: "no-name", settings: []string{"TOKEN_URL=https://nowhere.invalid/token"}, outcome: "unavailable/dns_error", cause: "does not resolve", mend: "TOKEN_URL", alert: "TokenEndpointFailing"},
		{name: "closed-port", settings: []string{"TOKEN_URL=" + closed + "/token"}, outcome: "unavailable/connection_refused", cause: "refuses the connection", mend: "TOKEN_URL", alert: "TokenEndpointFailing"},
		{name: "untrusted", settings: []string{"TOKEN_URL=" + untrusted.URL + "/token"}, outcome: "unavailable/tls_certificate_error", cause: "not trusted", mend: "SIDECAR_CA_FILE", alert: "TokenEndpointFailing"},
		{name: "no-tls", settings: []string{"TOKEN_URL=" + notTLS + "/token"}, outcome: "unavailable/http_protocol_error", cause: "plain HTTP", mend: "TOKEN_URL", alert: "TokenEndpointFailing"},
		{name: "silent", fault: &upstreamtest.Answer{Hang: true}, outcome: "unavailable/http_response_timeout", cause: "timeout", mend: "SIDECAR_TOKEN_TIMEOUT", alert: "TokenEndpointFailing"},
		{name: "cut-off", fault: &upstreamtest.Answer{Reset: true}, outcome: "unavailable/connection_terminated", cause: "ended the connection", mend: "TOKEN_URL", alert: "TokenEndpointFailing"},
		{name: "outage", fault: page(http.StatusServiceUnavailable), outcome: "unavailable/503", cause: "status 503", mend: "TOKEN_URL", alert: "TokenEndpointFailing"},
		{name: "throttled", fault: &upstreamtest.Answer{Status: http.StatusTooManyRequests}, outcome: "throttled/429", cause: "rate limited", mend: "SIDECAR_TOKEN_RATE", alert: "TokenEndpointFailing"},
		{name: "web-page", fault: page(http.StatusOK), outcome: "malformed/200", cause: "HTML page", mend: "TOKEN_URL", alert: "TokenEndpointFailing"},
		{name: "moved", fault: &upstreamtest.Answer{Status: http.StatusFound, Header: http.Header{"Location": {"https://new.invalid/"}}}, outcome: "malformed/302", cause: "redirect", mend: "TOKEN_URL", alert: "TokenEndpointFailing"},
		{name: "wrong-path", fault: page(http.StatusNotFound), outcome: "malformed/404", cause: "no token endpoint", mend: "TOKEN_URL", alert: "TokenEndpointFailing"},
		{name: "not-bearer", fault: granted(`{"access_token":"t","token_type":"mac"}`), outcome: "malformed/200", cause: "token_type is not Bearer", mend: "TOKEN_URL", alert: "TokenEndpointFailing"},
		{name: "no-proxy", settings: []string{"TOKEN_URL=https://id.behind.invalid/token"}, outcome: "unavailable/egress_proxy_unreachable", cause: "no connection through the egress proxy", mend: "SIDECAR_EGRESS_PROXY", alert: "TokenEndpointFailing"},
		{name: "api-no-name", settings: []string{"TARGET=https://nowhere.invalid"}, outcome: "unreachable/dns_error", cause: "does not resolve", mend: "TARGET", alert: "TargetUnreachable"},
		{name: "api-closed-port", settings: []string{"TARGET=" + closed}, outcome: "unreachable/connection_refused", cause: "refuses the connection", mend: "TARGET", alert: "TargetUnreachable"},
		{name: "api-untrusted", settings: []string{"TARGET=" + untrusted.URL}, outcome: "unreachable/tls_certificate_error", cause: "not trusted", mend: "SIDECAR_CA_FILE", alert: "TargetUnreachable"},
		{name: "api-no-tls", settings: []string{"TARGET=" + notTLS}, outcome: "unreachable/tls_protocol_error", cause: "does not speak", mend: "TARGET", alert: "TargetUnreachable"},
	}
}

// firstSetup is the number of the first of them among the generic upstreams of a demo.
const firstSetup = 3

// settingsOf returns the settings, without SIDECAR_, of upstream n that is set up so.
func (u setup) settingsOf(t *testing.T, n int) []string {
	s := testkit.Closing(t, upstreamtest.NewOAuth2(u.provider))
	if u.fault != nil {
		s.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer { return u.fault })
	}
	own := map[string]string{"NAME": u.name, "CLIENT_ID": s.ClientID(), "CLIENT_SECRET": s.ClientSecret(), "TOKEN_URL": s.TokenURL(), "TARGET": s.APIURL()}
	for _, setting := range u.settings {
		name, value, _ := strings.Cut(setting, "=")
		if gone, ok := strings.CutPrefix(name, "-"); ok {
			delete(own, gone)
			continue
		}
		own[name] = value
	}
	var all []string
	for name, value := range own {
		all = append(all, fmt.Sprintf("OAUTH2_%d_%s=%s", n, name, value))
	}
	return all
}

// allSetups is the trouble of a sidecar that has all of them.
func allSetups(t *testing.T, all []setup) trouble {
	settings := []string{"EGRESS_PROXY=" + "http://" + unused(), "EGRESS_DIRECT=nowhere.invalid", "TOKEN_TIMEOUT=2s"}
	var ask []request
	for i, u := range all {
		settings = append(settings, u.settingsOf(t, firstSetup+i)...)
		ask = append(ask, request{route: u.name, path: "/v1/items"})
	}
	return trouble{name: "setups", settings: func() ([]string, func()) { return settings, func() {} }, ask: ask}
}
