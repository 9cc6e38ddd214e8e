package sidecar

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"token-sidecar/cmd/internal/status"
	"token-sidecar/cmd/internal/testkit"
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
	w := &statusWorld{human: testkit.Closing(t, upstreamtest.NewHumanAPI(upstreamtest.Options{})),
		books: answering(genericSim(t), upstreamtest.OAuthError(401, "invalid_client"))}
	w.start(t, slices.Concat([]string{"LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0", "OAUTH2_0_SCOPE=scope-" + testkit.Canary},
		testkit.HumanAPI(w.human), testkit.OAuth2(w.books)))
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
	page := w.ask(t, "GET", "/?q="+testkit.Canary).Body.String()
	machine := w.ask(t, "GET", "/?q="+testkit.Canary, "Accept", "application/json").Body.String()
	var report status.Report
	in := json.NewDecoder(strings.NewReader(machine))
	in.DisallowUnknownFields()
	if err := in.Decode(&report); err != nil {
		t.Fatal(err)
	}
	if report.Severity != "error" || report.Version != "1.2.3-test" || report.Redis.State != "off" || len(report.Upstreams) != 2 {
		t.Errorf("%+v", report)
	}
	human, books := report.Upstreams[0], report.Upstreams[1]
	if human.State != "ok" || human.Tokens.Fresh != 1 || human.Tokens.Stale+human.Tokens.Invalid != 0 || human.Pinned != nil || human.NextRefresh.Before(report.Time) ||
		human.Last.Outcome != "ok" || human.Last.Time.Before(report.Started) {
		t.Errorf("%+v", human)
	}
	if books.State != "credential_refused" || books.Pinned.Keys != 1 || books.Tokens.Invalid != 1 ||
		books.Last.Outcome != "credential" || books.Last.Failure.Code != "invalid_client" || books.NextAttempt.Before(report.Time) {
		t.Errorf("%+v", books)
	}
	for _, text := range []string{"credential refused", "<code>invalid_client</code>", "1 of 2 upstreams in trouble", "1.2.3-test", "off: tokens are not shared"} {
		if !strings.Contains(page, text) {
			t.Errorf("%q is not on the page", text)
		}
	}
	testkit.AssertNoLeak(t, page+machine, testkit.Canary, statusSubject, w.human.ClientSecret(), w.books.ClientSecret(),
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

func TestStatusSaysThatItDrains(t *testing.T) {
	w := startStatus(t)
	w.sidecar.draining.Store(true)
	if page := w.ask(t, "GET", "/").Body.String(); !strings.Contains(page, "Shutting down") || !strings.Contains(page, "Draining: requests") {
		t.Error("a page of a sidecar that drains does not say so")
	}
}
