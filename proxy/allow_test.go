package proxy

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

func mustAllow(t *testing.T, patterns ...string) AllowList {
	t.Helper()
	list, position, err := ParseAllowList(patterns)
	if err != nil {
		t.Fatalf("item %d %v", position, err)
	}
	return list
}

func TestAllowListLetsThroughWhatItsPatternsSay(t *testing.T) {
	for _, c := range []struct {
		patterns, request string
		want              bool
	}{
		{"", "DELETE /x", true},
		{"GET /a", "GET /a", true},
		{"GET /a", "HEAD /a", true},
		{"GET /a", "POST /a", false},
		{"GET /a", "GET /a/", false},
		{"GET /a", "GET /a/b", false},
		{"GET /a", "GET /A", false},
		{"/a", "PURGE /a", true},
		{"POST /a", "GET /a", false},
		{"HEAD /a", "GET /a", false},
		{"GET /a/", "GET /a/", true},
		{"GET /a/", "GET /a/b/c", true},
		{"GET /a/", "GET /a", false},
		{"GET /a/", "GET /ab", false},
		{"GET /a/{$}", "GET /a/", true},
		{"GET /a/{$}", "GET /a/b", false},
		{"GET /a/{$}", "GET /a//", false},
		{"GET /a/{rest...}", "GET /a/b/c", true},
		{"GET /a/{rest...}", "GET /a/", true},
		{"GET /s/{id}", "GET /s/7", true},
		{"GET /s/{id}", "GET /s/", false},
		{"GET /s/{id}", "GET /s/7/8", false},
		{"GET /s/{id}/answers", "GET /s/7/answers", true},
		{"GET /s/{id}/answers", "GET /s//answers", false},
		{"GET /s/{id}/", "GET /s/7/x/y", true},
		{"GET /", "GET /", true},
		{"GET /", "GET /x/y", true},
		{"GET /{$}", "GET /x", false},
		{"GET /a%20b", "GET /a%20b", true},
		{"GET /a%2Fb", "GET /a%2Fb", true},
		{"GET /a/b", "GET /a%2Fb", false},
		{"GET /caf%C3%A9", "GET /caf%c3%a9", true},
		{"GET /api", "GET /%61pi", true},    // every target decodes that once
		{"GET /api", "GET /%2561pi", false}, // and not all of them this
		{"GET /s/{id}", "GET /s/7%2F8", false},
		{"GET /s/{id}", "GET /s/7%252f8", false},
		{"GET /s/{id}", "GET /s/7;v=1", false},
		{"GET /s/{id}", "GET /s/7%3Bv", false},
		{"GET /s/{id}", "GET /s/100%", true},
		{"GET /s/{id}", "GET /s/caf%C3%A9", true},
		{"GET /s/{id}", "GET /s/caf%E9", false}, // not UTF-8
		{"GET /s/{id}", "GET /s/%c0%af", false},
		{"GET /s/{id}", "GET /s/a%ef%bc%8fb", false},
		{"GET /a/", "GET /a/%c0%ae%c0%ae/b", false},
		{"GET /a/", "GET /a/%ef%bc%8e%ef%bc%8e/b", false},
		{"GET /a/", "GET /a/..%20/b", false},
		{"GET /a/", "GET /a/%20../b", false},
		{"GET /a/", "GET /a/..%23/b", false},
		{"GET /a/", "GET /a/..%3fx/b", false},
		{"GET /a/", "GET /a/%25252e%25252e/b", false},
		{"GET /a/", "GET /a/%2525252525/b", false},
		{"GET /a/", "GET /a/...x/1.2/b%20c", true},
		{"GET /a,POST /b/{id}", "POST /b/1", true},
		{"GET /a,POST /b/{id}", "GET /b/1", false},
	} {
		var list AllowList
		if c.patterns != "" {
			list = mustAllow(t, strings.Split(c.patterns, ",")...)
		}
		method, path, _ := strings.Cut(c.request, " ")
		if _, err := list.allows(&http.Request{Method: method}, path); (err == nil) != c.want {
			t.Errorf("%s with %s: %v", c.request, c.patterns, err)
		}
	}
}

func TestMethodOverridesAreNotAllowed(t *testing.T) {
	list := mustAllow(t, "GET /a", "POST /a")
	for _, name := range []string{"X-HTTP-Method-Override", "x-http-method", "X-Method-Override", "X_HTTP_METHOD_OVERRIDE", "x-http_method-override",
		"HTTP-Method-Override", "Method-Override", "X-Override-Method", "X-Http-Verb", "X-Tunnel-Method", "X-Request-Method", "X-Method", "_method", "X.HTTP.Method.Override"} {
		r := httptest.NewRequest("POST", "/a", nil)
		r.Header.Set(name, "DELETE")
		if _, err := list.allows(r, "/a"); !errors.Is(err, errOverride) {
			t.Errorf("%s is let through", name)
		}
		if _, err := new(AllowList).allows(r, "/a"); err != nil {
			t.Errorf("without a list %s is refused", name)
		}
	}
}

func TestFaultsOfAllowLists(t *testing.T) {
	for _, c := range []struct {
		patterns string
		position int
		says     string
	}{
		{"", 1, "is not a pattern"},
		{"GET", 1, "is not a pattern"},
		{"GET a", 1, "is not a pattern"},
		{"get /a", 1, "is not a pattern"},
		{"GET host/a", 1, "is not a pattern"},
		{"host/a", 1, "is not a pattern"},
		{"GET /a|get  x /b", 2, "is not a pattern"},
		{"/a/{x", 1, "is not a pattern"},
		{"/a/{x...}/b", 1, "is not a pattern"},
		{"/a/{$}/b", 1, "is not a pattern"},
		{"/a/b{x}", 1, "is not a pattern"},
		{"/{x}/{x}", 1, "is not a pattern"},
		{"/a//b", 1, "is not a pattern"},
		{"/a/../b", 1, "is not a pattern"},
		{"/a/%2e%2e/b", 1, "is not a pattern"},
		{"/a/\\b", 1, "is not a pattern"},
		{"GET /a|POST /b|GET /a", 3, "item 1"},
		{"/{x}/b|/a/{x}", 2, "item 1"},
	} {
		_, position, err := ParseAllowList(strings.Split(c.patterns, "|"))
		if err == nil || position != c.position || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), ".go") {
			t.Errorf("%q: item %d %v", c.patterns, position, err)
		}
	}
	if _, position, err := ParseAllowList(make([]string, maxAllowed+1)); err == nil || position != maxAllowed+1 {
		t.Errorf("too many: item %d %v", position, err)
	}
	if list := mustAllow(t, "/", "GET /a/", "GET /a/b", "POST /a/{id}"); list.String() != "/,GET /a/,GET /a/b,POST /a/{id}" {
		t.Errorf("shown as %s", list)
	}
}

// TestAllowListReadsPatternsAsServeMuxDoes compares the two on paths that both read alike: without
// escapes, empty segments, and what ServeMux answers with a redirect.
func TestAllowListReadsPatternsAsServeMuxDoes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	matched := 0
	for range 20_000 {
		pattern := pick("", "GET ", "POST ", "HEAD ")
		for range random.IntN(4) {
			pattern += "/" + pick("a", "b", "{x}")
		}
		pattern += pick("/", "/a", "/{y}", "/{rest...}", "/{$}")
		path := ""
		for range random.IntN(4) {
			path += "/" + pick("a", "b", "c")
		}
		path += pick("/", "/a", "/b")
		mux := http.NewServeMux()
		if !muxTakes(pattern) {
			continue
		}
		mux.Handle(pattern, http.NotFoundHandler())
		method := pick("GET", "POST", "HEAD")
		r := httptest.NewRequest(method, path, nil)
		_, by := mux.Handler(r)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		want := by == pattern && w.Code != http.StatusMovedPermanently && w.Code != http.StatusTemporaryRedirect
		list := mustAllow(t, pattern)
		if _, err := list.allows(r, path); (err == nil) != want {
			t.Fatalf("%s %s with %q: %v, ServeMux says %v", method, path, pattern, err, want)
		}
		if want {
			matched++
		}
	}
	if matched < 1000 {
		t.Errorf("only %d matched", matched)
	}
}

// TestRefusedRequestsReachNothing asks in each way in, of a target with a path of its own: the
// list is about the path that the target gets. What it refuses costs neither a token nor a request.
func TestRefusedRequestsReachNothing(t *testing.T) {
	for name, fixed := range map[string]string{"by path": "", "dedicated": "alpha", "as through a proxy": ""} {
		t.Run(name, func(t *testing.T) {
			s := newSide(t, setup{base: "/api", fixed: fixed, config: func(c *Config) {
				c.Allow = map[string]AllowList{"alpha": mustAllow(t, "GET /api/v1/", "POST /api/v1/surveys/{id}")}
			}})
			prefix := map[string]string{"by path": "/alpha", "as through a proxy": s.up.url() + "/api"}[name]
			for _, c := range []struct{ method, path, header string }{
				{"GET", "/v2/x", "A: b"},
				{"POST", "/v1/surveys", "A: b"},
				{"DELETE", "/v1/surveys/7", "A: b"},
				{"POST", "/v1/surveys/7%2Fdelete", "A: b"},
				{"POST", "/v1/surveys/7", "X-HTTP-Method-Override: DELETE"},
				{"GET", "/api/v1/x", "A: b"}, // the base is there already
				{"GET", "/v2/socket", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="},
			} {
				s.send(c.method, prefix+c.path, "", c.header).problem(t, http.StatusForbidden, "not_allowed")
			}
			if n := len(s.up.requests()); n != 0 || s.idp.count.Load() != 0 {
				t.Errorf("%d requests reached the target, %d the issuer", n, s.idp.count.Load())
			}
			w := httptest.NewRecorder()
			s.proxy.config.Metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			if !strings.Contains(w.Body.String(), `token_sidecar_requests_total{code="403",method="DELETE",problem="not_allowed",upstream="alpha"} 1`) {
				t.Error("the series do not tell why")
			}
			for _, c := range []string{"GET /v1/x/y", "POST /v1/surveys/7"} {
				method, path, _ := strings.Cut(c, " ")
				if a := s.send(method, prefix+path, ""); a.status != http.StatusOK {
					t.Errorf("%s: %d %s", c, a.status, a.body)
				}
			}
		})
	}
}

func TestAllRoutesOfAnUpstreamGoByItsList(t *testing.T) {
	config := Config{
		Upstreams: []upstream.Upstream{upstream.NewMyDataHelps(upstream.MyDataHelpsConfig{Config: upstream.Config{
			TokenURL: &url.URL{Scheme: "https", Host: "a.example"}, Target: &url.URL{Scheme: "https", Host: "a.example"},
			Targets: []upstream.Target{{Name: "designer", URL: &url.URL{Scheme: "https", Host: "b.example"}}}}})},
		Metrics: metrics.New("test"), Hosts: NewHosts(nil, false),
		Allow: map[string]AllowList{"mydatahelps": mustAllow(t, "GET /api/")},
	}
	p, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.routes) != 3 {
		t.Errorf("%d routes, want the main one, the participant's and the designer's", len(p.routes))
	}
	for name, r := range p.routes {
		if r.allowed.IsZero() {
			t.Errorf("the route %s lets everything through", name)
		}
	}
	config.Vend = []string{"mydatahelps.participant"}
	if _, err := New(config); err == nil || !strings.Contains(err.Error(), "allow list") {
		t.Errorf("a token that is handed on: %v", err)
	}
}
