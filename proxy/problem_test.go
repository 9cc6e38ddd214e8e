package proxy

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"token-sidecar/upstream"
	"token-sidecar/upstream/upstreamtest"
)

// Case I6.
func TestTokenProblemsHaveCodes(t *testing.T) {
	const foreign = "FOREIGN-TEXT"
	for _, c := range []struct {
		status int
		body   string
		want   int
		code   string
		detail string // part of it
	}{
		{503, foreign, 503, "token_unavailable", "fails with status 503"},
		{429, foreign, 503, "token_unavailable", "too many token requests"},
		{200, "<html>" + foreign, 503, "token_unavailable", "web page"},
		{200, `{"access_token":"` + foreign + ` with space","token_type":"Bearer"}`, 503, "token_unavailable", "gives no tokens"},
		{401, `{"error":"invalid_client","error_description":"` + foreign + `"}`, 502, "credential_refused", "operator"},
		{400, `{"error":"invalid_scope","error_description":"` + foreign + `"}`, 403, "scope_not_allowed", "scope"},
		{302, foreign, 503, "token_unavailable", "gives no tokens"},
	} {
		provider := upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{})
		t.Cleanup(provider.Close)
		provider.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer {
			return &upstreamtest.Answer{Status: c.status, Body: c.body}
		})
		s := newSide(t, setup{upstreams: func(s *side) []upstream.Upstream {
			return []upstream.Upstream{upstream.NewOAuth2(upstream.OAuth2Config{Name: "alpha", ClientID: provider.ClientID(),
				ClientSecret: upstream.NewSecret(provider.ClientSecret()),
				Config:       upstream.Config{TokenURL: mustURL(provider.TokenURL()), Target: mustURL(s.up.url()), Scope: "read"}})}
		}})
		for range 3 {
			a := s.get("/alpha/x")
			a.problem(t, c.want, c.code)
			if retry := a.header.Get("Retry-After"); (retry != "") != (c.code == "token_unavailable") || retry == "0" {
				t.Errorf("%s: Retry-After is %q", c.code, retry)
			}
			all := a.body + strings.Join(a.header["Proxy-Status"], "")
			if !strings.Contains(a.body, c.detail) {
				t.Errorf("%s does not say %q: %s", c.code, c.detail, a.body)
			}
			if strings.Contains(all, foreign) || strings.Contains(all, "127.0.0.1") || strings.Contains(all, "alpha") {
				t.Errorf("%s leaks: %s", c.code, all)
			}
		}
		if len(s.up.requests()) != 0 {
			t.Errorf("%s: forwarded without a token", c.code)
		}
		if strings.Contains(s.log.String(), foreign) {
			t.Errorf("the log has %s", s.log)
		}
	}
}

// TestAppsAreToldWhyTheTokenEndpointIsNotReached tells DNS from TLS from a closed port.
func TestAppsAreToldWhyTheTokenEndpointIsNotReached(t *testing.T) {
	secret := httptest.NewUnstartedServer(http.NotFoundHandler())
	secret.Config.ErrorLog = log.New(io.Discard, "", 0)
	secret.StartTLS()
	t.Cleanup(secret.Close)
	for cause, tokenURL := range map[string]string{"connection_refused": "http://127.0.0.1:1/token", "tls_certificate_error": secret.URL,
		"dns_error": "http://no..where.invalid/token"} {
		s := newSide(t, setup{upstreams: func(s *side) []upstream.Upstream {
			return []upstream.Upstream{upstream.NewOAuth2(upstream.OAuth2Config{Name: "alpha", ClientID: "id", ClientSecret: upstream.NewSecret("secret"),
				Config: upstream.Config{TokenURL: mustURL(tokenURL), Target: mustURL(s.up.url())}})}
		}})
		a := s.get("/alpha/x")
		a.problem(t, 503, "token_unavailable")
		if !strings.Contains(a.body, "("+cause+")") || strings.Contains(a.body, "where") || strings.Contains(a.body, "127.0.0.1") {
			t.Errorf("%s: %s", cause, a.body)
		}
	}
}

// Case I6.
func TestRefusedSubjectIsToldWithoutItsName(t *testing.T) {
	s, _, _ := withSubjects(t)
	s.proxy.routes["oclc"].upstream = refusing{s.proxy.routes["oclc"].upstream, upstream.ErrSubjectInvalid}
	s.get("/oclc/x").problem(t, 400, "subject_invalid")
	if p := tokenProblem(errAnswer); p.status != 503 || p.retry != time.Second {
		t.Errorf("an unknown failure is %d after %v", p.status, p.retry)
	}
}

type refusing struct {
	upstream.Upstream
	err error
}

func (r refusing) Key(upstream.Kind, string, string) (upstream.Key, error) {
	return upstream.Key{}, r.err
}

// Case I6.
func TestTargetProblemsHaveCodes(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	s := newSide(t, setup{upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{s.oauth2("gone", "http://"+closed.Addr().String()), s.oauth2("plain", "https"+s.up.url()[4:])}
	}})
	for path, cause := range map[string]string{"/gone/x": "connection_refused"} {
		a := s.get(path)
		a.problem(t, 502, "target_unreachable")
		if got := a.header.Get("Proxy-Status"); !strings.Contains(got, "error="+cause) {
			t.Errorf("%s: Proxy-Status is %q", path, got)
		}
		if strings.Contains(a.body, "127.0.0.1") || !strings.Contains(a.body, "("+cause+")") {
			t.Errorf("%s leaks, or does not say why: %s", path, a.body)
		}
		if !strings.Contains(s.log.String(), fmt.Sprintf(`"problem":"target_unreachable","cause":%q`, cause)) {
			t.Errorf("%s: the log does not say why: %s", path, s.log)
		}
	}
	if a := s.send("HEAD", "/gone/x", ""); a.status != 502 || a.body != "" {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}
	eventually(t, "the line of HEAD", func() bool { return strings.Contains(s.log.String(), `"method":"HEAD","status":502,"sent":0,`) })
}

// A panic while a request is handled tells nothing but its type.
//
// Case I3.
func TestPanicTellsNoSecret(t *testing.T) {
	s, _, _ := withSubjects(t)
	s.proxy.routes["oclc"].upstream = panicking{s.proxy.routes["oclc"].upstream}
	a := s.get("/oclc/x")
	a.problem(t, 500, "internal_error")
	if log := s.log.String(); strings.Contains(log, "secret") || !strings.Contains(log, `"panic":"string"`) {
		t.Errorf("log: %s", log)
	}
	// Half an answer that a panic cut must not look whole.
	x := &exchange{proxy: s.proxy, in: &http.Request{Method: "GET"}, out: responseWriter{status: 200}}
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("the connection lives on")
		}
	}()
	func() {
		defer x.end()
		panic("secret")
	}()
}

type panicking struct{ upstream.Upstream }

func (panicking) Key(upstream.Kind, string, string) (upstream.Key, error) { panic("secret") }

// TestSilentTargetIsTold has a target cut connections for a while: the cause is counted, kept for the
// status page, and logged once; all of that ends with the next answer.
//
// Case U8.
func TestSilentTargetIsTold(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(func(r *upRequest) bool { return r.n > 3 && hello(r) })
	cause := func() string { return s.proxy.Connections()[0].Unreachable }
	for range 3 {
		s.send("POST", "/alpha/x", "a").problem(t, 502, "target_unreachable")
		if got := cause(); got != "connection_terminated" {
			t.Errorf("the cause is %q", got)
		}
	}
	if a := s.get("/alpha/x"); a.status != 200 || cause() != "" {
		t.Errorf("after an answer: %d, %q", a.status, cause())
	}
	w := httptest.NewRecorder()
	s.proxy.config.Metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(w.Body.String(), `token_sidecar_target_failures_total{cause="connection_terminated",upstream="alpha"} 3`) {
		t.Error("the series does not tell the cause")
	}
	if log := s.log.String(); strings.Count(log, "no answer of the target") != 1 || strings.Count(log, "answers again") != 1 {
		t.Error(log)
	}
}
