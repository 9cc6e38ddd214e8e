package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/proxy"
	"token-sidecar/upstream"
	"token-sidecar/upstream/upstreamtest"
)

// reaching has c reach targets as the sidecar does, with roots.
func reaching(c Config, roots *x509.CertPool) Config {
	c.Reach = func(ctx context.Context, r upstream.Route, token upstream.Token) error {
		return proxy.Reach(ctx, r, token, roots, nil)
	}
	return c
}

// api is an HTTPS server that counts the requests it gets.
func api(t *testing.T, requests *int, config *tls.Config) *httptest.Server {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { *requests++ }))
	s.Config.ErrorLog, s.TLS, s.EnableHTTP2 = log.New(io.Discard, "", 0), config, true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestTargetsAreReachedWithoutARequest(t *testing.T) {
	requests := 0
	good := api(t, &requests, nil)
	asking := api(t, &requests, &tls.Config{ClientAuth: tls.RequireAnyClientCert})
	old := api(t, &requests, &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12})
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	roots := good.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	for name, c := range map[string]struct {
		target, code string // code is empty if all is well
		cause, mend  string // parts of them
		roots        *x509.CertPool
	}{
		"good":                {target: good.URL, roots: roots},
		"plain":               {target: plain.URL},
		"closed port":         {closedPort(t), "connection_refused", "refuses the connection", "TARGET", roots},
		"private authority":   {good.URL, "tls_certificate_error", "not trusted", "CA_FILE", x509.NewCertPool()},
		"other name":          {strings.Replace(good.URL, "127.0.0.1", "localhost", 1), "tls_certificate_error", "names another host", "TARGET", roots},
		"https to plain http": {strings.Replace(plain.URL, "http:", "https:", 1), "tls_protocol_error", "does not speak", "TARGET", roots},
		"unknown name":        {"https://nowhere.invalid", "dns_error", "does not resolve", "TARGET", roots},
		"client certificate":  {asking.URL, "tls_alert_received", "client certificate", "CERT_KEY", roots},
		"the same, TLS 1.2":   {old.URL, "tls_alert_received", "client certificate", "CERT_KEY", roots},
	} {
		t.Run(name, func(t *testing.T) {
			s := testkit.Closing(t, upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{}))
			settings := testkit.OAuth2(s, "OAUTH2_0_TARGET="+strings.TrimSuffix(c.target, "/token"))
			text, report, err := checkWith(t, reaching(configOf(t, settings), c.roots))
			if len(report.Targets) != 1 {
				t.Fatalf("%d rows\n%s", len(report.Targets), text)
			}
			r := report.Targets[0]
			if (err == nil) != (c.code == "") || r.Code != c.code || r.Route != "books" || r.Kind != "" || !strings.Contains(c.target, r.Host) {
				t.Errorf("%v: %+v", err, r)
			}
			if !strings.Contains(r.Cause, c.cause) || c.mend != "" && !regexp.MustCompile(`\bSIDECAR_\w*`+c.mend+`\b`).MatchString(r.Mend) || strings.ContainsAny(r.Cause+r.Mend, "{}") {
				t.Errorf("cause %q, mend %q", r.Cause, r.Mend)
			}
			if flat := strings.Join(strings.Fields(text), " "); !strings.Contains(flat, "books target") || !strings.Contains(flat, r.Cause) || !strings.Contains(flat, r.Mend) {
				t.Errorf("people are told something else\n%s", text)
			}
			testkit.AssertNoLeak(t, text+report.raw, secretsOf(settings, nil)...)
		})
	}
	if requests > 0 {
		t.Errorf("targets got %d requests", requests)
	}
}

// TestEachTargetIsReachedOnce has two routes of one host, and the variable of each other one named.
func TestEachTargetIsReachedOnce(t *testing.T) {
	s := testkit.Closing(t, upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{}))
	closed := strings.TrimSuffix(closedPort(t), "/token")
	settings := testkit.OAuth2(s, "OAUTH2_0_TARGETS=again="+s.APIURL()+"/v2,old="+closed)
	_, report, err := checkWith(t, reaching(configOf(t, settings), nil))
	if len(report.Targets) != 2 || report.Targets[0].Outcome != outcomeOK || report.Targets[1].Route != "books.old" ||
		!strings.Contains(report.Targets[1].Mend, "SIDECAR_OAUTH2_0_TARGETS") {
		t.Errorf("%+v", report.Targets)
	}
	if err == nil || err.Error() != "check: targets that cannot be reached: 1" {
		t.Errorf("the verdict is %v", err)
	}
}

func TestInterruptedTryOfATargetSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := configOf(t, generic())
	c.Reach = func(ctx context.Context, _ upstream.Route, _ upstream.Token) error { cancel(); return ctx.Err() }
	if r := c.reach(ctx, target{route: c.Upstreams[0].Routes()[0]}); r.Outcome != outcomeFailed || !strings.Contains(r.Cause, "interrupted") {
		t.Errorf("%+v", r)
	}
}

// TestEveryFailureToReachATargetHasACause makes sure of the last rule.
func TestEveryFailureToReachATargetHasACause(t *testing.T) {
	c := configOf(t, generic())
	c.Reach = func(context.Context, upstream.Route, upstream.Token) error { return io.ErrNoProgress }
	if r := c.reach(t.Context(), target{route: c.Upstreams[0].Routes()[0]}); r.Cause == "" || !strings.Contains(r.Mend, "SIDECAR_OAUTH2_0_TARGET") {
		t.Errorf("%+v", r)
	}
}

// TestTargetSeesTheClientCertificate has an API that wants the certificate that tokens are
// bound to.
func TestTargetSeesTheClientCertificate(t *testing.T) {
	s := testkit.Closing(t, upstreamtest.NewEndpoint(upstreamtest.EndpointRules{Auth: upstreamtest.AuthTLS, ClientCertificate: func(string) bool { return true }}))
	requests := 0
	wanting := api(t, &requests, &tls.Config{ClientAuth: tls.RequireAnyClientCert})
	own, key, _ := upstreamtest.NewCertificate()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	roots := append([]byte(s.CA()), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: wanting.Certificate().Raw})...)
	if err := os.WriteFile(ca, roots, 0o600); err != nil {
		t.Fatal(err)
	}
	settings := testkit.OAuth2(s, "-OAUTH2_0_CLIENT_SECRET", "OAUTH2_0_AUTH=tls", "OAUTH2_0_CERT="+own, "OAUTH2_0_CERT_KEY="+key, "CA_FILE="+ca,
		"OAUTH2_0_TARGET="+wanting.URL)
	c := configOf(t, settings)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	text, report, err := checkWith(t, reaching(c, pool))
	if err != nil || len(report.Targets) != 1 || report.Targets[0].Outcome != outcomeOK || requests > 0 {
		t.Errorf("%v: %d requests\n%s", err, requests, text)
	}
	// Without a token there is no certificate to show, and nothing is said of the API.
	s.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer {
		return &upstreamtest.Answer{Status: http.StatusServiceUnavailable}
	})
	text, report, _ = checkWith(t, reaching(c, pool))
	if r := report.Targets[0]; r.Outcome != outcomeUntried || r.Cause != "" || !strings.Contains(text, "get a token first") {
		t.Errorf("%+v\n%s", r, text)
	}
}
