package sidecar

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/metrics"
	"token-sidecar/upstream/upstreamtest"
)

// statusWorld is a running sidecar and the providers behind it, of which some
// do not do well. Their tokens live long, and what a test waits for is brought about by
// the test: nothing here depends on how fast the machine is.
type statusWorld struct {
	sidecar            *Sidecar
	admin, data        string
	human, books, down *upstreamtest.Server
	redis              *testkit.Redis
	subjects           int // that were asked for so far
}

const statusSubject = "person-" + testkit.Canary

// answering makes a token endpoint answer a and nothing else.
func answering(s *upstreamtest.Server, a *upstreamtest.Answer) *upstreamtest.Server {
	s.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer { return a })
	return s
}

func startStatusWorld(t *testing.T) *statusWorld {
	t.Helper()
	long := upstreamtest.Options{Lifetime: time.Hour}
	w := &statusWorld{
		human: testkit.Closing(t, upstreamtest.NewHumanAPI(long)),
		books: genericSim(t),
		down:  answering(genericSim(t), upstreamtest.OAuthError(503, "temporarily_unavailable")),
		redis: testkit.NewRedis(t),
	}
	if err := w.redis.Start(); err != nil {
		t.Fatal(err)
	}
	pdx := testkit.Closing(t, upstreamtest.NewPDX(long))
	seal := sha256.Sum256([]byte(testkit.Canary))
	settings := []string{"LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0", "TOKEN_TIMEOUT=2m",
		"REDIS_URL=" + w.redis.URL(), "REDIS_KEYS=k1:" + base64.StdEncoding.EncodeToString(seal[:])}
	settings = slices.Concat(settings, testkit.PDX(pdx), testkit.HumanAPI(w.human))
	for i, s := range []struct {
		name   string
		server *upstreamtest.Server
	}{
		{"books", w.books},
		{"down", w.down},
		{"wrong-secret", answering(genericSim(t), upstreamtest.OAuthError(401, "invalid_client"))},
		{"busy", answering(genericSim(t), &upstreamtest.Answer{Status: 429, Header: http.Header{"Retry-After": {"120"}}})},
		{"wrong-scope", answering(genericSim(t), upstreamtest.OAuthError(400, "invalid_scope"))},
		{"slow-with-the-longest-name-there", answering(genericSim(t), &upstreamtest.Answer{Hang: true})},
	} {
		p := fmt.Sprintf("OAUTH2_%d_", i)
		settings = append(settings, p+"NAME="+s.name, p+"CLIENT_ID="+s.server.ClientID(), p+"CLIENT_SECRET="+s.server.ClientSecret(),
			p+"TOKEN_URL="+s.server.TokenURL(), p+"TARGET="+s.server.APIURL())
	}
	w.start(t, settings)
	return w
}

func genericSim(t *testing.T) *upstreamtest.Server {
	return testkit.Closing(t, upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Lifetime: time.Hour}))
}

func (w *statusWorld) start(t *testing.T, settings []string) {
	t.Helper()
	parsed, err := config.Parse(testkit.Environ(settings...), goredis.Driver{})
	if err == nil {
		w.sidecar, err = Start(parsed, zerolog.Nop(), metrics.New("1.2.3-test"), io.Discard)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sidecar.Stop)
	w.admin, w.data = "http://"+w.sidecar.Addr("admin").String()+"/", "http://"+w.sidecar.Addr("data").String()
}

// get makes a request as the app would; its path and query are canaries too.
func (w *statusWorld) get(t *testing.T, route, subject string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.data+"/"+route+"/path-"+testkit.Canary+"?query-"+testkit.Canary+"=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if subject != "" {
		req.Header.Set("X-Token-Subject", subject)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.StatusCode
}

// shownUpstream is an upstream as it stands on the page.
type shownUpstream struct {
	State, Label, Text, Last string
	Fresh, Stale, Invalid    int
}

const readScript = `Object.fromEntries([...document.querySelectorAll('article')].map(a => {
  const tokens = a.querySelector('.tokens').dataset;
  return [a.dataset.upstream, { State: a.dataset.state, Label: a.querySelector('.state').innerText, Text: a.innerText,
    Last: a.querySelector('.last time')?.dateTime ?? '',
    Fresh: +tokens.fresh, Stale: +tokens.stale, Invalid: +tokens.invalid }];
}))`

// await loads the page until it shows what done wants to see.
func (w *statusWorld) await(b *browser, what string, done func(map[string]shownUpstream) bool) {
	b.t.Helper()
	for deadline := time.Now().Add(browserPatience); ; time.Sleep(50 * time.Millisecond) {
		b.open(w.admin)
		var page map[string]shownUpstream
		b.eval(readScript, &page)
		if done(page) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s is not seen; the page shows %v", what, page)
		}
	}
}

// someone makes a request for a subject that has no token yet, so that one is asked for.
func (w *statusWorld) someone(t *testing.T) {
	t.Helper()
	w.subjects++
	if status := w.get(t, "humanapi", fmt.Sprint(statusSubject, w.subjects)); status != http.StatusOK {
		t.Fatalf("the app got %d", status)
	}
}

func TestStatusPageInABrowser(t *testing.T) {
	w := startStatusWorld(t)
	b := startBrowser(t)
	b.open(w.admin)
	left := b.session // to itself, until it has loaded the page again
	b.openTab()
	b.show(1280, "light")

	want := map[string]string{"pdx": "ok", "humanapi": "idle", "books": "ok", "down": "failing", "wrong-secret": "credential_refused",
		"busy": "throttled", "wrong-scope": "token_refused", "slow-with-the-longest-name-there": "starting"}
	w.await(b, "every state", func(page map[string]shownUpstream) bool {
		for name, state := range want {
			if page[name].State != state {
				return false
			}
		}
		return len(page) == len(want)
	})
	w.someone(t)
	w.await(b, "a subject's token", func(page map[string]shownUpstream) bool {
		return page["humanapi"].State == "ok" && page["humanapi"].Fresh == 1
	})
	w.fails(t, b)
	w.losesRedis(t, b)
	b.session = left
	w.refreshesItself(t, b)
	for _, complaint := range b.complaints() {
		t.Error(complaint)
	}
}

// fails sees a token endpoint that goes down while a token still serves, and one that was
// down from the start, until that is up.
func (w *statusWorld) fails(t *testing.T, b *browser) {
	t.Helper()
	answering(w.books, upstreamtest.OAuthError(503, "temporarily_unavailable"))
	w.books.RevokeAll() // so that the target's 401 has the sidecar ask for another token
	if status := w.get(t, "books", ""); status != http.StatusUnauthorized {
		t.Errorf("the app got %d from the target", status)
	}
	var shown map[string]shownUpstream
	w.await(b, "retrying", func(page map[string]shownUpstream) bool {
		shown = page
		// While an attempt is under way it is not said when the next one is.
		return page["books"].State == "retrying" && strings.Contains(page["down"].Text, "Next attempt")
	})
	for name, texts := range map[string][]string{"books": {"Tokens in memory serve"},
		"down": {"503", "temporarily_unavailable", "unavailable"}} {
		for _, text := range texts {
			if !strings.Contains(shown[name].Text, text) {
				t.Errorf("%q is not said of %s:\n%s", text, name, shown[name].Text)
			}
		}
	}
	if status := w.get(t, "down", ""); status != http.StatusServiceUnavailable {
		t.Errorf("the app got %d", status)
	}
	b.auditAll("mixed", w.admin+"?pause") // lest it loads itself again meanwhile
	w.down.SetTokenFault(nil)
	w.await(b, "recovery", func(page map[string]shownUpstream) bool { return page["down"].State == "ok" })
	if status := w.get(t, "down", ""); status != http.StatusOK {
		t.Errorf("the app got %d", status)
	}
}

// losesRedis sees Redis go and come back, which requests for new tokens find out.
func (w *statusWorld) losesRedis(t *testing.T, b *browser) {
	t.Helper()
	state := func() (s string) {
		b.eval(`document.querySelector('[data-redis]').dataset.redis`, &s)
		return s
	}
	if got := state(); got != "sharing" {
		t.Errorf("Redis is shown as %q", got)
	}
	until := func(want string) {
		w.await(b, "Redis "+want, func(map[string]shownUpstream) bool {
			w.someone(t)
			return state() == want
		})
	}
	w.redis.Kill()
	until("left_alone")
	b.auditAll("redis-gone", w.admin+"?pause") // lest it loads itself again meanwhile
	if err := w.redis.Start(); err != nil {
		t.Fatal(err)
	}
	until("sharing")
}

// refreshesItself sees that the page of a tab that was left to itself has loaded itself
// again, and that it no longer does once it was asked not to.
func (w *statusWorld) refreshesItself(t *testing.T, b *browser) {
	t.Helper()
	b.awaitLoad(1) // the first was ours
	b.call("Page.bringToFront", nil, nil)
	want := w.admin + "?pause"
	var shown struct {
		At      string
		Refresh bool
	}
	for deadline := time.Now().Add(browserPatience); shown.At != want; { // the page may be about to load itself just now
		before := b.loaded()
		b.eval(`(document.querySelector('.asof a').click(), 0)`, new(int))
		b.awaitLoad(before)
		b.eval(`({ At: location.href, Refresh: document.querySelector('meta[http-equiv=refresh]') !== null })`, &shown)
		if time.Now().After(deadline) {
			t.Fatalf("after Pause the page is %s", shown.At)
		}
	}
	if shown.Refresh {
		t.Error("after Pause the page still loads itself")
	}
}
