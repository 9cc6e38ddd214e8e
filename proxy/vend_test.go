package proxy

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"token-sidecar/upstream"
	"token-sidecar/upstream/upstreamtest"
)

// vending returns a sidecar before a simulated MyDataHelps, with what VEND names.
func vending(t *testing.T, vend ...string) (*side, *upstreamtest.Server) {
	t.Helper()
	provider := upstreamtest.NewMyDataHelps(upstreamtest.Options{Lifetime: time.Hour,
		KnowsParticipant: func(id string) bool { return strings.HasPrefix(id, "P-") }})
	t.Cleanup(provider.Close)
	s := newSide(t, setup{
		upstreams: func(*side) []upstream.Upstream {
			token, _ := url.Parse(provider.TokenURL())
			target, _ := url.Parse(provider.APIURL())
			return []upstream.Upstream{upstream.NewMyDataHelps(upstream.MyDataHelpsConfig{
				Config:         upstream.Config{TokenURL: token, Target: target, Scope: "api", AllowedScopes: "Participant:read"},
				ServiceAccount: provider.ClientID(), PrivateKey: upstream.NewSecret(provider.PrivateKey()),
				DelegatedClientID: "RKStudio.DelegatedParticipant", DelegatedClientSecret: upstream.NewSecret("secret"),
			})}
		},
		config: func(c *Config) { c.Vend = vend },
	})
	return s, provider
}

// post sends a request with these headers (name, value, …) and returns the
// answer and its body.
func (s *side) post(method, path string, headers ...string) (*http.Response, []byte) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addr+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, body
}

const vendPath = "/token/mydatahelps.participant"

func TestVendHandsOutTheTokenOfTheSubject(t *testing.T) {
	s, provider := vending(t, "mydatahelps.participant")
	for _, ask := range []struct {
		path    string
		headers []string
		scope   string
	}{
		{vendPath, []string{"X-Token-Subject", "P-1"}, "api"},
		{vendPath + "/~P-1", nil, "api"},
		{vendPath, []string{"X-Token-Subject", "P-1", "X-Token-Scope", "Participant:read"}, "Participant:read"},
	} {
		res, body := s.post("POST", ask.path, ask.headers...)
		var members map[string]any
		if err := json.Unmarshal(body, &members); err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: %d %s", ask.path, res.StatusCode, body)
		}
		token, _ := members["access_token"].(string)
		grant, ok := provider.Issued(token)
		if !ok || grant.Subject != "P-1" || grant.Kind != "participant" || grant.Scope != ask.scope {
			t.Errorf("the token is for %q %q %q", grant.Kind, grant.Subject, grant.Scope)
		}
		if life, _ := members["expires_in"].(float64); life < 1800 || life > 3600 || len(members) != 4 ||
			members["token_type"] != "Bearer" || members["scope"] != ask.scope {
			t.Errorf("members %v", members)
		}
		if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("header %v", res.Header)
		}
		if strings.Contains(s.log.String(), token) || strings.Contains(s.log.String(), "P-1") {
			t.Error("token or subject in the log")
		}
	}
}

func TestVendRefusesAllOtherRequests(t *testing.T) {
	s, provider := vending(t, "mydatahelps.participant")
	off, _ := vending(t)
	for _, c := range []struct {
		side    *side
		method  string
		path    string
		headers []string
		status  int
		code    string
	}{
		{off, "POST", vendPath, []string{"X-Token-Subject", "P-1"}, 404, "unknown_route"},
		{s, "POST", "/token/mydatahelps", nil, 404, "unknown_route"},
		{s, "POST", "/token/nowhere", nil, 404, "unknown_route"},
		{s, "POST", "/token/", nil, 404, "unknown_route"},
		{s, "GET", vendPath, []string{"X-Token-Subject", "P-1"}, 405, "method_not_allowed"},
		{s, "POST", vendPath, nil, 400, "subject_required"},
		{s, "POST", vendPath, []string{"X-Token-Subject", "P-1", "X-Token-Subject", "P-2"}, 400, "subject_invalid"},
		{s, "POST", vendPath + "/more", []string{"X-Token-Subject", "P-1"}, 400, "path_invalid"},
		{s, "POST", vendPath + "?a=b", []string{"X-Token-Subject", "P-1"}, 400, "path_invalid"},
		{s, "POST", vendPath, []string{"X-Token-Subject", "P-1", "X-Token-Scope", "all"}, 403, "scope_not_allowed"},
		{s, "POST", vendPath, []string{"X-Token-Subject", "P-1", "Origin", "https://evil.example"}, 403, "browser_refused"},
		{s, "POST", vendPath, []string{"X-Token-Subject", "P-1", "Sec-Fetch-Site", "cross-site"}, 403, "browser_refused"},
		{s, "POST", vendPath, []string{"X-Token-Subject", "unknown"}, 403, "subject_refused"},
	} {
		before := provider.TokenRequests()
		res, body := c.side.post(c.method, c.path, c.headers...)
		if res.StatusCode != c.status || !strings.Contains(string(body), `"code":"`+c.code+`"`) {
			t.Errorf("%s %s %v: %d %s, want %d %s", c.method, c.path, c.headers, res.StatusCode, body, c.status, c.code)
		}
		if c.status == 405 && res.Header.Get("Allow") != "POST" {
			t.Errorf("Allow is %q", res.Header.Get("Allow"))
		}
		if c.code != "subject_refused" && provider.TokenRequests() != before {
			t.Errorf("%s %s %v cost a token request", c.method, c.path, c.headers)
		}
	}
}

func TestVendToManyCostsOneTokenRequest(t *testing.T) {
	s, provider := vending(t, "mydatahelps.participant")
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if res, body := s.post("POST", vendPath, "X-Token-Subject", "P-1"); res.StatusCode != 200 {
				t.Errorf("%d %s", res.StatusCode, body)
			}
		})
	}
	all.Wait()
	if n := provider.TokenRequestsFor("P-1"); n != 1 {
		t.Errorf("%d token requests for 200 clients of one participant", n)
	}
}

func TestServiceTokensAreNeverVended(t *testing.T) {
	s, _ := vending(t)
	for _, name := range []string{"mydatahelps", "oclc", "nowhere"} { // without a subject, with or without, none
		config := s.proxy.config
		config.Upstreams = append(config.Upstreams[:1:1], s.oclc())
		config.Vend = []string{name}
		if _, err := New(config); err == nil {
			t.Errorf("tokens of %s may be handed on", name)
		}
	}
}

// goneWriter is an http.ResponseWriter whose app has left.
type goneWriter struct{ http.ResponseWriter }

func (goneWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestVendAbortsWhenTheAppHasLeft: the part of a token that was written does not pass for the
// whole, and that the app has left is no failure of the target.
func TestVendAbortsWhenTheAppHasLeft(t *testing.T) {
	eitherWay(t)
	s, _ := vending(t, "mydatahelps.participant")
	in := httptest.NewRequest("POST", vendPath, nil)
	in.Host = "localhost"
	in.Header.Set("X-Token-Subject", "P-1")
	func() {
		defer func() {
			if r := recover(); r != http.ErrAbortHandler {
				t.Errorf("the handler ended with %v", r)
			}
		}()
		s.proxy.Handler().ServeHTTP(goneWriter{httptest.NewRecorder()}, in)
	}()
	if line := s.log.String(); !strings.Contains(line, `"status":200`) || !strings.Contains(line, `"problem":"client_closed"`) || strings.Contains(line, `"cause"`) {
		t.Errorf("logged %s", line)
	}
}
