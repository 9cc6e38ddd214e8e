package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	facts  map[string][]string // by way
	anchor string
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
		if len(cells) != 6 || !strings.HasPrefix(cells[1], "`") {
			continue
		}
		spans := func(cell string) (all []string) {
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
				all = append(all, m[1])
			}
			return all
		}
		anchor := regexp.MustCompile(`\((#\w+)\)`).FindStringSubmatch(cells[5])
		if anchor == nil {
			t.Fatalf("%s leads nowhere", cells[0])
		}
		rows = append(rows, runbookRow{spans(cells[1])[0], map[string][]string{
			"page": spans(cells[2]), "log": {strings.Join(spans(cells[3]), "\x00")}, "metrics": spans(cells[4])}, anchor[1]})
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
	d, end, err := startTrouble(t.Context(), trouble, anyPort, anyPort, lives{others: 4 * time.Second, ledger: 4 * time.Second}, zerolog.New(log).Level(zerolog.WarnLevel))
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	ctx, cancel := context.WithCancel(t.Context())
	var lived sync.WaitGroup
	lived.Go(func() { d.live(ctx, trouble, 0) })
	defer lived.Wait()
	defer cancel()
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
	return s
}
