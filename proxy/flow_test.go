package proxy

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"token-sidecar/upstream"
)

func TestFirstSegmentChoosesTheRoute(t *testing.T) {
	for _, c := range []struct{ base, path, want string }{
		{"", "/alpha", "/"},
		{"", "/alpha/", "/"},
		{"", "/alpha?x=1", "/?x=1"},
		{"", "/alpha/a/b?x=1&y=%zz;z", "/a/b?x=1&y=%zz;z"},
		{"", "/alpha/a?", "/a?"},
		{"/v1", "/alpha", "/v1/"},
		{"/v1", "/alpha/a", "/v1/a"},
		{"/v%201", "/alpha/a", "/v%201/a"},
	} {
		s := newSide(t, setup{base: c.base})
		if a := s.get(c.path); a.status != 200 || a.body != "hello" {
			t.Errorf("%s: %d %q %v", c.path, a.status, a.body, a.err)
			continue
		}
		r := s.up.last()
		if r.target != c.want {
			t.Errorf("%s on %q went to %q, want %q", c.path, c.base, r.target, c.want)
		}
		r.authorized(t, tokenOf(1))
		if got := r.header("host"); len(got) != 1 || "http://"+got[0] != s.up.url() {
			t.Errorf("Host is %q", got)
		}
	}
}

func TestUnknownRouteIsRefused(t *testing.T) {
	s := newSide(t, setup{})
	for _, path := range []string{"/", "/x", "/alph", "/alphab", "/alpha2/x", "/ALPHA/x", "/Alpha", "/%61lpha/x", "/alpha;v=1/x",
		"/alpha%2fx", "//alpha/x", "/x/alpha", "/token/alpha", "/metrics", "/healthz", "/debug/pprof/"} {
		a := s.get(path)
		a.problem(t, 404, "unknown_route")
	}
	s.untouched()
}

func TestDedicatedListenerServesItsRouteOnly(t *testing.T) {
	s := newSide(t, setup{fixed: "alpha", base: "/v1", upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{s.oauth2("alpha", s.up.url()+"/v1"), s.oauth2("beta", s.up.url()+"/beta")}
	}})
	for path, want := range map[string]string{"/": "/v1/", "/a/b": "/v1/a/b", "/alpha/x": "/v1/alpha/x", "/beta/x": "/v1/beta/x"} {
		if a := s.get(path); a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
		} else if got := s.up.last().target; got != want {
			t.Errorf("%s went to %q", path, got)
		}
	}
	s.get(s.up.url()+"/beta/x").problem(t, 404, "unknown_route") // another route's target
	s.get("/x", "X-Token-Route: beta").problem(t, 400, "route_invalid")
	if a := s.get(s.up.url() + "/v1/x"); a.status != 200 || s.up.last().target != "/v1/x" {
		t.Errorf("absolute-form: %d", a.status)
	}
	if _, err := s.proxy.RouteHandler("gamma"); err == nil {
		t.Error("a handler for a route that is not there")
	}
}

func TestAbsoluteFormChoosesTheRouteByItsHost(t *testing.T) {
	s := newSide(t, setup{upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{s.oauth2("alpha", s.up.url()+"/v1"), s.oauth2("beta", s.up.url()+"/v1"),
			s.oauth2("deep", s.up.url()+"/v1/deep")}
	}})
	at := s.up.url()
	s.get(at+"/v1/x").problem(t, 400, "route_ambiguous")
	s.get(at+"/other/x").problem(t, 404, "unknown_route")
	s.get(at+"/v12/x").problem(t, 404, "unknown_route")
	s.get(at).problem(t, 404, "unknown_route")
	s.get("http://evil.example/v1/x").problem(t, 404, "unknown_route")
	s.get("https"+at[4:]+"/v1/deep/x").problem(t, 404, "unknown_route")
	s.get("ftp"+at[4:]+"/v1/deep/x").problem(t, 404, "unknown_route")
	s.get("http://alice@"+at[7:]+"/v1/deep/x").problem(t, 404, "unknown_route")
	s.get(at+"/v1/x", "X-Token-Route: gamma").problem(t, 404, "unknown_route")
	s.get(at+"/v1/x", "X-Token-Route: alpha", "X-Token-Route: alpha").problem(t, 400, "route_invalid")
	s.get(at+"/v1/x", "X-Token-Route:").problem(t, 400, "route_invalid")
	s.get("/alpha/x", "X-Token-Route: beta").problem(t, 400, "route_invalid")
	s.untouched()
	for path, want := range map[string]string{"/v1/deep": "/v1/deep/", "/v1/deep/x?q": "/v1/deep/x?q"} {
		if a := s.get(at + path); a.status != 200 || s.up.last().target != want {
			t.Errorf("%s: %d, to %q", path, a.status, s.up.last().target)
		}
	}
	if a := s.get(at+"/v1/~x", "X-Token-Route: beta"); a.status != 200 || s.up.last().target != "/v1/~x" {
		t.Errorf("named: %d", a.status)
	}
}

// TestUnknownHostIsToldFromUnknownPath: a client that uses the sidecar as its proxy cannot
// mend its path, so the problem tells of the host.
//
// Case P14.
func TestUnknownHostIsToldFromUnknownPath(t *testing.T) {
	s := newSide(t, setup{})
	for _, fixed := range []bool{false, true} {
		if fixed {
			s = newSide(t, setup{fixed: "alpha", upstreams: func(s *side) []upstream.Upstream {
				return []upstream.Upstream{s.oauth2("alpha", s.up.url()), s.oauth2("beta", "http://127.0.0.1:1")}
			}})
		}
		for _, url := range []string{"http://evil.example/alpha/x", "https" + s.up.url()[4:] + "/x", "http://127.0.0.1:1/x"} {
			a := s.get(url)
			a.problem(t, 404, "unknown_route")
			if strings.Contains(a.body, "path must begin") || !strings.Contains(a.body, "host") || !strings.Contains(a.body, "http://") {
				t.Errorf("%s: %s", url, a.body)
			}
		}
	}
	s = newSide(t, setup{})
	if a := s.get("/nowhere"); !strings.Contains(a.body, "path must begin") {
		t.Errorf("a path: %s", a.body)
	}
	s.untouched()
}

func TestClientsWithAProxyVariableAreServed(t *testing.T) {
	s := newSide(t, setup{})
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl here")
	}
	for _, args := range [][]string{{"-x", "http://" + s.addr}, {"--noproxy", "", "-x", s.addr, "-H", "Proxy-Authorization: x"}} {
		out, err := exec.Command(curl, append(args, "-sS", s.up.url()+"/a?b")...).Output()
		if err != nil || string(out) != "hello" {
			t.Fatalf("curl: %q, %v", out, err)
		}
		r := s.up.last()
		r.authorized(t, tokenOf(1))
		if r.target != "/a?b" || r.header("proxy-connection") != nil || r.header("proxy-authorization") != nil {
			t.Errorf("the target saw %q", r.head)
		}
	}
	proxied := client(t)
	proxied.Transport.(*http.Transport).Proxy = http.ProxyURL(mustURL("http://" + s.addr))
	res, err := proxied.Get(s.up.url() + "/c")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != 200 || s.up.last().target != "/c" {
		t.Errorf("Go: %d, %q", res.StatusCode, s.up.last().target)
	}
}

// Case B10.
func TestRoutesMatchWholeSegments(t *testing.T) {
	s := newSide(t, setup{upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{s.oauth2("pdx", s.up.url()+"/one"), s.oauth2("pdx2", s.up.url()+"/two"),
			s.oauth2("pdx.x", s.up.url()+"/three")}
	}})
	for path, want := range map[string]string{"/pdx": "/one/", "/pdx/2": "/one/2", "/pdx2": "/two/", "/pdx2/": "/two/",
		"/pdx.x/a": "/three/a", "/pdx/pdx2/a": "/one/pdx2/a"} {
		if a := s.get(path); a.status != 200 || s.up.last().target != want {
			t.Errorf("%s: %d, to %q", path, a.status, s.up.last().target)
		}
	}
	for _, path := range []string{"/PDX/x", "/pdx3", "/pdx.", "/pdx.X/a", "/pdx%32/"} {
		s.get(path).problem(t, 404, "unknown_route")
	}
	_, err := New(Config{Metrics: s.proxy.config.Metrics, Upstreams: []upstream.Upstream{
		s.oauth2("pdx", s.up.url()), s.oauth2("pdx", s.up.url()+"/b")}})
	if err == nil {
		t.Error("two routes of one name were taken")
	}
}

func TestControlHeadersAreNotForwarded(t *testing.T) {
	s := newSide(t, setup{config: func(c *Config) { c.CallerToken = upstream.NewSecret("caller-secret") }})
	a := s.get("/alpha/x", "X-Token-Scope: write", "X-Token-Route: alpha", "X-Sidecar-Token: caller-secret", "X-Other: kept",
		"Connection: X-Sidecar-Token, X-Token-Scope")
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	head := strings.ToLower(s.up.last().head)
	if strings.Contains(head, "x-token") || strings.Contains(head, "sidecar-token") || !strings.Contains(head, "x-other: kept") {
		t.Errorf("the target saw %q", head)
	}
}

func TestScopeHeaderChoosesTheToken(t *testing.T) {
	s := newSide(t, setup{})
	for _, scope := range []string{"X-Token-Scope: read", "X-Token-Scope: write", "X-Token-Scope: write read", "X-Token-Scope: read write"} {
		if a := s.get("/alpha/x", scope); a.status != 200 {
			t.Errorf("%s: %d", scope, a.status)
		}
	}
	if n := s.idp.count.Load(); n != 3 {
		t.Errorf("%d token requests, want one for each of three scope sets", n)
	}
	before := len(s.up.requests())
	for _, lines := range [][]string{{"X-Token-Scope: admin"}, {"X-Token-Scope: read admin"}, {"X-Token-Scope:"}, {"X-Token-Scope: READ"},
		{"X-Token-Scope: read", "X-Token-Scope: read"}, {"X-Token-Scope: read,write"}, {"x-token-scope: read", "X-TOKEN-SCOPE:"},
		{"X-Token-Scope: read  write"}, {"X-Token-Scope: " + strings.Repeat("read ", 1000) + "read"}} {
		s.get("/alpha/x", lines...).problem(t, 403, "scope_not_allowed")
	}
	if len(s.up.requests()) != before || s.idp.count.Load() != 3 {
		t.Error("a refused scope reached somebody")
	}
}

// Case I7.
func TestAccessLogEscapesControlBytes(t *testing.T) {
	s := newSide(t, setup{upstreams: func(s *side) []upstream.Upstream {
		u, _ := s.myDataHelps()
		return []upstream.Upstream{u, s.oauth2("alpha", s.up.url())}
	}})
	secret := "participant-4711"
	s.get("/mydatahelps.participant/~"+secret+"/records/diag-nosis?q=quer-y", "User-Agent: \x9b31magent")
	s.get("/alpha/\x01x")
	s.get("/alpha/..%0a{\"level\":\"error\"}")
	s.send("BREW", "/alpha/"+strings.Repeat("p", 20<<10), "", "X-Token-Subject: "+secret)
	s.get("/nowhere-4711")
	eventually(t, "four lines", func() bool { return strings.Count(s.log.String(), "\n") >= 4 })
	log := s.log.String()
	for _, canary := range []string{secret, "diag-nosis", "quer-y", "4711", "ppp", "\x1b", "BREW", "agent", "Bearer", "eyJ", "canary"} {
		if strings.Contains(log, canary) {
			t.Errorf("the log has %q: %s", canary, log)
		}
	}
	for line := range strings.Lines(log) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil || fields["message"] != "request" || fields["status"] == 0.0 {
			t.Errorf("line %q: %v", line, err)
		}
	}
	if !strings.Contains(log, `"route":"mydatahelps.participant","method":"GET","status":200`) || !strings.Contains(log, `"method":"other"`) {
		t.Errorf("log: %s", log)
	}
}

// Case A9.
func TestTokenInTheQueryIsRefused(t *testing.T) {
	s := newSide(t, setup{})
	many := strings.Repeat("a=1&", 10_001)
	for _, query := range []string{"x=%zz", "a=1;b=2", many + "hidden=y", "", "&&&", "a[]=1&a[]=2", "token=x", "q=access_token", "%61ccess=1"} {
		if a := s.get("/alpha/x?" + query); a.status != 200 || s.up.last().target != "/x?"+query {
			t.Errorf("%.40q: %d", query, a.status)
		}
	}
	before := len(s.up.requests())
	for _, query := range []string{"access_token=EVIL", "a=1;access_token=EVIL", "a=1&access_token", "%61ccess_token=EVIL", "ACCESS_TOKEN=E",
		many + "access_token=EVIL", "access_token[]=EVIL", "+access_token=EVIL", "a=1&&access%5Ftoken=%zz"} {
		s.get("/alpha/x?"+query).problem(t, 400, "query_token_refused")
	}
	if len(s.up.requests()) != before {
		t.Error("a token in the query reached the target")
	}
	form := url.Values{"access_token": {"x"}}.Encode()
	if a := s.send("POST", "/alpha/x", form); a.status != 200 || s.up.last().body != form {
		t.Errorf("a body is not ours to judge: %d", a.status)
	}
}
