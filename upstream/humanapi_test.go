package upstream

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// The secret and the user have characters that JSON, forms and URLs treat in
// different ways.
const (
	testHumanID     = "cid-made-up"
	testHumanSecret = `cs+/=%20<&>"\é`
	testUser        = "applicant+42@example.org"
)

func newTestHumanAPI(t *testing.T, tokenURL string, change func(*HumanAPIConfig)) *humanAPI {
	t.Helper()
	c := HumanAPIConfig{
		Config:       Config{TokenURL: parseURL(t, tokenURL), Target: parseURL(t, "https://api.example"), DefaultLifetime: 24 * time.Hour},
		ClientID:     testHumanID,
		ClientSecret: NewSecret(testHumanSecret),
	}
	if change != nil {
		change(&c)
	}
	u := NewHumanAPI(c).(*humanAPI)
	closeIdle(t, u.endpoint)
	return u
}

func newHumanSimulation(t *testing.T, o upstreamtest.Options) *upstreamtest.Server {
	o.ClientID, o.ClientSecret = testHumanID, testHumanSecret
	s := upstreamtest.NewHumanAPI(o)
	t.Cleanup(s.Close)
	return s
}

func fetchUser(t *testing.T, u Upstream, user string) (Token, error) {
	t.Helper()
	return u.Fetch(t.Context(), mustKey(t, u, KindAccess, user, ""), noTokens{t})
}

func fetchHIPClient(t *testing.T, u Upstream) (Token, error) {
	t.Helper()
	return u.Fetch(t.Context(), mustKey(t, u, KindClient, "", ""), noTokens{t})
}

func TestHumanAPIRequestIsWhatTheContractAsks(t *testing.T) {
	const credential = `"client_id":"cid-made-up","client_secret":"cs+/=%20\u003c\u0026\u003e\"\\é"`
	connect := func(id string) bool { return id != "not-connected" }
	for _, tt := range []struct {
		name, path, body string
		hip              bool
		user             string // empty: the client token
		want             string // class and code, empty: a token
	}{
		{"connect", "/v1/connect/token", `{` + credential + `,"client_user_id":"applicant+42@example.org","type":"access"}`, false, testUser, ""},
		{"HIP access", "/v1/admin/token", `{` + credential + `,"client_user_id":"applicant+42@example.org","type":"access"}`, true, testUser, ""},
		{"HIP client", "/v1/admin/token", `{` + credential + `,"type":"client"}`, true, "", ""},
		{"unconnected", "/v1/connect/token", `{` + credential + `,"client_user_id":"not-connected","type":"access"}`, false, "not-connected",
			"subject ACCESS_TOKEN_GENERATION_NOT_ALLOWED"},
		{"unknown", "/v1/connect/token", `{` + credential + `,"client_user_id":"x\u003cy\u003e","type":"access"}`, false, "x<y>",
			"subject UNKNOWN_CLIENT_USER_ID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newHumanSimulation(t, upstreamtest.Options{HIP: tt.hip, Lifetime: 24 * time.Hour, ConnectedUser: connect,
				KnowsUser: func(id string) bool { return id != "x<y>" }})
			u := newTestHumanAPI(t, s.TokenURL(), func(c *HumanAPIConfig) { c.HIP = tt.hip })
			kind := KindAccess
			if tt.user == "" {
				kind = KindClient
			}
			token, err := u.Fetch(t.Context(), mustKey(t, u, kind, tt.user, ""), noTokens{t})
			wantWire(t, s, "POST "+tt.path+"\nAccept: application/json\nContent-Length: "+strconv.Itoa(len(tt.body))+
				"\nContent-Type: application/json\nUser-Agent: token-sidecar\n\n"+tt.body)
			if tt.want != "" {
				if got := outcome(t, token, err); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				return
			}
			g, ok := s.Issued(token.AccessToken())
			if err != nil || !ok || g.Subject != tt.user || g.Kind != string(kind) || token.Expiry().Sub(token.Issued()) != 24*time.Hour {
				t.Errorf("the token is %+v, %v", g, err)
			}
		})
	}
}

// What the simulation refuses in a request of the right form.
func TestHumanAPIRefusalsOfARightRequest(t *testing.T) {
	otherID := func(c *HumanAPIConfig) { c.ClientID = "other" }
	otherSecret := func(c *HumanAPIConfig) { c.ClientSecret = NewSecret("cs%2B%2F%3D%2520%3C%26%3E%22%5C%C3%A9") } // the right one, URL-encoded
	for _, tt := range []struct {
		name    string
		options upstreamtest.Options
		path    string // of the token URL, empty: the right one
		change  func(*HumanAPIConfig)
		client  bool
		want    string
	}{
		{"client id", upstreamtest.Options{}, "", otherID, false, "credential INVALID_CLIENT_ID"},
		{"secret", upstreamtest.Options{}, "", otherSecret, false, "credential INVALID_CLIENT_ID_OR_SECRET"},
		{"client token by connect", upstreamtest.Options{}, "", nil, true, "scope INVALID_TOKEN_TYPE"},
		{"client token, not HIP", upstreamtest.Options{}, "/v1/admin/token", nil, true, "scope CLIENT_TOKEN_GENERATION_NOT_ALLOWED"},
		{"client token, not enabled", upstreamtest.Options{HIP: true, NoClientTokens: true}, "", nil, true, "scope CLIENT_TOKEN_GENERATION_NOT_ALLOWED"},
		{"connect by HIP", upstreamtest.Options{HIP: true}, "/v1/connect/token", nil, false, "scope NOT_AUTHORIZED"},
		{"HIP client id", upstreamtest.Options{HIP: true}, "", otherID, true, "credential INVALID_CLIENT_ID"},
		{"HIP secret", upstreamtest.Options{HIP: true}, "", otherSecret, true, "credential INVALID_CLIENT_ID_OR_SECRET"},
		{"wrong address", upstreamtest.Options{}, "/v1/token", nil, false, "malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newHumanSimulation(t, tt.options)
			target := s.TokenURL()
			if tt.path != "" {
				target = target[:strings.Index(target, "/v1/")] + tt.path
			}
			u := newTestHumanAPI(t, target, tt.change)
			token, err := fetchUser(t, u, testUser)
			if tt.client {
				token, err = fetchHIPClient(t, u)
			}
			if got := outcome(t, token, err); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestHumanAPIUserConnects(t *testing.T) {
	var connected atomic.Bool
	s := newHumanSimulation(t, upstreamtest.Options{ConnectedUser: func(string) bool { return connected.Load() }})
	u := newTestHumanAPI(t, s.TokenURL(), nil)
	token, err := fetchUser(t, u, testUser)
	if got := outcome(t, token, err); got != "subject ACCESS_TOKEN_GENERATION_NOT_ALLOWED" {
		t.Errorf("before: %s", got)
	}
	connected.Store(true)
	if _, err := fetchUser(t, u, testUser); err != nil {
		t.Errorf("after: %v", err)
	}
}

func TestHumanAPISecretRotates(t *testing.T) {
	s := newHumanSimulation(t, upstreamtest.Options{})
	secret := NewSecret("old")
	u := newTestHumanAPI(t, s.TokenURL(), func(c *HumanAPIConfig) { c.ClientSecret = secret })
	before := u.Fingerprint()
	token, err := fetchUser(t, u, testUser)
	if got := outcome(t, token, err); got != "credential INVALID_CLIENT_ID_OR_SECRET" {
		t.Errorf("with the old secret: %s", got)
	}
	secret.Replace(testHumanSecret)
	if _, err := fetchUser(t, u, testUser); err != nil || u.Fingerprint() == before {
		t.Errorf("with the new secret: %v, and the fingerprint differs: %t", err, u.Fingerprint() != before)
	}
}

func TestHumanAPIRoutesAndKeys(t *testing.T) {
	for _, hip := range []bool{false, true} {
		u := newTestHumanAPI(t, "http://token.example/", func(c *HumanAPIConfig) {
			c.HIP = hip
			c.Targets = []Target{{"data", parseURL(t, "https://data.example")}}
			if hip {
				c.Targets = append(c.Targets, Target{"admin", parseURL(t, "https://admin.example")})
			}
		})
		want := []Route{
			{"humanapi", u.config.Target, KindAccess, SubjectRequired, nil},
			{"humanapi.data", u.config.Targets[0].URL, KindAccess, SubjectRequired, nil},
		}
		if hip {
			want = append(want, Route{"humanapi.admin", u.config.Targets[1].URL, KindClient, SubjectRefused, nil})
		}
		if got := u.Routes(); !reflect.DeepEqual(got, want) {
			t.Errorf("HIP %t: routes are %v, want %v", hip, got, want)
		}
	}
	u := newTestHumanAPI(t, "http://token.example/", nil)
	for _, tt := range []struct {
		kind           Kind
		subject, scope string
		err            error
	}{
		{KindAccess, testUser, "", nil},
		{KindAccess, "", "", ErrSubjectRequired},
		{KindAccess, testUser, "read", ErrScopeNotAllowed},
		{KindClient, "", "", nil},
		{KindClient, testUser, "", ErrSubjectNotTaken},
	} {
		if _, err := u.Key(tt.kind, tt.subject, tt.scope); !errors.Is(err, tt.err) {
			t.Errorf("%s of %q for %q: %v, want %v", tt.kind, tt.subject, tt.scope, err, tt.err)
		}
	}
}
