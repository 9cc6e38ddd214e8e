package upstream_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
	"token-sidecar/upstream/upstreamtest"
)

// A provider that refuses one subject and serves the others, under a fake clock.
type provider struct {
	upstream.Upstream
	kind       upstream.Kind
	bad, other string // subjects
	mark       string // what only requests for bad hold
}

func endpoint(scope string) upstream.Config {
	return upstream.Config{TokenURL: &url.URL{Scheme: "https", Host: "token.example"}, Scope: scope, DefaultLifetime: time.Hour}
}

// providers returns the providers by name; key is the PEM of a service account.
func providers(key string) map[string]func() provider {
	mdh := func() upstream.Upstream {
		return upstream.NewMyDataHelps(upstream.MyDataHelpsConfig{Config: endpoint("api"), ServiceAccount: "account",
			PrivateKey: upstream.NewSecret(key), DelegatedClientID: "delegated", DelegatedClientSecret: upstream.NewSecret("secret")})
	}
	human := func() upstream.Upstream {
		return upstream.NewHumanAPI(upstream.HumanAPIConfig{Config: endpoint(""), ClientID: "id", ClientSecret: upstream.NewSecret("s"), HIP: true})
	}
	return map[string]func() provider{
		"service":     func() provider { return provider{mdh(), upstream.KindService, "", "", "client_assertion="} },
		"participant": func() provider { return provider{mdh(), upstream.KindParticipant, "bad", "good", "participant_id=bad"} },
		"oclc": func() provider {
			u := upstream.NewOCLC(upstream.OCLCConfig{Config: endpoint("wcapi"), WSKey: "k", Secret: upstream.NewSecret("s")})
			return provider{u, upstream.KindClient, "5", "7", "context%3A5"}
		},
		"user": func() provider {
			return provider{human(), upstream.KindAccess, "bad", "good", `"client_user_id":"bad"`}
		},
		"pdx": func() provider {
			u := upstream.NewPDX(upstream.PDXConfig{Config: endpoint("x"), ClientID: "id", ClientSecret: upstream.NewSecret("s")})
			return provider{u, upstream.KindClient, "", "", "grant_type="}
		},
		"client": func() provider { return provider{human(), upstream.KindClient, "", "", `"type":"client"`} },
	}
}

// script answers token requests: those for bad by refuse, others with a token.
type script struct {
	start  time.Time
	refuse func(at time.Duration) *upstreamtest.Answer // nil: a token

	mu    sync.Mutex      // guards the two below
	asked []time.Duration // for bad, from the start
	n     int
}

// times returns when the provider was asked for bad.
func (s *script) times() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *script) serve(p provider) {
	s.start = time.Now()
	upstream.AnswerFrom(p.Upstream, func(r *http.Request) (int, http.Header, string) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.n++
		if strings.Contains(string(body)+r.URL.RawQuery, p.mark) {
			at := time.Since(s.start)
			s.asked = append(s.asked, at)
			if a := s.refuse(at); a != nil {
				return a.Status, a.Header, a.Body
			}
		}
		return 200, nil, fmt.Sprintf(`{"access_token":"t%d","token_type":"Bearer","expires_in":3600}`, s.n)
	})
}

func (p provider) mustKey(t *testing.T, subject string) upstream.Key {
	t.Helper()
	key, err := p.Key(p.kind, subject, "")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// How long a refusal keeps the provider from being asked again: by class.
type span struct{ least, most time.Duration }

func (s span) holds(d time.Duration) bool { return s.least <= d && d <= s.most }

func refusal(status int, body string, header ...string) *upstreamtest.Answer {
	a := &upstreamtest.Answer{Status: status, Body: body, Header: http.Header{}}
	if len(header) > 0 {
		a.Header.Set(header[0], header[1])
	}
	return a
}

// pause is an answer and what it must bring about.
type pause struct {
	provider string
	answer   *upstreamtest.Answer
	next     span // until the second attempt
	attempt  int  // token requests of one attempt
	others   bool // are served meanwhile
}

func pauses() []pause {
	slack := 200 * time.Millisecond
	var (
		soon    = span{800 * time.Millisecond, 1200*time.Millisecond + slack}
		short   = span{30 * time.Second, 30*time.Second + slack}
		long    = span{5 * time.Minute, 5*time.Minute + slack}
		slow    = span{48 * time.Second, 72*time.Second + slack}
		asAsked = span{40 * time.Second, 40*time.Second + slack}
	)
	return []pause{
		{"service", refusal(400, `{"error":"invalid_client"}`), slow, 2, false},
		{"service", refusal(401, ``), slow, 2, false},
		{"service", refusal(400, `{"error":"invalid_scope"}`), long, 1, false},
		{"service", refusal(400, `{"error":"unauthorized_client"}`), long, 1, false},
		{"service", refusal(400, `{"error":"unsupported_grant_type"}`), long, 1, false},
		{"service", refusal(429, ``, "Retry-After", "40"), asAsked, 1, false},
		{"service", refusal(429, ``, "RateLimit-Reset", "40"), asAsked, 1, false},
		{"service", refusal(503, ``), soon, 1, false},
		{"service", refusal(503, ``, "Retry-After", "40"), asAsked, 1, false},
		{"service", refusal(200, `<html>`), soon, 1, false},
		{"service", refusal(403, `<html>`), soon, 1, false},
		{"participant", refusal(400, `{"error":"invalid_grant"}`), short, 2, true},
		{"participant", refusal(400, `{"error":"invalid_client"}`), long, 1, true},
		{"participant", refusal(400, `{"error":"invalid_scope"}`), long, 1, true},
		{"participant", refusal(429, ``, "Retry-After", "40"), asAsked, 1, false},
		{"participant", refusal(502, `<html>`), soon, 1, true},
		{"pdx", refusal(401, `{"error":"invalid_client"}`), slow, 1, false},
		{"pdx", refusal(400, `{"error":"invalid_scope"}`), long, 1, false},
		{"pdx", refusal(500, ``), soon, 1, false},
		{"oclc", refusal(401, `{"message":"No valid authentication credentials found in request"}`), slow, 1, false},
		{"oclc", refusal(401, `<html>`), slow, 1, false},
		{"oclc", refusal(403, `{"code":403,"message":"Invalid scope(s): x (x) [Not on key]"}`), long, 1, true},
		{"oclc", refusal(403, `{"code":403,"message":"Invalid scope(s): context:5 (context:5) [Not on key]"}`), short, 1, true},
		{"oclc", refusal(403, `{"error":{"errorMessage":"unauthorized_client","errorCode":403}}`), long, 1, true},
		{"oclc", refusal(503, `<html>`), soon, 1, true},
		{"user", refusal(400, `{"errorCode":"INVALID_TOKEN_TYPE"}`), long, 1, true},
		{"user", refusal(401, `{"errorCode":"INVALID_CLIENT_ID"}`), slow, 1, false},
		{"user", refusal(401, `{"errorCode":"INVALID_CLIENT_ID_OR_SECRET"}`), slow, 1, false},
		{"user", refusal(403, `{"errorCode":"NOT_AUTHORIZED"}`), long, 1, true},
		{"user", refusal(403, `{"errorCode":"ACCESS_TOKEN_GENERATION_NOT_ALLOWED"}`), short, 1, true},
		{"user", refusal(400, `{"errorCode":"UNKNOWN_CLIENT_USER_ID"}`), short, 1, true},
		{"user", refusal(400, `{"errorCode":"SOMETHING_NEW"}`), short, 1, true},
		{"user", refusal(401, `{"error":"Unauthorized"}`), short, 1, true},
		{"user", refusal(429, ``, "Retry-After", "40"), asAsked, 1, false},
		{"user", refusal(500, `{}`), soon, 1, true},
		{"client", refusal(403, `{"errorCode":"CLIENT_TOKEN_GENERATION_NOT_ALLOWED"}`), long, 1, false},
	}
}

// TestPausesGrowWhileRefusalsLast has an app ask ten times a second for a token that is refused,
// and tells when the provider is asked again, and whether others are served
// meanwhile.
func TestPausesGrowWhileRefusalsLast(t *testing.T) {
	simulation := upstreamtest.NewMyDataHelps(upstreamtest.Options{})
	defer simulation.Close()
	all := providers(simulation.PrivateKey())
	for _, tt := range pauses() {
		t.Run(fmt.Sprintf("%s %d %.60s", tt.provider, tt.answer.Status, tt.answer.Body), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := all[tt.provider]()
				s := &script{refuse: func(time.Duration) *upstreamtest.Answer { return tt.answer }}
				s.serve(p)
				c := cache.New(cache.Config{Upstreams: []upstream.Upstream{p}, Metrics: metrics.New("test")})
				defer func() { _ = c.Close() }()
				bad := p.mustKey(t, p.bad)
				for i := 0; len(s.times()) <= tt.attempt && time.Since(s.start) < 10*time.Minute; i++ {
					if _, err := c.Token(t.Context(), bad); err == nil {
						t.Fatal("a refused token came")
					}
					if i == 0 && p.other != "" {
						wantServed(t, c, p.mustKey(t, p.other), tt.others)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if asked := s.times(); len(asked) <= tt.attempt || asked[tt.attempt-1] != 0 || !tt.next.holds(asked[tt.attempt]) {
					t.Errorf("asked at %v, want %d token requests at once and the next after %v", asked, tt.attempt, tt.next)
				}
			})
		})
	}
}

func wantServed(t *testing.T, c *cache.Cache, key upstream.Key, want bool) {
	t.Helper()
	if _, err := c.Token(t.Context(), key); want != (err == nil) {
		t.Errorf("another is served: %t (%v), want %t", err == nil, err, want)
	}
}

// A user who is refused, connects a source, and is served
// when the short pause is over.
func TestUserWhoConnectsIsServedAfterTheShortPause(t *testing.T) {
	for _, code := range []string{"ACCESS_TOKEN_GENERATION_NOT_ALLOWED", "UNKNOWN_CLIENT_USER_ID"} {
		synctest.Test(t, func(t *testing.T) {
			const connects = 12 * time.Second
			p := providers("")["user"]()
			s := &script{refuse: func(at time.Duration) *upstreamtest.Answer {
				if at < connects {
					return refusal(403, `{"errorCode":"`+code+`"}`)
				}
				return nil
			}}
			s.serve(p)
			c := cache.New(cache.Config{Upstreams: []upstream.Upstream{p}, Metrics: metrics.New("test")})
			defer func() { _ = c.Close() }()
			for time.Since(s.start) < time.Minute {
				if _, err := c.Token(t.Context(), p.mustKey(t, p.bad)); err == nil {
					break
				}
				time.Sleep(250 * time.Millisecond)
			}
			if waited := time.Since(s.start) - connects; waited > 30*time.Second || len(s.times()) != 2 {
				t.Errorf("%s: served %s after connecting, asked at %v", code, waited, s.times())
			}
		})
	}
}

// TestChainHealsWithOneProbe has the endpoint of a two-level chain down until the breaker
// opens and all is cold. Whoever may probe needs the service token first,
// which must not wait for the probe.
func TestChainHealsWithOneProbe(t *testing.T) {
	simulation := upstreamtest.NewMyDataHelps(upstreamtest.Options{})
	defer simulation.Close()
	synctest.Test(t, func(t *testing.T) {
		const down = 2 * time.Minute
		p := providers(simulation.PrivateKey())["participant"]()
		p.mark = "" // all requests
		s := &script{refuse: func(at time.Duration) *upstreamtest.Answer {
			if at < down {
				return refusal(503, "")
			}
			return nil
		}}
		s.serve(p)
		c := cache.New(cache.Config{Upstreams: []upstream.Upstream{p}, Metrics: metrics.New("test")})
		defer func() { _ = c.Close() }()
		healed := time.Duration(0)
		for i := 0; healed == 0 && time.Since(s.start) < 5*time.Minute; i++ {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			_, err := c.Token(ctx, p.mustKey(t, fmt.Sprint("participant-", i%50)))
			cancel()
			if err == nil {
				healed = time.Since(s.start) - down
			}
			time.Sleep(50 * time.Millisecond)
		}
		if healed <= 0 || healed > 20*time.Second {
			t.Errorf("served %s after the end of the outage, want at most one step of back-off", healed)
		}
	})
}
