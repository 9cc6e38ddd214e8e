package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/upstream"
)

// wanting is an upstream whose API wants fields on its main route.
type wanting struct {
	upstream.Upstream
	fields upstream.FieldSource
}

// Routes implements [upstream.Upstream].
func (u wanting) Routes() []upstream.Route {
	routes := slices.Clone(u.Upstream.Routes())
	routes[0].Fields = u.fields
	return routes
}

// source is a FieldSource that is one function.
type source func(ctx context.Context, method, path string, own http.Header) ([]upstream.Field, error)

// Fields implements [upstream.FieldSource].
func (f source) Fields(ctx context.Context, method, path string, own http.Header) ([]upstream.Field, error) {
	return f(ctx, method, path, own)
}

// newWantingSide starts a sidecar whose route alpha wants the fields of f.
func newWantingSide(t *testing.T, o setup, f upstream.FieldSource) *side {
	o.upstreams = func(s *side) []upstream.Upstream {
		return []upstream.Upstream{wanting{s.oauth2("alpha", s.up.url()+o.base), f}}
	}
	return newSide(t, o)
}

// counting gives fields whose values are the numbers of the questions.
func counting(asked *atomic.Int64) source {
	return func(context.Context, string, string, http.Header) ([]upstream.Field, error) {
		value := upstream.NewSecret(fmt.Sprintf("canary-field-%d", asked.Add(1)))
		return []upstream.Field{{Name: "X-Api-Key", Value: value}, {Name: "X-Tenant", Value: upstream.NewSecret("7 and 8")}}, nil
	}
}

// Whatever the app sends under the names of fields that the sidecar sets, the target gets
// those of the sidecar, once.
//
// Case FTC1.
func TestFieldsReplaceThoseOfTheApp(t *testing.T) {
	var asked atomic.Int64
	s := newWantingSide(t, setup{base: "/v1"}, counting(&asked))
	for n, lines := range [][]string{nil, {"X-Api-Key: own", "x-api-key: own too"}, {"X_Api_Key: own", "X-Api_key: own", "X_tenant: own"},
		{"Connection: X-Api-Key, X-Tenant", "X-Tenant: own"}, {"X-Tenant:"}} {
		for _, request := range []struct{ method, body string }{{"GET", ""}, {"POST", "body"}, {"PATCH", strings.Repeat("b", 100<<10)}} {
			if a := s.send(request.method, "/alpha/x?q", request.body, append(lines, "X-Other: kept")...); a.status != 200 {
				t.Fatalf("%s %q: %d %s", request.method, lines, a.status, a.body)
			}
			r := s.up.last()
			want := fmt.Sprintf("canary-field-%d", asked.Load())
			if got := r.header("x-api-key"); !slices.Equal(got, []string{want}) {
				t.Errorf("%d: X-Api-Key is %q, want %q", n, got, want)
			}
			if got := r.header("x-tenant"); !slices.Equal(got, []string{"7 and 8"}) {
				t.Errorf("%d: X-Tenant is %q", n, got)
			}
			if r.target != "/v1/x?q" || len(r.header("x-other")) != 1 || r.body != request.body {
				t.Errorf("%d: the target saw %q", n, r.head)
			}
			r.authorized(t, tokenOf(1))
		}
	}
	if n := asked.Load(); n != 15 {
		t.Errorf("the fields were asked for %d times, want once for each request", n)
	}
}

// A source learns what the app asked for, below the target's base.
//
// Case FTC1.
func TestFieldsAreAskedForByMethodAndPath(t *testing.T) {
	var got atomic.Value
	s := newWantingSide(t, setup{base: "/v1"}, source(func(_ context.Context, method, path string, own http.Header) ([]upstream.Field, error) {
		got.Store(method + " " + path + " " + own.Get("X-Own"))
		return nil, nil
	}))
	for path, want := range map[string]string{"/alpha": "/", "/alpha/a%2Fb/?q=1": "/a%2Fb/", s.up.url() + "/v1/c": "/c"} {
		if a := s.send("DELETE", path, "", "X-Own: mine"); a.status != 200 || got.Load() != "DELETE "+want+" mine" {
			t.Errorf("%s: %d, asked for %q", path, a.status, got.Load())
		}
	}
}

// A request that is sent again after a 401 has fields of its own.
//
// Case FTC1.
func TestFieldsAreAskedForAnewAfterA401(t *testing.T) {
	var asked atomic.Int64
	first := counting(&asked)
	s := newWantingSide(t, setup{}, source(func(ctx context.Context, method, path string, own http.Header) ([]upstream.Field, error) {
		fields, err := first(ctx, method, path, own)
		if asked.Load() == 2 {
			fields = fields[:1]
		}
		return fields, err
	}))
	s.up.play(func(r *upRequest) bool {
		if r.n == 1 {
			r.say("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
			return true
		}
		return hello(r)
	})
	if a := s.get("/alpha/x"); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for n, r := range s.up.requests() {
		if got := r.header("x-api-key"); !slices.Equal(got, []string{fmt.Sprintf("canary-field-%d", n+1)}) {
			t.Errorf("request %d has X-Api-Key %q", n+1, got)
		}
		if got := len(r.header("x-tenant")); got != 1-n {
			t.Errorf("request %d has X-Tenant %d times", n+1, got)
		}
		r.authorized(t, tokenOf(int64(n+1)))
	}
}

// Without its fields a request is not sent, not even a connection is opened for it.
//
// Case FTC2.
func TestRequestsAreNotSentWithoutTheirFields(t *testing.T) {
	var wait time.Duration
	s := newWantingSide(t, setup{}, source(func(context.Context, string, string, http.Header) ([]upstream.Field, error) {
		return nil, &upstream.Error{Upstream: "alpha", Class: upstream.ClassThrottled, Status: 429, Reason: "no", RetryAfter: wait}
	}))
	for seconds, want := range map[time.Duration]string{0: "1", 7: "7"} {
		wait = seconds * time.Second
		for method, body := range map[string]string{"GET": "", "POST": "small", "PUT": strings.Repeat("b", 100<<10)} {
			a := s.send(method, "/alpha/x", body)
			a.problem(t, 503, "header_unavailable")
			if got := a.header.Get("Retry-After"); got != want {
				t.Errorf("Retry-After is %q, want %s", got, want)
			}
		}
	}
	s.up.mu.Lock()
	defer s.up.mu.Unlock()
	if s.up.dials != 0 {
		t.Errorf("%d connections were opened to the target", s.up.dials)
	}
	if log := s.log.String(); strings.Count(log, `"error":"token request to alpha: throttled: no, status 429"`) != 6 {
		t.Errorf("the log does not say why: %s", log)
	}
}

// The wait for fields ends by TokenTimeout, and when the app leaves.
//
// Case FTC2.
func TestWaitForFieldsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var left atomic.Int64
		s := newWantingSide(t, setup{pipes: &pipes{}, config: func(c *Config) { c.TokenTimeout = 10 * time.Second }},
			source(func(ctx context.Context, _, _ string, _ http.Header) ([]upstream.Field, error) {
				<-ctx.Done()
				left.Add(1)
				return nil, &upstream.Error{Upstream: "alpha", Class: upstream.ClassUnavailable, Reason: "slow"}
			}))
		began := time.Now()
		s.get("/alpha/x").problem(t, 503, "header_unavailable")
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it took %s, want 10 s", took)
		}
		c := s.dial(s.addr)
		c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
		time.Sleep(time.Second)
		_ = c.Close()
		synctest.Wait()
		if left.Load() != 2 || !strings.Contains(s.log.String(), "client_closed") {
			t.Errorf("the wait goes on after the app has left: %s", s.log.String())
		}
	})
}

// The app gets no field back that the sidecar set, since it may be a secret.
//
// Case FTC3.
func TestFieldsShownInAnAnswerAreWithheld(t *testing.T) {
	s := newWantingSide(t, setup{}, source(func(context.Context, string, string, http.Header) ([]upstream.Field, error) {
		return []upstream.Field{{Name: "X-Api-Key", Value: upstream.NewSecret("canary-field")}, {Name: "Accept", Value: upstream.NewSecret("text/plain")}}, nil
	}))
	s.up.say("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Echo: a canary-field b\r\nX-Coded: canary%2Dfield\r\nX-Other: kept\r\nContent-Length: 0\r\n\r\n")
	a := s.get("/alpha/x")
	if a.status != 200 || a.header.Get("X-Other") != "kept" || a.header.Get("Content-Type") != "text/plain" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if a.header["X-Echo"] != nil || a.header["X-Coded"] != nil {
		t.Errorf("the app sees %v", a.header)
	}
}

// Over TLS, and so over HTTP/2 on the general way, fields go as they do over plain HTTP/1.1.
//
// Case FTC1.
func TestFieldsGoOverTLS(t *testing.T) {
	target := newTLSTarget(t, 0)
	target.serve = func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto+" "+strings.Join(r.Header["X-Api-Key"], ","))
	}
	var asked atomic.Int64
	s := newSide(t, setup{config: func(c *Config) { c.Roots = target.roots["trusted"] }, upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{wanting{s.oauth2("alpha", target.url), counting(&asked)}}
	}})
	for n := range 3 {
		if a := s.get("/alpha/x", "X-Api-Key: own"); a.body != fmt.Sprintf("%s canary-field-%d", protocol(), n+1) {
			t.Errorf("%d %q", a.status, a.body)
		}
	}
}
