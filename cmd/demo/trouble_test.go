package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cmd/internal/testkit"
)

// told is what a sidecar shows at a moment, in its three ways.
type told struct{ page, log, metrics string }

// ways are the columns of the runbook's table that tell what a sidecar shows.
var ways = []string{"page", "log", "metrics"}

// shows reports whether a fact of that way is there.
func (s told) shows(way, fact string) bool {
	switch way {
	case "page":
		return strings.Contains(s.page, fact)
	case "log": // all on one line
		for line := range strings.Lines(s.log) {
			whole := true
			for part := range strings.FieldsFuncSeq(fact, func(r rune) bool { return r == '\x00' }) {
				whole = whole && strings.Contains(line, part)
			}
			if whole {
				return true
			}
		}
		return false
	}
	m := regexp.MustCompile(`^(\w+)(?:\{(.*)\})? (>|==) 0$`).FindStringSubmatch(fact)
	if m == nil {
		return false
	}
	highest := 0.0
	for line := range strings.Lines(s.metrics) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if base, _, _ := strings.Cut(name, "{"); base == "token_sidecar_"+m[1] && strings.Contains(name, m[2]) {
			n, _ := strconv.ParseFloat(value, 64)
			highest = max(highest, n)
		}
	}
	return (highest > 0) == (m[3] == ">")
}

// runbookRow is what the runbook says that a trouble shows.
type runbookRow struct {
	name   string
	check  string              // what check says; "-" stands for nothing
	facts  map[string][]string // by way
	alerts []string            // that fire, each with its upstream
	anchor string              // of the section about the first of them
}

// runbookTable reads it from docs/runbook.md, and the headings there are.
func runbookTable(t *testing.T) (rows []runbookRow, headings map[string]bool) {
	t.Helper()
	text, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	headings = map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			headings["#"+strings.ToLower(strings.TrimSpace(heading))] = true
		}
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 8 || !strings.HasPrefix(cells[1], "`") {
			continue
		}
		spans := func(cell string) (all []string) {
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
				all = append(all, m[1])
			}
			return all
		}
		anchor := regexp.MustCompile(`\((#\w+)\)`).FindStringSubmatch(cells[7])
		if anchor == nil {
			t.Fatalf("%s leads nowhere", cells[0])
		}
		rows = append(rows, runbookRow{spans(cells[1])[0], spans(cells[2])[0], map[string][]string{
			"page": spans(cells[3]), "log": {strings.Join(spans(cells[4]), "\x00")}, "metrics": spans(cells[5])}, spans(cells[6]), anchor[1]})
	}
	return rows, headings
}

// tell asks the sidecar for what it shows.
func (d *demo) tell(log fmt.Stringer) (s told, err error) {
	get := func(path string) string {
		req, err2 := http.NewRequest(http.MethodGet, "http://"+d.address("admin")+path, nil)
		if err2 != nil {
			err = err2
			return ""
		}
		req.Header.Set("Accept", "application/json")
		res, err2 := d.direct.Do(req)
		if err2 != nil {
			err = err2
			return ""
		}
		defer func() { _ = res.Body.Close() }()
		var body bytes.Buffer
		if _, err2 = body.ReadFrom(res.Body); err2 != nil {
			err = err2
		}
		return body.String()
	}
	s = told{get("/"), log.String(), get("/metrics")}
	var compact bytes.Buffer
	if err == nil {
		err = json.Compact(&compact, []byte(s.page))
	}
	s.page = compact.String()
	return s, err
}

// TestRunbookTellsTroublesApart plays each trouble of the game day: what the runbook's table says is seen, in
// each of the three ways, and what it says of another trouble is not.
func TestRunbookTellsTroublesApart(t *testing.T) {
	skipIfShort(t)
	rows, headings := runbookTable(t)
	if len(rows) != len(troubles()) || len(rows) < 8 {
		t.Errorf("the runbook has %d rows, and there are %d troubles", len(rows), len(troubles()))
	}
	var mu sync.Mutex // guards seen
	seen := map[string]told{}
	t.Run("all", func(t *testing.T) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				t.Parallel()
				s := play(t, row)
				mu.Lock()
				defer mu.Unlock()
				seen[row.name] = s
			})
			if !headings[row.anchor] {
				t.Errorf("%s leads to %s, which is not there", row.name, row.anchor)
			}
		}
	})
	for _, a := range rows {
		for name, other := range seen {
			for _, way := range ways {
				alike := true
				for _, fact := range a.facts[way] {
					alike = alike && other.shows(way, fact)
				}
				// A busy machine has an operation on Redis take too long in any run.
				mayBe := a.name == "redis" && way == "metrics"
				if name != a.name && alike && !mayBe {
					t.Errorf("what the runbook says of %s in %s is seen of %s, too", a.name, way, name)
				}
			}
		}
	}
}

func TestTroublesAreListed(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-trouble", "list"}, &out, &bytes.Buffer{}); err != nil || strings.Count(out.String(), "\n") != len(troubles()) {
		t.Errorf("%v: %s", err, &out)
	}
	for name := range strings.Lines(out.String()) {
		if _, err := findTrouble(strings.TrimSpace(name)); err != nil {
			t.Error(err)
		}
	}
	if err := run(t.Context(), []string{"-trouble", "nobody"}, &out, &out); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown one: %v", err)
	}
}

// play has the trouble of a row happen, and returns what the sidecar showed once it showed all that the
// row says.
func play(t *testing.T, row runbookRow) (s told) {
	trouble, err := findTrouble(row.name)
	if err != nil {
		t.Fatal(err)
	}
	log := &testkit.Output{}
	d := inTrouble(t, trouble, log)
	testkit.Eventually(t, row.name+" is seen", func() (err error) {
		if s, err = d.tell(log); err != nil {
			return err
		}
		for _, way := range ways {
			for _, fact := range row.facts[way] {
				if !s.shows(way, fact) {
					err = errors.Join(err, fmt.Errorf("%s does not show %s", way, fact))
				}
			}
		}
		return err
	})
	if said := outcomes(t, d); said != row.check {
		t.Errorf("check says %s, and the runbook %s", said, row.check)
	}
	return s
}

// outcomes returns what check finds wrong.
func outcomes(t *testing.T, d *demo) string {
	said, err := d.check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, r := range said.failed() {
		if all = append(all, r.outcome()); r.Cause == "" || r.Mend == "" {
			t.Errorf("check says of %s neither cause nor mend", r.outcome())
		}
	}
	return cmp.Or(strings.Join(all, " "), "-")
}

// inTrouble starts the demo with a trouble and an app, and ends them with the test. The log has
// warnings only.
func inTrouble(t *testing.T, what trouble, log io.Writer) *demo {
	return livingIn(t, what, lives{others: 4 * time.Second, ledger: 4 * time.Second}, log)
}

// livingIn does the same with tokens that live for so long.
func livingIn(t *testing.T, what trouble, life lives, log io.Writer) *demo {
	d, end, err := startTrouble(t.Context(), what, anyPort, anyPort, life, zerolog.New(log).Level(zerolog.WarnLevel))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var lived sync.WaitGroup
	lived.Go(func() { d.live(ctx, what, 0) })
	t.Cleanup(func() { cancel(); lived.Wait(); end() })
	return d
}
