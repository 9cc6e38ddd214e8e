package upstreamtest_test

import (
	"crypto/sha512"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"token-sidecar/upstream/upstreamtest"
)

func hash(text string) string {
	sum := sha512.Sum512([]byte(text))
	return hex.EncodeToString(sum[:])
}

const connectionBody = `{"mydexid":"m","connection_nid":"4711","connection_token_hash":"HASH","return_to":"https://app.example/"}`

// newConnectionPDX starts a PDX with a Dedicated Connection, and returns a token of it, too.
func newConnectionPDX(t *testing.T, o upstreamtest.Options) (*upstreamtest.Server, string) {
	o.ConnectionNID, o.ConnectionToken = "4711", "connection"
	s := upstreamtest.NewPDX(o)
	t.Cleanup(s.Close)
	res := do(t, http.MethodPost, s.TokenURL(), pdxForm().Encode(), formHeader(encodedBasic(s)))
	return s, res.text(t, "access_token")
}

func TestPDXGivesShortTokensToWhoeverSendsNoCredential(t *testing.T) {
	for _, object := range []bool{false, true} {
		s, token := newConnectionPDX(t, upstreamtest.Options{ShortTokenObject: object})
		url := s.APIURL() + "/access-token/4711"
		res := do(t, http.MethodGet, url, "", nil)
		want := `"` + s.ShortTokens()[0] + `"`
		if object {
			want = `{"token":` + want + `}`
		}
		if res.status != 200 || res.body != want {
			t.Errorf("got %d %s, want %s", res.status, res.body, want)
		}
		for _, h := range []http.Header{{"Authorization": {"Bearer " + token}}, {"Short-Access-Token": {"x"}}, {"Authentication": {"x"}}, {"Cookie": {"x"}}} {
			if res := do(t, http.MethodGet, url, "", h); res.status != 400 {
				t.Errorf("%v: got %d %s", h, res.status, res.body)
			}
		}
		if res := do(t, http.MethodGet, url+"?x=1", "", nil); res.status != 400 {
			t.Errorf("a query: got %d", res.status)
		}
		for _, other := range []string{s.APIURL() + "/access-token/4712", s.HostURL("idaas") + "/access-token/4711"} {
			if res := do(t, http.MethodGet, other, "", nil); res.status != 401 {
				t.Errorf("%s: got %d", other, res.status)
			}
		}
		if n := len(s.ShortTokens()); n != 1 {
			t.Errorf("%d short access tokens, want 1", n)
		}
	}
}

func TestPDXTakesOnlyRightConnections(t *testing.T) {
	s, token := newConnectionPDX(t, upstreamtest.Options{})
	good := strings.Replace(connectionBody, "HASH", hash("connection"), 1)
	update := strings.Replace(good, "{", `{"version":"1",`, 1)
	for name, tt := range map[string]struct {
		path, body string
		change     func(h http.Header)
		status     int
	}{
		"connection":             {"", good, nil, 200},
		"new data store":         {"/api/pds", good, nil, 200},
		"update":                 {"/api/connection/update", update, nil, 200},
		"update without version": {"/api/connection/update", good, nil, 400},
		"version without update": {"", update, nil, 400},
		"no token":               {"", good, func(h http.Header) { h.Del("Authorization") }, 401},
		"no short token":         {"", good, func(h http.Header) { h.Del("Short-Access-Token") }, 401},
		"two short tokens":       {"", good, func(h http.Header) { h.Add("Short-Access-Token", "x") }, 401},
		"unknown short token":    {"", good, func(h http.Header) { h.Set("Short-Access-Token", "x"); h.Set("Authentication", hash("xconnection")) }, 401},
		"used short token": {"", good, func(h http.Header) {
			old := s.ShortTokens()[0]
			h.Set("Short-Access-Token", old)
			h.Set("Authentication", hash(old+"connection"))
		}, 401},
		"no hash":                 {"", good, func(h http.Header) { h.Del("Authentication") }, 401},
		"hash of the token alone": {"", good, func(h http.Header) { h.Set("Authentication", hash("connection")) }, 401},
		"hash the other way":      {"", good, func(h http.Header) { h.Set("Authentication", hash("connection"+h.Get("Short-Access-Token"))) }, 401},
		"hash in capitals":        {"", good, func(h http.Header) { h.Set("Authentication", strings.ToUpper(h.Get("Authentication"))) }, 401},
		"no JSON type":            {"", good, func(h http.Header) { h.Set("Content-Type", "text/plain") }, 400},
		"another NID":             {"", strings.Replace(good, "4711", "4712", 1), nil, 400},
		"the token itself":        {"", strings.Replace(connectionBody, "HASH", "connection", 1), nil, 400},
		"a member more":           {"", strings.Replace(good, "{", `{"x":"y",`, 1), nil, 400},
		"a member less":           {"", strings.Replace(good, `"mydexid":"m",`, "", 1), nil, 400},
		"a member twice":          {"", strings.Replace(good, "{", `{"mydexid":"m",`, 1), nil, 400},
		"a member that is empty":  {"", strings.Replace(good, `"m"`, `""`, 1), nil, 400},
		"a number":                {"", strings.Replace(good, `"4711"`, "4711", 1), nil, 400},
		"no JSON":                 {"", "mydexid=m", nil, 400},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.ConnectionsMade()
			_ = do(t, http.MethodGet, s.APIURL()+"/access-token/4711", "", nil)
			all := s.ShortTokens()
			short := all[len(all)-1]
			if name == "used short token" {
				h := http.Header{"Authorization": {"Bearer x"}, "Short-Access-Token": {all[0]}}
				_ = do(t, http.MethodPost, s.APIURL()+"/api/connection", good, h)
			}
			h := http.Header{"Authorization": {"Bearer " + token}, "Short-Access-Token": {short},
				"Authentication": {hash(short + "connection")}, "Content-Type": {"application/json"}}
			if tt.change != nil {
				tt.change(h)
			}
			path := tt.path
			if path == "" {
				path = "/api/connection"
			}
			res := do(t, http.MethodPost, s.APIURL()+path, tt.body, h)
			if res.status != tt.status {
				t.Errorf("got %d %s, want %d", res.status, res.body, tt.status)
			}
			if made := s.ConnectionsMade() - before; (made == 1) != (tt.status == 200) {
				t.Errorf("%d connections were made", made)
			}
		})
	}
}
