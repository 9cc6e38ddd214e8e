package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// result is what came of a row.
type result struct {
	row    row
	answer answer
	from   source
	asked  int // token requests to the provider
	faults []string
}

// once plays all rows and prints the table. Its error says that a row is wrong
// or could not be played.
func (d *demo) once(ctx context.Context, w io.Writer) error {
	began := time.Now()
	results, err := d.play(ctx, allRows())
	if writeErr := printTable(w, results); err == nil {
		err = writeErr
	}
	if err != nil {
		return err
	}
	wrong := 0
	for _, r := range results {
		if len(r.faults) > 0 {
			wrong++
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d rows are wrong", wrong, len(results))
	}
	_, err = fmt.Fprintf(w, "\nAll %d rows are right (%.1f s).\n", len(results), time.Since(began).Seconds())
	return err
}

// tally is what both sides have counted of one upstream.
type tally struct {
	asked  int // token requests that came to the provider
	issued int // tokens that it has issued
	waited int // look-ups of the sidecar that waited for a load
	looked int // look-ups that did not
}

// tally returns what both sides have counted so far.
func (d *demo) tally(ctx context.Context, r request) (tally, error) {
	var t tally
	s, err := d.scrape(ctx, d.serving(r))
	server := d.providers.of(r.route)
	if err != nil || server == nil {
		return t, err
	}
	name, _, _ := strings.Cut(r.route, ".")
	t.waited = s.lookups(name, "waited")
	t.looked = s.lookups(name, "fresh") + s.lookups(name, "stale") + s.lookups(name, "failed") + s.lookups(name, "refused")
	t.asked = server.TokenRequests()
	for _, r := range server.TokenRequestLog() {
		if r.Outcome == upstreamtest.OutcomeIssued {
			t.issued++
		}
	}
	return t, nil
}

// play sends the requests one after the other and judges each.
func (d *demo) play(ctx context.Context, rows []row) ([]result, error) {
	var results []result
	seen := map[upstreamtest.Echo]int{} // serial of the latest token by what it is for
	for _, row := range rows {
		r, err := d.playRow(ctx, row)
		if err != nil {
			return results, fmt.Errorf("%v (%s): %w", row.request, row.about, err)
		}
		is := upstreamtest.Echo{Provider: r.answer.echo.Provider, Kind: r.answer.echo.Kind,
			Subject: r.answer.echo.Subject, Scope: r.answer.echo.Scope}
		r.faults = r.judge(seen[is])
		seen[is] = r.answer.serial
		results = append(results, r)
	}
	return results, nil
}

func (d *demo) playRow(ctx context.Context, row row) (result, error) {
	r := result{row: row}
	if row.before != nil {
		if err := row.before(ctx, d); err != nil {
			return r, err
		}
	}
	before, err := d.tally(ctx, row.request)
	if err != nil {
		return r, err
	}
	if r.answer, err = d.send(ctx, row.request); err != nil {
		return r, err
	}
	after, err := d.tally(ctx, row.request)
	if err != nil {
		return r, err
	}
	r.asked = after.asked - before.asked
	switch {
	case r.answer.serial > before.issued, r.answer.serial == 0 && r.asked > 0:
		r.from = tokenEndpoint
	case after.waited > before.waited:
		r.from = redis
	case after.looked > before.looked:
		r.from = memory
	default:
		r.from = nowhere
	}
	return r, nil
}

// judge returns what is wrong. last is the serial of the token for the same
// purpose that arrived in an earlier row, 0 if none did.
func (r result) judge(last int) []string {
	var faults []string
	expect := func(what string, got, want any) {
		if got != want {
			faults = append(faults, fmt.Sprintf("%s is %v, not %v", what, got, want))
		}
	}
	want, a := r.row.want, r.answer
	if want.status == 0 {
		want.status = http.StatusOK
		name, _, _ := strings.Cut(r.row.route, ".")
		expect("provider", a.echo.Provider, name)
		expect("path at the target", a.echo.Path, r.row.path)
	}
	if want.from == "" {
		want.from = nowhere
	}
	expect("status", a.status, want.status)
	expect("code", a.code, want.code)
	expect("kind", a.echo.Kind, want.kind)
	expect("subject", a.echo.Subject, want.subject)
	if want.scope != "" {
		expect("scope", a.echo.Scope, want.scope)
	}
	expect("source", r.from, want.from)
	expect("number of token requests", r.asked, want.asked)
	if last > 0 {
		expect("token newer than before", a.serial > last, want.renewed || want.from == tokenEndpoint)
	}
	return faults
}

// printTable prints the results under each other.
func printTable(w io.Writer, results []result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "REQUEST\tABOUT\tSTATUS\tTOKEN\tFROM\tMS\tVERDICT")
	for _, r := range results {
		status := strings.TrimSpace(fmt.Sprint(r.answer.status, " ", r.answer.code))
		token := "-"
		if r.answer.serial > 0 {
			token = strings.TrimSpace(r.answer.echo.Kind + " " + r.answer.echo.Subject)
		}
		from := string(r.from)
		if r.asked > 1 {
			from += fmt.Sprintf(" (%d requests)", r.asked)
		}
		verdict := "right"
		if len(r.faults) > 0 {
			verdict = "WRONG: " + strings.Join(r.faults, "; ")
		}
		_, _ = fmt.Fprintf(t, "%v\t%s\t%s\t%s\t%s\t%.1f\t%s\n", r.row.request, r.row.about, status, token, from,
			float64(r.answer.took.Microseconds())/1000, verdict)
	}
	return t.Flush()
}
