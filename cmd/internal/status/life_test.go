package status

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// endpoint is an upstream whose token endpoint is a function: it answers after delay with
// a token that lives for life, or fails while it is down.
type endpoint struct {
	upstream.Upstream
	delay, life time.Duration

	mu    sync.Mutex // guards all below
	down  bool
	asked int
}

func (e *endpoint) Fetch(ctx context.Context, _ upstream.Key, _ upstream.TokenSource) (upstream.Token, error) {
	e.mu.Lock()
	e.asked++
	name, down := "token"+strings.Repeat("x", e.asked), e.down
	e.mu.Unlock()
	issued := time.Now()
	time.Sleep(e.delay)
	if down {
		return upstream.Token{}, &upstream.Error{Upstream: "pdx", Class: upstream.ClassUnavailable,
			Code: "temporarily_unavailable", Status: 503, Reason: "the token endpoint fails"}
	}
	return upstream.NewToken(name, "", issued, issued.Add(e.life))
}

func (e *endpoint) setDown(down bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = down
}

// live is a page over a real cache that keeps one token.
type live struct {
	*endpoint
	page  *Page
	cache *cache.Cache
	key   upstream.Key

	unreachable string // why the target gives no answer
}

func newLive(t *testing.T, ahead float64, e *endpoint) *live {
	t.Helper()
	at := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	e.Upstream = upstream.NewOAuth2(upstream.OAuth2Config{Name: "pdx", ClientID: "id", ClientSecret: upstream.NewSecret("secret"),
		Config: upstream.Config{TokenURL: at, Target: at}})
	m := metrics.New("test")
	c := cache.New(cache.Config{Upstreams: []upstream.Upstream{e}, Metrics: m, RefreshAhead: ahead})
	t.Cleanup(func() { _ = c.Close() })
	key, err := e.Key(e.Routes()[0].Kind, "", "")
	if err != nil {
		t.Fatal(err)
	}
	c.Pin(key)
	l := &live{endpoint: e, cache: c, key: key}
	l.page = New(Config{Upstreams: []string{"pdx"}, Cache: c.Status,
		Connections: func() []metrics.Connections {
			return []metrics.Connections{{Upstream: "pdx", InUse: 1, Idle: 2, Shared: 3, Opened: 9, Distrusted: true, Unreachable: l.unreachable}}
		},
		Lookups: func(string) (uint64, uint64) { return 0, 0 }, Draining: func() bool { return false }, Started: time.Now()})
	return l
}

// shown returns what the page tells of the upstream now, as facts and as HTML.
func (l *live) shown() (upstreamReport, string) {
	synctest.Wait()
	r := l.page.report()
	return r.Upstreams[0], view{Report: r}.html()
}

// TestStatusFollowsARefresh watches a token from its first load through a refresh: at no
// moment is there none, and while the new one is under way the old one is stale.
func TestStatusFollowsARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const life, delay, step = 100 * time.Second, 2 * time.Second, 100 * time.Millisecond
		const watched = life * 7 / 10 // the refresh is due at half of it, varied by a fifth
		l := newLive(t, 0.5, &endpoint{delay: delay, life: life})
		if u, _ := l.shown(); u.State != "starting" || u.Pinned.Usable != 0 || u.Loading != 1 {
			t.Errorf("before the first token: %+v", u)
		}
		time.Sleep(delay)
		var stale time.Duration // for how long
		var first time.Time
		for at := time.Duration(0); at < watched; at += step {
			u, page := l.shown()
			underWay := strings.Contains(page, "under way")
			switch {
			case u.State != "ok" || u.Tokens.Invalid != 0 || u.Tokens.Fresh+u.Tokens.Stale != 1 || u.Pinned.Usable != 1:
				t.Fatalf("%v after the first token: %+v", at, u)
			case underWay != (u.Tokens.Stale == 1) || (u.Loading == 1) != underWay:
				t.Errorf("%v after the first token: %+v, said to be under way: %t", at, u, underWay)
			}
			if u.Tokens.Stale == 1 {
				stale += step
			}
			if first.IsZero() {
				first = u.Last.Time
			}
			if at == watched-step && !u.Last.Time.After(first) {
				t.Errorf("the last token request is shown as of %v, the first was of %v", u.Last.Time, first)
			}
			time.Sleep(step)
		}
		if stale < delay || stale > delay+step {
			t.Errorf("stale for %v, want %v", stale, delay)
		}
	})
}

// TestStatusFollowsAnOutage has the token endpoint go down: the kept token is said to serve
// to its end, and from then on none is, until the endpoint is up again.
func TestStatusFollowsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const life = 1000 * time.Second
		l := newLive(t, 0.2, &endpoint{life: life})
		if u, _ := l.shown(); u.State != "ok" || u.Last.Outcome != "ok" {
			t.Errorf("at first: %+v", u)
		}
		end := time.Now().Add(life)
		l.setDown(true)
		time.Sleep(life * 9 / 10) // 80 % at first, varied by a fifth of the rest
		served := 0               // seconds
		for time.Now().Before(end) {
			u, page := l.shown()
			if time.Now().Before(u.Pinned.Expiry) {
				served++
				if u.State != "retrying" || u.Severity != severityWarning || u.Pinned.Usable != 1 || u.NextAttempt.IsZero() ||
					!strings.Contains(page, "Tokens in memory serve until they expire") {
					t.Fatalf("%v before the end: %+v", time.Until(end), u)
				}
				if _, err := l.cache.Token(t.Context(), l.key); err != nil {
					t.Errorf("%v before the end: %v", time.Until(end), err)
				}
			}
			time.Sleep(time.Second)
		}
		if served < 80 {
			t.Errorf("the token is said to serve for %d s of its last 100 s", served)
		}
		u, page := l.shown()
		if u.State != "failing" || u.Severity != severityError || u.Pinned.Usable != 0 || u.Last.Outcome != "unavailable" {
			t.Errorf("at the end: %+v", u)
		}
		for _, text := range []string{"503", "temporarily_unavailable", "the token endpoint fails", "Next attempt", "answered 503"} {
			if !strings.Contains(page, text) {
				t.Errorf("%q is not said of an endpoint that is down", text)
			}
		}
		l.setDown(false)
		time.Sleep(5 * time.Minute) // more than any pause between two attempts
		if u, _ := l.shown(); u.State != "ok" || u.Failure != nil {
			t.Errorf("after the outage: %+v", u)
		}
	})
}

// The numbers are in the JSON, and what a target did is on
// the page.
func TestStatusTellsOfConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLive(t, 0.2, &endpoint{life: time.Hour})
		r, page := l.shown()
		if want := (connectionsReport{1, 2, 3, 9, true, ""}); r.Connections != want {
			t.Errorf("%+v, want %+v", r.Connections, want)
		}
		if !strings.Contains(page, "bytes that belong to no answer") {
			t.Error("the page does not tell what the target did")
		}
		l.unreachable = "dns_error"
		if u, page := l.shown(); u.State != "target_unreachable" || u.Severity != severityError || !strings.Contains(page, "no answer to the last request: <code>dns_error</code>") {
			t.Errorf("the target gives no answer, and the page says %+v", u)
		}
	})
}
