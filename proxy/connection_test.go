package proxy

import (
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"token-sidecar/upstream"
	"token-sidecar/upstream/upstreamtest"
)

// The made-up Dedicated Connection of tests.
const (
	connectionNID   = "4711"
	connectionToken = "canary connection/token+é"
)

func sha512Hex(text string) string {
	sum := sha512.Sum512([]byte(text))
	return hex.EncodeToString(sum[:])
}

// connectionSide is a sidecar with a Dedicated Connection at a simulated PDX.
type connectionSide struct {
	*side
	pdx   *upstreamtest.Server
	token upstream.Secret // the connection token that the sidecar holds

	mu    sync.Mutex // guards all below
	fault *upstreamtest.Answer
	asked []*http.Request // of the API, but for short access tokens
}

// newConnectionSide starts one, with a target that speaks TLS if overTLS.
func newConnectionSide(t *testing.T, overTLS bool, o upstreamtest.Options, change func(*Config)) *connectionSide {
	o.ConnectionNID, o.ConnectionToken = connectionNID, connectionToken
	c := &connectionSide{pdx: upstreamtest.NewPDX(o), token: upstream.NewSecret(connectionToken)}
	t.Cleanup(c.pdx.Close)
	c.pdx.SetAPIFault(func(r *http.Request, _ int) *upstreamtest.Answer {
		c.mu.Lock()
		defer c.mu.Unlock()
		if strings.HasPrefix(r.URL.Path, "/access-token/") {
			return c.fault
		}
		c.asked = append(c.asked, r.Clone(t.Context()))
		return nil
	})
	config := upstream.Config{TokenURL: mustURL(c.pdx.TokenURL()), Target: mustURL(c.pdx.APIURL()), Targets: []upstream.Target{{Name: "idaas", URL: mustURL(c.pdx.HostURL("idaas"))}}}
	if overTLS {
		target := newTLSTarget(t, 0)
		target.serve = (&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(mustURL(c.pdx.APIURL())) }}).ServeHTTP
		config.Target, config.Roots = mustURL(target.url), target.roots["trusted"]
	}
	u := upstream.NewPDX(upstream.PDXConfig{Config: config, ClientID: c.pdx.ClientID(), ClientSecret: upstream.NewSecret(c.pdx.ClientSecret()),
		ConnectionNID: connectionNID, ConnectionToken: c.token})
	t.Cleanup(u.CloseIdleConnections)
	c.side = newSide(t, setup{upstreams: func(*side) []upstream.Upstream { return []upstream.Upstream{u} }, config: func(p *Config) {
		p.Roots = config.Roots
		if change != nil {
			change(p)
		}
	}})
	return c
}

// connect sends a First Time Connection as an app does, which knows the hash of the
// connection token only.
func (c *connectionSide) connect(path string, lines ...string) answer {
	members := `"mydexid":"member","connection_nid":"` + connectionNID + `","connection_token_hash":"` + sha512Hex(connectionToken) + `","return_to":"https://app.example/"`
	if strings.HasSuffix(path, "/update") {
		members += `,"version":"2"`
	}
	return c.send("POST", path, "{"+members+"}", append(lines, "Content-Type: application/json")...)
}

// last returns the header of the latest request to the API.
func (c *connectionSide) last() http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[len(c.asked)-1].Header
}

// keepsSecrets fails the test if an answer or the log holds a secret of the connection.
func (c *connectionSide) keepsSecrets(a answer) {
	c.t.Helper()
	seen := a.body + fmt.Sprint(a.header) + c.log.String()
	for _, secret := range append(c.pdx.ShortTokens(), connectionToken, c.token.Reveal()) {
		if strings.Contains(seen, secret) || strings.Contains(seen, sha512Hex(secret+connectionToken)) {
			c.t.Errorf("a secret of the connection is shown: %s", seen)
		}
	}
}

// The app sends the body of a First Time Connection and no more. The sidecar adds headers
// that the simulated PDX compares byte for byte.
//
// Case FTC4.
func TestFirstTimeConnectionNeedsOnlyItsBody(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		for _, object := range []bool{false, true} {
			c := newConnectionSide(t, overTLS, upstreamtest.Options{ShortTokenObject: object}, nil)
			for n, path := range []string{"/api/connection", "/api/pds", "/api/connection/update", "/api/connection"} {
				a := c.connect("/pdx" + path)
				if a.status != 200 || c.pdx.ConnectionsMade() != n+1 {
					t.Fatalf("TLS %t, object %t, %s: %d %s", overTLS, object, path, a.status, a.body)
				}
				c.keepsSecrets(a)
				h, short := c.last(), c.pdx.ShortTokens()[n]
				if got := h["Authentication"]; !slices.Equal(got, []string{sha512Hex(short + connectionToken)}) {
					t.Errorf("Authentication is %q", got)
				}
				if got := h["Short-Access-Token"]; !slices.Equal(got, []string{short}) {
					t.Errorf("Short-Access-Token is %q, want %q", got, short)
				}
				names := slices.DeleteFunc(slices.Sorted(maps.Keys(h)), func(name string) bool { return name == "Accept-Encoding" })
				if want := "Authentication Authorization Cdn-Loop Content-Length Content-Type Short-Access-Token"; strings.Join(names, " ") != want {
					t.Errorf("the headers are %v, want %s", names, want)
				}
			}
		}
	}
}

// Case FTC4.
func TestConnectionsAtOnceHaveShortTokensOfTheirOwn(t *testing.T) {
	c := newConnectionSide(t, false, upstreamtest.Options{}, nil)
	const many = 40 // more than there are connections for short access tokens
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			if a := c.connect("/pdx/api/connection"); a.status != 200 {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	all.Wait()
	if n := c.pdx.ConnectionsMade(); n != many || len(c.pdx.ShortTokens()) != many {
		t.Errorf("%d connections with %d short access tokens", n, len(c.pdx.ShortTokens()))
	}
}

// Case FTC4.
func TestWrongConnectionTokenIsPDXsToRefuse(t *testing.T) {
	c := newConnectionSide(t, false, upstreamtest.Options{}, nil)
	c.token.Replace("canary-wrong")
	a := c.connect("/pdx/api/connection")
	if a.status != 401 || !strings.Contains(a.body, "Access denied") || c.pdx.ConnectionsMade() != 0 || len(c.pdx.ShortTokens()) != 1 {
		t.Errorf("%d %s", a.status, a.body)
	}
	c.keepsSecrets(a)
	c.token.Replace(connectionToken) // as when its file is rotated
	if a := c.connect("/pdx/api/connection"); a.status != 200 {
		t.Errorf("with the right token: %d %s", a.status, a.body)
	}
}

// Without a short access token a First Time Connection is not sent, whatever the endpoint of
// these tokens does; other requests go on, and so do connections once it is well again.
//
// Case FTC5.
func TestConnectionIsNotSentWithoutAShortToken(t *testing.T) {
	elsewhere := newUp(t, listen(t))
	for name, fault := range map[string]*upstreamtest.Answer{
		"down":             {Reset: true},
		"failing":          {Status: 503, Body: `"short"`},
		"slow":             {Hang: true},
		"HTML":             {Body: "<html>short</html>", Header: http.Header{"Content-Type": {"text/html"}}},
		"a megabyte":       {Body: `"` + strings.Repeat("s", 1<<20) + `"`},
		"too long":         {Body: `"` + strings.Repeat("s", 1025) + `"`},
		"a redirect":       {Status: 302, Header: http.Header{"Location": {elsewhere.url() + "/"}}, Body: `"short"`},
		"another status":   {Status: 201, Body: `"short"`},
		"unknown NID":      {Status: 404, Body: `"short"`},
		"two values":       {Body: `"short" "short"`},
		"no string":        {Body: `12345`},
		"null":             {Body: `null`},
		"empty":            {Body: `""`},
		"spaces":           {Body: `"sho rt"`},
		"a line break":     {Body: `"sho\r\nX-Other: rt"`},
		"other characters": {Body: `"shört"`},
		"no token":         {Body: `{"access_token":"short"}`},
		"a token twice":    {Body: `{"token":"short","token":"short"}`},
		"token and Token":  {Body: `{"token":"short","Token":"short"}`},
		"a token of none":  {Body: `{"token":null}`},
		"an array":         {Body: `["short"]`},
	} {
		t.Run(name, func(t *testing.T) {
			c := newConnectionSide(t, false, upstreamtest.Options{}, func(p *Config) {
				if fault.Hang {
					p.TokenTimeout = 50 * time.Millisecond
				}
			})
			if a := c.get("/pdx/api/pds/pds/1.json"); a.status != 200 {
				t.Fatalf("another request: %d %s", a.status, a.body)
			}
			c.fault = fault
			a := c.connect("/pdx/api/connection")
			a.problem(t, 503, "header_unavailable")
			c.keepsSecrets(a)
			if len(c.asked) != 1 || len(elsewhere.requests()) != 0 {
				t.Errorf("%d requests reached the API, %d another host", len(c.asked)-1, len(elsewhere.requests()))
			}
			if log := c.log.String(); !strings.Contains(log, "a header field that the API wants cannot be had") || strings.Contains(log, "short</") {
				t.Errorf("log: %s", log)
			}
			if fault.Hang {
				return
			}
			c.mu.Lock()
			c.fault = nil
			c.mu.Unlock()
			if a := c.connect("/pdx/api/connection"); a.status != 200 {
				t.Errorf("with a short access token: %d %s", a.status, a.body)
			}
		})
	}
}

// What is no First Time Connection, and one of an app that makes its headers itself, passes as
// it is.
//
// Case FTC6.
func TestOtherRequestsGetNoConnectionHeaders(t *testing.T) {
	c := newConnectionSide(t, false, upstreamtest.Options{}, nil)
	for _, request := range []struct{ method, path string }{
		{"GET", "/pdx/api/connection"}, {"PUT", "/pdx/api/connection"}, {"PATCH", "/pdx/api/pds"}, {"post", "/pdx/api/pds"},
		{"POST", "/pdx/api/connection/"}, {"POST", "/pdx/api/connections"}, {"POST", "/pdx/api/connection/update/1"}, {"POST", "/pdx/api/Connection"},
		{"POST", "/pdx/api/%63onnection"}, {"POST", "/pdx/api/pds/pds"}, {"POST", "/pdx/"}, {"POST", "/pdx.idaas/api/connection"},
	} {
		if a := c.send(request.method, request.path, ""); a.status != 200 {
			t.Errorf("%s %s: %d %s", request.method, request.path, a.status, a.body)
		}
		if h := c.last(); h["Authentication"] != nil || h["Short-Access-Token"] != nil {
			t.Errorf("%s %s got %v", request.method, request.path, h)
		}
	}
	for _, own := range [][]string{{"Short-Access-Token: own", "Authentication: own"}, {"Short-Access-Token: own"}, {"authentication: own"}} {
		if a := c.connect("/pdx/api/connection", append(own, "Connection-Token: own")...); a.status != 401 {
			t.Errorf("%q: %d %s", own, a.status, a.body)
		}
		h, got := c.last(), 0
		for _, name := range []string{"Short-Access-Token", "Authentication"} {
			if h[name] != nil {
				got++
				if !slices.Equal(h[name], []string{"own"}) {
					t.Errorf("%s is %q", name, h[name])
				}
			}
		}
		if got != len(own) || h.Get("Connection-Token") != "own" {
			t.Errorf("%q: the API got %v", own, h)
		}
	}
	if n := len(c.pdx.ShortTokens()); n != 0 {
		t.Errorf("%d short access tokens were asked for", n)
	}
}
