package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(asSidecar) != "" {
		os.Exit(runAsSidecar())
	}
	testkit.NoNameServer()
	os.Exit(testkit.Run(m, 2))
}

// TestOnceFindsAllRowsRight plays the table with access lines. That there are none
// without -v is seen where the demo runs as a person starts it.
func TestOnceFindsAllRowsRight(t *testing.T) {
	var out, logged bytes.Buffer
	if err := run(t.Context(), []string{"-once", "-v"}, &out, &logged); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if strings.Contains(out.String(), "WRONG") || !strings.Contains(out.String(), "rows are right") {
		t.Errorf("the table does not say that all is right:\n%s", out.String())
	}
	if !strings.Contains(logged.String(), "route=mydatahelps.participant") {
		t.Errorf("no access line in:\n%s", logged.String())
	}
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-twice"}, {"once"}} {
		if err := run(t.Context(), args, &bytes.Buffer{}, &bytes.Buffer{}); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

// mistake is something that goes wrong which no row of the table expects.
type mistake struct {
	name  string
	spoil func(*demo)
	about string // of the row that must find it
	fault string // that the row must name
}

// mistakes are played together where they do not meet: the table takes seconds.
var mistakes = [][]mistake{{
	{"another subject's token arrives", func(d *demo) {
		d.providers["mydatahelps"].SetAPIFault(echoing(upstreamtest.Echo{Provider: "mydatahelps",
			Kind: upstreamtest.KindParticipant, Subject: "P-1002", Scope: "api", Token: "1", Path: participant.path}))
	}, "second request", "subject is P-1002, not P-1001"},
	{"the target fails", func(d *demo) {
		d.providers["pdx"].SetAPIFault(func(*http.Request, int) *upstreamtest.Answer {
			return &upstreamtest.Answer{Status: http.StatusInternalServerError}
		})
	}, "loaded at the start", "status is 500, not 200"},
	{"a token is gone that should be in memory", func(d *demo) { d.providers["humanapi"].RevokeAll() },
		"HIP client", ", not "}, // the source, or the status if the replica has shared one that is gone too
}, {
	{"a participant's token on the service route", func(d *demo) {
		d.providers["mydatahelps"].SetAPIFault(echoing(upstreamtest.Echo{Provider: "mydatahelps",
			Kind: upstreamtest.KindParticipant, Subject: "P-1001", Token: "1", Path: projects.path}))
	}, "loaded at the start", "kind is participant, not service"},
	{"the token endpoint is down", func(d *demo) {
		d.providers["humanapi"].SetTokenFault(func(*http.Request, int) *upstreamtest.Answer {
			return upstreamtest.OAuthError(http.StatusServiceUnavailable, "temporarily_unavailable")
		})
	}, "first request", "status is 503, not 200"},
}}

// TestOnceFailsIfARowIsWrong shows that the table is judged.
func TestOnceFailsIfARowIsWrong(t *testing.T) {
	skipIfShort(t)
	for _, together := range mistakes {
		t.Run(together[0].name+" and others", func(t *testing.T) {
			t.Parallel()
			d := started(t, lives{others: 5 * time.Minute, ledger: 3 * time.Second})
			for _, m := range together {
				m.spoil(d)
			}
			var out bytes.Buffer
			err := d.once(t.Context(), &out)
			if err == nil || !strings.Contains(err.Error(), "wrong") {
				t.Errorf("error is %v", err)
			}
			lines := strings.Split(out.String(), "\n")
			for _, m := range together {
				if !slices.ContainsFunc(lines, func(line string) bool {
					return strings.Contains(line, m.about) && strings.Contains(line, "WRONG") && strings.Contains(line, m.fault)
				}) {
					t.Errorf("%s: no row %q says %q:\n%s", m.name, m.about, m.fault, out.String())
				}
			}
		})
	}
}

// TestOnceAwaitsReplacements plays the rows of the short token when it is about to
// be replaced, with requests that last until it would have been.
func TestOnceAwaitsReplacements(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	d := started(t, lives{others: 5 * time.Minute, ledger: 3 * time.Second})
	d.providers["ledger"].SetAPIFault(func(*http.Request, int) *upstreamtest.Answer {
		time.Sleep(time.Second)
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), onceLimit)
	defer cancel()
	err := d.await(ctx, d.sidecar, func(s series) bool { return s.left("ledger") < time.Second })
	if err != nil {
		t.Fatal(err)
	}
	results, err := d.play(ctx, slices.DeleteFunc(allRows(), func(r row) bool { return r.route != ledger.route }))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if len(r.faults) > 0 {
			t.Errorf("%s: %q", r.row.about, r.faults)
		}
	}
	if len(results) < 2 {
		t.Errorf("%d rows played", len(results))
	}
}

// skipIfShort leaves out what repeats the demo under other conditions.
func skipIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes seconds")
	}
}

// echoing answers every API request with e.
func echoing(e upstreamtest.Echo) upstreamtest.Fault {
	body, _ := json.Marshal(e)
	return func(*http.Request, int) *upstreamtest.Answer { return &upstreamtest.Answer{Body: string(body)} }
}

func started(t *testing.T, life lives) *demo {
	t.Helper()
	d, err := start(t.Context(), anyPort, anyPort, life, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
	return d
}

// output collects what the demo prints while it runs.
type output struct{ testkit.Output }

// await blocks until what was printed is as told.
func (o *output) await(t *testing.T, told func(string) bool) string {
	t.Helper()
	for deadline := time.Now().Add(testkit.Patience); ; {
		if text := o.String(); told(text) {
			return text
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain:\n%s", o)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestPrintedLinesWork runs the demo as a person does and pastes every line.
func TestPrintedLinesWork(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	// What a person's environment may hold must not matter.
	t.Setenv("NO_PROXY", "127.0.0.1,localhost")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, logged output
	done := make(chan error, 1)
	go func() { done <- run(ctx, nil, &out, &logged) }()

	text := out.await(t, func(s string) bool { return strings.Contains(s, "# Token requests") })
	var lines []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") && strings.Contains(line, "curl ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	all := examples()
	if len(lines) != len(all)+1 {
		t.Fatalf("%d lines printed, not %d:\n%s", len(lines), len(all)+1, text)
	}
	for i, e := range all {
		answer := paste(t, lines[i])
		var echo upstreamtest.Echo
		if err := json.Unmarshal(answer, &echo); err != nil || echo.Kind != e.kind || echo.Subject != e.subject || echo.Path != e.path {
			t.Errorf("%s\n answers %s (%v), not %s %q", lines[i], answer, err, e.kind, e.subject)
		}
	}
	if metrics := paste(t, lines[len(all)]); !bytes.Contains(metrics, []byte("token_sidecar_requests_total")) {
		t.Errorf("%s\n answers %s", lines[len(all)], metrics)
	}
	out.await(t, func(s string) bool { return strings.Contains(s, "for P-1001 ") && strings.Contains(s, "for user-42 ") })

	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if logged.String() != "" {
		t.Errorf("the sidecar is not quiet:\n%s", logged.String())
	}
}

func paste(t *testing.T, line string) []byte {
	t.Helper()
	var failed bytes.Buffer
	shell := exec.CommandContext(t.Context(), "sh", "-c", line)
	shell.Stderr = &failed
	answer, err := shell.Output()
	if err != nil {
		t.Errorf("%s\n fails: %v\n%s", line, err, failed.String())
	}
	return answer
}

// TestWatchKeepsTheOrder looks whether what providers were asked before the watch
// began stands in the order in which it happened.
func TestWatchKeepsTheOrder(t *testing.T) {
	d := started(t, lives{others: time.Hour, ledger: time.Hour})
	var times []time.Time
	testkit.Eventually(t, "all tokens that need no subject are there", func() error {
		times = nil
		for _, name := range upstreams() {
			log := d.providers.of(name).TokenRequestLog()
			if len(log) == 0 {
				return fmt.Errorf("none of %s", name)
			}
			times = append(times, log[0].Time)
		}
		return nil
	})
	names, want := upstreams(), upstreams()
	slices.SortFunc(want, func(a, b string) int {
		return times[slices.Index(names, a)].Compare(times[slices.Index(names, b)])
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // after the first look
	var out output
	d.watch(ctx, &out)
	var got []string
	for line := range strings.Lines(out.String()) {
		// Where Redis was too slow the second replica has asked too.
		if by := strings.Fields(line)[1]; !slices.Contains(got, by) {
			got = append(got, by)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q:\n%s", got, want, out.String())
	}
}

// TestWatchShowsRefreshes sees a token replaced without any request.
func TestWatchShowsRefreshes(t *testing.T) {
	skipIfShort(t)
	d := started(t, lives{others: time.Minute, ledger: time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	var out output
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.watch(ctx, &out)
	}()
	text := out.await(t, func(s string) bool { return strings.Count(s, "ledger ") >= 3 })
	cancel()
	<-done
	if n := strings.Count(text, "pdx "); n != 1 {
		t.Errorf("%d lines for pdx, which asked once:\n%s", n, text)
	}
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, upstreamtest.OutcomeIssued+"\n") {
			t.Errorf("unexpected line %q", line)
		}
	}
}
