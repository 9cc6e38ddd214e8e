package main_test

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// secrets are what must never be seen outside a token request and the
// Authorization header to the target. The zero secrets are none.
type secrets struct {
	mu  sync.Mutex // guards all
	all map[string]bool
}

// add notes further secrets.
func (s *secrets) add(values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]bool{}
	}
	for _, v := range values {
		if v != "" {
			s.all[v] = true
		}
	}
}

func (s *secrets) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for v := range s.all {
		list = append(list, v)
	}
	return list
}

// search fails the test if text holds a secret in any form, without showing it.
func (s *secrets) search(t *testing.T, where, text string) {
	t.Helper()
	lower := strings.ToLower(text)
	for _, secret := range s.list() {
		for form, value := range forms(secret) {
			if strings.Contains(text, value) || form == "hex" && strings.Contains(lower, value) {
				t.Errorf("%s holds a secret (%s)", where, form)
			}
		}
	}
}

// forms are the ways in which a secret may be written.
func forms(secret string) map[string]string {
	all := map[string]string{
		"plain": secret, "escaped": url.QueryEscape(secret), "hex": hex.EncodeToString([]byte(secret)),
		"quoted": strings.ReplaceAll(secret, "\n", `\n`),
	}
	if len(secret) > 16 {
		all["beginning"] = secret[:12]
	}
	for i, name := range []string{"base64", "base64 behind one byte", "base64 behind two bytes"} {
		// The outer characters depend on what stands beside the secret.
		text := base64.RawStdEncoding.EncodeToString([]byte("xx"[:i] + secret))
		all[name] = text[2*i : len(text)-2]
		all[name+", for URLs"] = strings.NewReplacer("+", "-", "/", "_").Replace(text[2*i : len(text)-2])
	}
	return all
}

// provider is a simulated OAuth 2.0 provider as the upstream "books", with
// all its secrets on the list.
type provider struct {
	*upstreamtest.Server
	secrets secrets
}

const (
	clientID     = "client-of-books"
	clientSecret = "c4nary-client-s3cret/+v4lue"
)

// newProvider starts a provider whose tokens outlive every test unless options say
// otherwise.
func newProvider(t *testing.T, options upstreamtest.OAuth2Options) *provider {
	t.Helper()
	options.ClientID, options.ClientSecret = clientID, clientSecret
	options.Lifetime = cmp.Or(options.Lifetime, time.Hour)
	p := &provider{Server: upstreamtest.NewOAuth2(options)}
	t.Cleanup(p.Close)
	p.secrets.add(clientSecret, url.QueryEscape(clientSecret))
	p.SetAPIFault(nil)
	return p
}

// SetAPIFault also notes the tokens that come, so that they can be searched for.
func (p *provider) SetAPIFault(f upstreamtest.Fault) {
	p.Server.SetAPIFault(func(r *http.Request, n int) *upstreamtest.Answer {
		p.note(r)
		if f == nil {
			return nil
		}
		return f(r, n)
	})
}

func (p *provider) note(r *http.Request) {
	p.secrets.add(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
}

// environ returns the settings of the upstream books.
func (p *provider) environ(more ...string) []string { return books(p.APIURL(), p.TokenURL(), more...) }

// books returns the settings of an upstream of that name.
func books(target, tokenURL string, more ...string) []string {
	return append([]string{
		"SIDECAR_OAUTH2_0_NAME=books", "SIDECAR_OAUTH2_0_TARGET=" + target, "SIDECAR_OAUTH2_0_TOKEN_URL=" + tokenURL,
		"SIDECAR_OAUTH2_0_CLIENT_ID=" + clientID, "SIDECAR_OAUTH2_0_CLIENT_SECRET=" + clientSecret,
	}, more...)
}

// without returns environ without a variable.
func without(environ []string, name string) []string {
	var rest []string
	for _, entry := range environ {
		if !strings.HasPrefix(entry, name+"=") {
			rest = append(rest, entry)
		}
	}
	return rest
}

func TestSearchFindsEveryForm(t *testing.T) {
	const secret = "a-secret-of-some-length"
	for form, text := range forms(secret) {
		found := false
		for _, value := range forms(secret) {
			found = found || strings.Contains("before "+text+" behind", value)
		}
		if !found {
			t.Errorf("form %s is not found", form)
		}
	}
	for _, before := range []string{"", "i", "id", "id:", "user"} {
		text := base64.StdEncoding.EncodeToString([]byte(before + secret + "!"))
		found := false
		for _, value := range forms(secret) {
			found = found || strings.Contains(text, value)
		}
		if !found {
			t.Errorf("base64 behind %q is not found", before)
		}
	}
}
