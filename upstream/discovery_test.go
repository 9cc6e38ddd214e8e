package upstream

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// issuer is a server with metadata at some of the known places, and a token endpoint.
type issuer struct {
	*httptest.Server
	mu       sync.Mutex        // guards the fields below
	metadata map[string]string // by path; {issuer} stands for the server's URL
	status   int               // of answers about metadata; zero: 200, or 404 where there are none
	tokens   string            // path of the token endpoint
	read     int               // times that metadata were asked for
}

func newIssuer(t *testing.T, metadata map[string]string) *issuer {
	i := &issuer{metadata: metadata, tokens: "/token"}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		if r.URL.Path == i.tokens {
			_, _ = io.WriteString(w, `{"access_token":"good","token_type":"bearer","expires_in":60}`)
			return
		}
		if strings.Contains(r.URL.Path, "/.well-known/") {
			i.read++
		}
		if i.status != 0 {
			w.WriteHeader(i.status)
		}
		text, known := i.metadata[r.URL.Path]
		if !known && i.status == 0 {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, strings.ReplaceAll(text, "{issuer}", i.URL))
	}))
	t.Cleanup(i.Close)
	return i
}

// upstreamOf returns an upstream that knows the issuer alone.
func (i *issuer) upstreamOf(t *testing.T, path string, change func(*OAuth2Config)) *oauth2 {
	return newTestOAuth2(t, "", func(c *OAuth2Config) {
		c.TokenURL, c.Issuer = nil, parseURL(t, i.URL+path)
		if change != nil {
			change(c)
		}
	})
}

const (
	atRFC8414 = "/.well-known/oauth-authorization-server"
	atOpenID  = "/.well-known/openid-configuration"
	atSMART   = "/.well-known/smart-configuration"
)

func TestTokenEndpointIsDiscovered(t *testing.T) {
	own := func(path string) string { return `{"issuer":"{issuer}` + path + `","token_endpoint":"{issuer}/token"}` }
	for name, tt := range map[string]struct {
		path     string
		metadata map[string]string
	}{
		"RFC 8414":                       {"", map[string]string{atRFC8414: own("")}},
		"RFC 8414, issuer with a path":   {"/tenant", map[string]string{atRFC8414 + "/tenant": own("/tenant")}},
		"OpenID":                         {"", map[string]string{atOpenID: own("")}},
		"OpenID, issuer with a path":     {"/tenant", map[string]string{"/tenant" + atOpenID: own("/tenant")}},
		"OpenID, issuer ends in a slash": {"/", map[string]string{atOpenID: own("/")}},
		"SMART, no issuer named":         {"/fhir/r4", map[string]string{"/fhir/r4" + atSMART: `{"token_endpoint":"{issuer}/token"}`}},
		"SMART, issuer on the same host": {"/fhir/r4", map[string]string{"/fhir/r4" + atSMART: own("/oauth2")}},
		"a page at the first place":      {"", map[string]string{atRFC8414: "<html>", atOpenID: own("")}},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t, tt.metadata)
			u := i.upstreamOf(t, tt.path, nil)
			for range 3 {
				if token, err := fetch(t, u, ""); err != nil || token.AccessToken() != "good" {
					t.Fatal(err)
				}
			}
			if i.read > 3 {
				t.Errorf("metadata were asked for %d times: they are not kept", i.read)
			}
		})
	}
}

// Whoever can change metadata, or answer for the issuer, must not have credentials sent to
// himself.
func TestIssuerThatLiesGetsNoCredential(t *testing.T) {
	var reached atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer thief.Close()
	foreign := strings.Replace(thief.URL, "127.0.0.1", "localhost", 1)
	for name, metadata := range map[string]string{
		"another issuer":         `{"issuer":"https://evil.example","token_endpoint":"{issuer}/token"}`,
		"issuer with a slash":    `{"issuer":"{issuer}/","token_endpoint":"{issuer}/token"}`,
		"no issuer":              `{"token_endpoint":"{issuer}/token"}`,
		"issuer null":            `{"issuer":null,"token_endpoint":"{issuer}/token"}`,
		"issuer twice":           `{"issuer":"{issuer}","issuer":"{issuer}","token_endpoint":"{issuer}/token"}`,
		"endpoint on a foreign":  `{"issuer":"{issuer}","token_endpoint":"` + foreign + `/token"}`,
		"endpoint on its port":   `{"issuer":"{issuer}","token_endpoint":"` + thief.URL + `/token"}`,
		"endpoint with userinfo": `{"issuer":"{issuer}","token_endpoint":"http://canary@127.0.0.1/token"}`,
		"endpoint with a query":  `{"issuer":"{issuer}","token_endpoint":"{issuer}/token?canary"}`,
		"endpoint of no scheme":  `{"issuer":"{issuer}","token_endpoint":"/token"}`,
		"endpoint ftp":           `{"issuer":"{issuer}","token_endpoint":"ftp://127.0.0.1/token"}`,
		"no endpoint":            `{"issuer":"{issuer}"}`,
		"endpoint is no string":  `{"issuer":"{issuer}","token_endpoint":["{issuer}/token"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t, map[string]string{atRFC8414: metadata})
			token, err := fetch(t, i.upstreamOf(t, "", nil), "")
			e := failure(t, token, err)
			if e.Class != ClassMalformed && name != "issuer twice" || !strings.HasPrefix(e.Reason, "discovery: ") {
				t.Errorf("error is %+v", e)
			}
			wantSecrecy(t, err, "canary", "evil")
		})
	}
	t.Run("SMART of a foreign issuer", func(t *testing.T) {
		i := newIssuer(t, map[string]string{atSMART: `{"issuer":"https://evil.example","token_endpoint":"{issuer}/token"}`})
		token, err := fetch(t, i.upstreamOf(t, "", nil), "")
		failure(t, token, err)
	})
	t.Run("a redirect", func(t *testing.T) {
		redirecting := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusFound))
		defer redirecting.Close()
		u := newTestOAuth2(t, "", func(c *OAuth2Config) { c.TokenURL, c.Issuer = nil, parseURL(t, redirecting.URL) })
		token, err := fetch(t, u, "")
		failure(t, token, err)
	})
	if reached.Load() != 0 {
		t.Error("a server that the settings do not name was reached")
	}
	t.Run("a foreign host that is listed", func(t *testing.T) {
		i := newIssuer(t, map[string]string{atRFC8414: `{"issuer":"{issuer}","token_endpoint":"` + foreign + `/token"}`})
		token, err := fetch(t, i.upstreamOf(t, "", func(c *OAuth2Config) { c.TokenHosts = []string{"localhost"} }), "")
		if failure(t, token, err); reached.Load() != 1 {
			t.Error("it was not reached")
		}
	})
}

func TestDiscoveryIsTriedAgainAfterAFailure(t *testing.T) {
	i := newIssuer(t, map[string]string{atOpenID: `{"issuer":"{issuer}","token_endpoint":"{issuer}/token"}`})
	u := i.upstreamOf(t, "", nil)
	for _, status := range []int{500, 503, 429} {
		i.status = status
		token, err := fetch(t, u, "")
		if e := failure(t, token, err); e.Class != ClassUnavailable || e.Status != status {
			t.Errorf("after %d: %+v", status, e)
		}
	}
	i.status = 0
	if _, err := fetch(t, u, ""); err != nil {
		t.Fatal(err)
	}
	// The token endpoint moves: the old place says so, and the metadata are read anew.
	i.mu.Lock()
	i.tokens, i.metadata[atOpenID] = "/token2", `{"issuer":"{issuer}","token_endpoint":"{issuer}/token2"}`
	i.mu.Unlock()
	token, err := fetch(t, u, "")
	if e := failure(t, token, err); e.Status != http.StatusNotFound {
		t.Errorf("the old place answers %+v", e)
	}
	if _, err := fetch(t, u, ""); err != nil {
		t.Errorf("after the metadata were read anew: %v", err)
	}
}

// aud is the token endpoint where the settings do not say otherwise, however that was found.
func TestAudienceIsTheDiscoveredEndpoint(t *testing.T) {
	i := newIssuer(t, map[string]string{atRFC8414: `{"issuer":"{issuer}","token_endpoint":"{issuer}/token"}`})
	u := i.upstreamOf(t, "", func(c *OAuth2Config) {
		c.Auth, c.PrivateKey = AuthPrivateKeyJWT, NewSecret(pkcs8Of(t, newRSA(t, 2048)))
	})
	target, err := u.locate(t.Context(), u.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	m, err := u.message(Key{}, target, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, claims := assertionOf(t, string(m.body)); fmt.Sprint(claims["aud"]) != i.URL+"/token" {
		t.Errorf("aud is %v", claims["aud"])
	}
}
