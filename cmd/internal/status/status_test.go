package status

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// TestPageEscapesWhatItShows shows names that no configuration lets through: should one
// ever come, it is text.
func TestPageEscapesWhatItShows(t *testing.T) {
	const name = `"><script>alert(1)</script><style>*{}</style>{{.}}{}'</title> onload=x`
	report := Report{Time: time.Now(), Version: name, Redis: redisReport{State: "left_alone", Cause: name},
		Upstreams: []upstreamReport{{Name: name, Severity: severityError, Label: name, Meaning: name,
			Failure: &failureReport{Reason: name, Code: name}, Last: &tokenRequestReport{Outcome: name}}}}
	out := httptest.NewRecorder()
	newPage(func() Report { return report }).ServeHTTP(out, httptest.NewRequest("GET", "/", nil))
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

func TestStateFollowsFromTheFacts(t *testing.T) {
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

// What the whole fleet meets is a warning, and what this replica met
// itself goes before it.
func TestTroubleOfTheFleetIsAWarning(t *testing.T) {
	ago := func(d time.Duration) cache.BudgetStatus {
		return cache.BudgetStatus{Rate: 9, PutOff: time.Now().Add(-d)}
	}
	stopped := cache.BudgetStatus{Rate: 9, Stopped: upstream.ClassThrottled, StoppedUntil: time.Now().Add(time.Minute)}
	none := cache.PinnedStatus{Keys: 1}
	for name, test := range map[string]struct {
		status   cache.SourceStatus
		state    string
		severity severity
	}{
		"not used":                      {cache.SourceStatus{Fresh: 1, Budget: cache.BudgetStatus{Rate: 9}}, "ok", severityOK},
		"in use":                        {cache.SourceStatus{Fresh: 1, Budget: cache.BudgetStatus{Rate: 9, Waiting: 3}}, "ok", severityOK},
		"without Redis":                 {cache.SourceStatus{Fresh: 1, Budget: cache.BudgetStatus{Rate: 9, Without: true}}, "ok", severityOK},
		"requests are put off":          {cache.SourceStatus{Fresh: 1, Budget: ago(59 * time.Second)}, "budget_spent", severityWarning},
		"and there is no token":         {cache.SourceStatus{Budget: ago(time.Second)}, "budget_spent", severityError},
		"and the first has not come":    {cache.SourceStatus{Pinned: none, Budget: ago(time.Second)}, "budget_spent", severityError},
		"long ago":                      {cache.SourceStatus{Fresh: 1, Budget: ago(61 * time.Second)}, "ok", severityOK},
		"stopped":                       {cache.SourceStatus{Fresh: 1, Budget: stopped}, "fleet_stopped", severityWarning},
		"stopped, no token":             {cache.SourceStatus{Pinned: none, Budget: stopped}, "fleet_stopped", severityError},
		"stopped, and found out itself": {cache.SourceStatus{Stopped: &upstream.Error{Class: "credential"}, Budget: stopped}, "credential_refused", severityError},
	} {
		if v := judge(test.status); v.state != test.state || v.severity != test.severity || v.label == "" || v.meaning == "" {
			t.Errorf("%s: %+v is %+v", name, test.status, v)
		}
	}
}

// TestShortTokenRequestsTakeSomeTime has token requests that take less than what the page can tell.
func TestShortTokenRequestsTakeSomeTime(t *testing.T) {
	for seconds, want := range map[float64]string{0: "less than 1 ms", 0.0004: "less than 1 ms", 0.0009: "less than 1 ms", 0.001: "0.001 s", 0.0874: "0.087 s", 2.5: "2.5 s", 12: "12 s"} {
		report := Report{Upstreams: []upstreamReport{{Last: &tokenRequestReport{Outcome: "ok", Duration: seconds}}}}
		if page := (view{Report: report}).html(); !strings.Contains(page, ">took "+want+"<") {
			t.Errorf("a token request of %v s does not take %q", seconds, want)
		}
	}
}

// TestStatusTellsOfTheBudget reads what is told of a budget, as JSON and on the page.
func TestStatusTellsOfTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for _, test := range []struct {
			budget cache.BudgetStatus
			json   string // empty: the member is left out
			page   string // of its text, without markup
		}{
			{cache.BudgetStatus{}, "", ""},
			{cache.BudgetStatus{Rate: 9}, `{"per_second":9,"waiting":0,"without_redis":false}`, "9 per second for all replicas"},
			{cache.BudgetStatus{Rate: 100.0 / 60, Waiting: 1}, `{"per_second":1.6666666666666667,"waiting":1,"without_redis":false}`,
				"100 per minute for all replicas; 1 waits for its turn"},
			{cache.BudgetStatus{Rate: 9, Waiting: 3, PutOff: now.Add(-12 * time.Second), Without: true},
				`{"per_second":9,"waiting":3,"put_off":"1999-12-31T23:59:48Z","without_redis":true}`,
				"9 per second for all replicas; 3 wait for their turn; a request was put off 12 s ago; Redis cannot be asked: TOKEN_RATE of each replica holds"},
			{cache.BudgetStatus{Rate: 9, Stopped: upstream.ClassThrottled, StoppedUntil: now.Add(20 * time.Second)},
				`{"per_second":9,"waiting":0,"without_redis":false,"stopped":"throttled","stopped_until":"2000-01-01T00:00:20Z"}`,
				"9 per second for all replicas; stopped by another replica: throttled, next token request in 20 s"},
		} {
			c := quiet()
			c.Cache = func() []cache.SourceStatus { return []cache.SourceStatus{{Upstream: "pdx", Budget: test.budget}} }
			report := New(c).report()
			got := ""
			if b := report.Upstreams[0].Budget; b != nil {
				text, err := json.Marshal(b)
				if err != nil {
					t.Fatal(err)
				}
				got = string(text)
			}
			if got != test.json {
				t.Errorf("JSON: %s, want %s", got, test.json)
			}
			_, shown, found := strings.Cut(view{Report: report}.html(), "<dt>Budget</dt><dd>")
			shown, _, _ = strings.Cut(shown, "</dd>")
			if shown = regexp.MustCompile("<[^>]*>").ReplaceAllString(shown, ""); shown != test.page || found != (test.page != "") {
				t.Errorf("the page says %q, want %q", shown, test.page)
			}
		}
	})
}

// TestStatusTellsOfTheObjective reads what is told of requests that waited, as JSON and on the page.
func TestStatusTellsOfTheObjective(t *testing.T) {
	for _, test := range []struct {
		atOnce, all uint64
		want        *objectiveReport
		page        string
	}{
		{0, 0, nil, ""},
		{1, 1, &objectiveReport{1, 1, 1}, "100 % of 1 request"},
		{7, 7, &objectiveReport{7, 1, 1}, "100 % of 7 requests"},
		{9_997, 10_000, &objectiveReport{10_000, 0.9997, 0.7}, "99.97 % of 10000 requests; 70 % of the error budget is left"},
		{9_980, 10_000, &objectiveReport{10_000, 0.998, -1}, "99.8 % of 10000 requests; the objective is 99.9 %"},
		{999_999, 1_000_000, &objectiveReport{1_000_000, 0.999999, 0.999}, "99.99 % of 1000000 requests; 99.9 % of the error budget is left"},
		{0, 3, &objectiveReport{3, 0, -999}, "0 % of 3 requests"},
	} {
		c := quiet()
		c.Lookups = func(name string) (uint64, uint64) {
			if name != "pdx" {
				t.Errorf("it asks for %q", name)
			}
			return test.atOnce, test.all
		}
		report := New(c).report()
		if got := report.Upstreams[0].Objective; !reflect.DeepEqual(got, test.want) {
			t.Errorf("%d of %d: %+v", test.atOnce, test.all, got)
		}
		_, shown, _ := strings.Cut(view{Report: report}.html(), "<dt>Token at once</dt><dd>")
		if shown, _, _ = strings.Cut(shown, "</dd>"); shown != test.page {
			t.Errorf("the page says %q", shown)
		}
	}
}

// TestObjectiveIsThatOfTheAlerts compares with the chart's rules.
func TestObjectiveIsThatOfTheAlerts(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join("..", "..", "..", "charts", "token-sidecar", "files", "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`ratio_rate\w+ > [0-9.]+ \* ([0-9.]+)`).FindAllStringSubmatch(string(rules), -1)
	for _, m := range all {
		if m[1] != strconv.FormatFloat(mayWait, 'f', -1, 64) {
			t.Errorf("an alert goes by %s", m[1])
		}
	}
	if len(all) < 4 {
		t.Errorf("%d alerts", len(all))
	}
}

func TestStatusTellsOfTheAudit(t *testing.T) {
	for cause, want := range map[string]auditReport{"off": {"off", severityInfo, ""}, "": {"on", severityOK, ""},
		"timeout": {"failing", severityError, "timeout"}} {
		c := quiet()
		if cause != "off" {
			c.Audit = func() string { return cause }
		}
		report := New(c).report()
		shown := view{Report: report}.html()
		failing := want.State == "failing"
		if report.Audit != want || (report.Severity == severityError) != failing || strings.Contains(shown, "The audit cannot be written") != failing ||
			strings.Contains(shown, "lines cannot be written (timeout)") != failing || strings.Contains(shown, "<dt>Audit</dt>") != (want.State != "off") {
			t.Errorf("%q: %+v of %s\n%s", cause, report.Audit, report.Severity, shown)
		}
	}
}

// quiet is a program with one upstream that nothing has happened to.
func quiet() Config {
	return Config{Upstreams: []string{"pdx"},
		Cache:       func() []cache.SourceStatus { return []cache.SourceStatus{{Upstream: "pdx"}} },
		Connections: func() []metrics.Connections { return nil },
		Lookups:     func(string) (uint64, uint64) { return 0, 0 },
		Draining:    func() bool { return false }, Started: time.Now()}
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
	walk(reflect.TypeFor[Report]())
}
