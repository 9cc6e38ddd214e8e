package sidecar

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
	"token-sidecar/upstream/upstreamtest"
)

// ask asks the admin listener, with header fields as name and value.
func (w *statusWorld) ask(t *testing.T, method, path string, fields ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, "http://localhost"+path, nil)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	out := httptest.NewRecorder()
	w.sidecar.adminHandler().ServeHTTP(out, r)
	return out
}

// startStatus starts a sidecar with one good and one bad upstream.
func startStatus(t *testing.T) *statusWorld {
	t.Helper()
	w := &statusWorld{human: sim(t, upstreamtest.NewHumanAPI(upstreamtest.Options{})),
		books: answering(genericSim(t), upstreamtest.OAuthError(401, "invalid_client"))}
	environ := slices.Concat(with(nil, "LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0", "OAUTH2_0_SCOPE=scope-"+canary),
		humanEnv(w.human, "HUMANAPI_TARGET="+w.human.APIURL()), genericEnv(w.books))
	w.start(t, lastOfEach(environ))
	if status := w.get(t, "humanapi", statusSubject); status != http.StatusOK {
		t.Fatalf("the app got %d", status)
	}
	if status := w.get(t, "books", ""); status != http.StatusBadGateway {
		t.Fatalf("the app got %d", status)
	}
	return w
}

func TestStatusTellsFactsAndNoSecret(t *testing.T) {
	w := startStatus(t)
	page := w.ask(t, "GET", "/?q="+canary).Body.String()
	machine := w.ask(t, "GET", "/?q="+canary, "Accept", "application/json").Body.String()
	var report statusReport
	in := json.NewDecoder(strings.NewReader(machine))
	in.DisallowUnknownFields()
	if err := in.Decode(&report); err != nil {
		t.Fatal(err)
	}
	if report.Severity != severityError || report.Version != "1.2.3-test" || report.Redis.State != "off" || len(report.Upstreams) != 2 {
		t.Errorf("%+v", report)
	}
	human, books := report.Upstreams[0], report.Upstreams[1]
	if human.State != "ok" || human.Tokens != (tokensReport{Fresh: 1}) || human.Pinned != nil || human.NextRefresh.Before(report.Time) ||
		human.Last.Outcome != "ok" || human.Last.Time.Before(report.Started) || human.Recent[0].Requests != 1 {
		t.Errorf("%+v", human)
	}
	if books.State != "credential_refused" || books.Pinned.Keys != 1 || books.Tokens.Invalid != 1 || books.Recent[2].Failed != 1 ||
		books.Last.Outcome != "credential" || books.Last.Failure.Code != "invalid_client" || books.NextAttempt.Before(report.Time) {
		t.Errorf("%+v", books)
	}
	for _, text := range []string{"credential refused", "<code>invalid_client</code>", "1 of 2 upstreams in trouble", "1.2.3-test", "off: tokens are not shared"} {
		if !strings.Contains(page, text) {
			t.Errorf("%q is not on the page", text)
		}
	}
	assertNoLeak(t, page+machine, checkReport{}, canary, statusSubject, w.human.ClientSecret(), w.books.ClientSecret(),
		w.human.ClientID(), w.books.ClientID(), w.human.APIURL(), w.books.TokenURL(), "c4nary")
}

func TestStatusIsServedStrictly(t *testing.T) {
	w := startStatus(t)
	for _, test := range []struct {
		method, path, accept string
		status               int
		contentType          string
	}{
		{"GET", "/", "", 200, "text/html; charset=utf-8"},
		{"GET", "/", "*/*", 200, "text/html; charset=utf-8"},
		{"GET", "/", "text/html,application/xhtml+xml,*/*;q=0.8", 200, "text/html; charset=utf-8"},
		{"GET", "/", "application/json;q=0.5, text/html", 200, "text/html; charset=utf-8"},
		{"GET", "/", "application/json;q=x, text/html;q=0.1", 200, "text/html; charset=utf-8"},
		{"GET", "/", "application/json, text/plain, */*", 200, "application/json"},
		{"GET", "/", "text/html;q=0.5, application/json", 200, "application/json"},
		{"HEAD", "/", "application/json", 200, "application/json"},
		{"POST", "/", "", 405, "text/plain; charset=utf-8"},
		{"DELETE", "/", "", 405, "text/plain; charset=utf-8"},
		{"GET", "/index.html", "", 404, "text/plain; charset=utf-8"},
		{"GET", "/status", "application/json", 404, "text/plain; charset=utf-8"},
	} {
		out := w.ask(t, test.method, test.path, "Accept", test.accept)
		if out.Code != test.status || out.Header().Get("Content-Type") != test.contentType {
			t.Errorf("%s %s, Accept %q: %d %s", test.method, test.path, test.accept, out.Code, out.Header().Get("Content-Type"))
		}
		policy := out.Header().Get("Content-Security-Policy")
		if test.status == 200 && (!strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe")) {
			t.Errorf("policy %q", policy)
		}
	}
	if out := w.ask(t, "GET", "/", "Sec-Fetch-Site", "cross-site"); out.Code != http.StatusForbidden {
		t.Errorf("another site got %d", out.Code)
	}
	if page := w.ask(t, "GET", "/?pause").Body.String(); strings.Contains(page, "http-equiv") {
		t.Error("a paused page loads itself again")
	}
}

// TestStatusEscapes shows names that no configuration lets through: should one
// ever come, it is text.
func TestStatusEscapes(t *testing.T) {
	const name = `"><script>alert(1)</script><style>*{}</style>{{.}}{}'</title> onload=x`
	report := statusReport{Time: time.Now(), Version: name, Redis: redisReport{State: "left_alone", Cause: name},
		Upstreams: []upstreamReport{{Name: name, Severity: severityError, Label: name, Meaning: name,
			Failure: &failureReport{Reason: name, Code: name}, Last: &tokenRequestShown{Outcome: name}}}}
	out := httptest.NewRecorder()
	newStatusPage(func() statusReport { return report }).ServeHTTP(out, httptest.NewRequest("GET", "/", nil))
	page := out.Body.String()
	for what, n := range map[string]int{"<script": 0, "<style": 1, "</title": 1} {
		if got := strings.Count(page, what); got != n {
			t.Errorf("%q is there %d times", what, got)
		}
	}
	if out.Code != 200 || !strings.Contains(page, "&lt;script&gt;") {
		t.Errorf("%d\n%s", out.Code, page)
	}
}

func TestStatusWhileDraining(t *testing.T) {
	w := startStatus(t)
	w.sidecar.draining.Store(true)
	if page := w.ask(t, "GET", "/").Body.String(); !strings.Contains(page, "Shutting down") || !strings.Contains(page, "Draining: requests") {
		t.Error("a page of a sidecar that drains does not say so")
	}
}

func TestJudge(t *testing.T) {
	failure := func(class upstream.Class) *upstream.Error { return &upstream.Error{Class: class} }
	kept := cache.PinnedStatus{Keys: 1, Usable: 1}
	none := cache.PinnedStatus{Keys: 1}
	for _, test := range []struct {
		status   cache.SourceStatus
		state    string
		severity severity
	}{
		{cache.SourceStatus{}, "idle", severityInfo},
		{cache.SourceStatus{Fresh: 1}, "ok", severityOK},
		{cache.SourceStatus{Stale: 1, Invalid: 3, Refused: 2}, "ok", severityOK},
		{cache.SourceStatus{Fresh: 5, Pinned: none}, "starting", severityInfo},
		{cache.SourceStatus{Fresh: 1, Pinned: kept, Failure: failure("unavailable")}, "retrying", severityWarning},
		{cache.SourceStatus{Stopped: failure("malformed")}, "failing", severityError},
		{cache.SourceStatus{Fresh: 1, Stopped: failure("throttled")}, "throttled", severityWarning},
		{cache.SourceStatus{Stopped: failure("throttled")}, "throttled", severityError},
		{cache.SourceStatus{Fresh: 1, Stopped: failure("credential")}, "credential_refused", severityError},
		{cache.SourceStatus{Fresh: 1, Pinned: cache.PinnedStatus{Keys: 1, Failure: failure("scope")}}, "token_refused", severityError},
		{cache.SourceStatus{Fresh: 1, Pinned: cache.PinnedStatus{Keys: 1, Usable: 1, Failure: failure("unavailable")}}, "retrying", severityWarning},
	} {
		if v := judge(test.status); v.state != test.state || v.severity != test.severity || v.label == "" || v.meaning == "" {
			t.Errorf("%+v is %+v", test.status, v)
		}
	}
}

func TestHistoryCountsTheLastMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var total metrics.Totals
		h := newHistory([]string{"pdx"}, func(string) metrics.Totals { return total })
		for range 3 * samplesKept { // one request a second, one wait every ten
			for range int(sampleEvery / time.Second) {
				total.Requests++
				time.Sleep(time.Second)
			}
			total.Waited++
			h.sample()
		}
		time.Sleep(5 * time.Second)
		total.Requests += 5
		got := fmt.Sprint(h.recent("pdx"))
		if want := "[{1 65 65 6 0} {5 305 305 30 0} {15 905 905 90 0}]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if len(h.samples) != samplesKept {
			t.Errorf("%d samples are kept", len(h.samples))
		}
	})
}

func TestHistoryOfAYoungSidecar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var total metrics.Totals
		h := newHistory([]string{"pdx"}, func(string) metrics.Totals { return total })
		time.Sleep(3 * time.Second)
		total = metrics.Totals{Requests: 7, Failed: 2}
		if got := fmt.Sprint(h.recent("pdx")); got != "[{1 3 7 0 2} {5 3 7 0 2} {15 3 7 0 2}]" {
			t.Error(got)
		}
	})
}

func TestTotalsAreThoseOfTheSeries(t *testing.T) {
	m := metrics.New("test")
	u := m.Upstream("pdx")
	u.Request("GET", 200, time.Millisecond)
	u.Request("BREW", 999, time.Millisecond)
	u.Waited.Inc()
	if got := m.Totals("pdx"); got != (metrics.Totals{Requests: 2, Waited: 1}) {
		t.Errorf("%+v", got)
	}
}

// TestStatusMembersAreDocumented finds each member of the JSON in docs/status.md.
func TestStatusMembersAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "status.md"))
	if err != nil {
		t.Fatal(err)
	}
	var walk func(reflect.Type)
	walk = func(kind reflect.Type) {
		if k := kind.Kind(); k == reflect.Slice || k == reflect.Pointer {
			kind = kind.Elem()
		}
		if kind.Kind() != reflect.Struct || kind == reflect.TypeFor[time.Time]() {
			return
		}
		for field := range kind.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name == "" || !strings.Contains(string(page), "`"+name+"`") {
				t.Errorf("%s.%s is not documented as %q", kind.Name(), field.Name, name)
			}
			walk(field.Type)
		}
	}
	walk(reflect.TypeFor[statusReport]())
}
