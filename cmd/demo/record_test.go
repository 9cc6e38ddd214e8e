package main

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

// record has the series of each trouble, and of a sidecar with all broken set-ups, written down for so
// long; the tests of the chart ask its rules of them. The files are made anew by
//
//	go test ./cmd/demo -run Recorded -timeout 1h -record 20m
var record = flag.Duration("record", 0, "how long series are recorded for the tests of the chart")

// recordings is where they are.
const recordings = "../../charts/tests/testdata/recorded"

// scrapeInterval is the time between two values.
const scrapeInterval = 15 * time.Second

// ruleSeries are the names of series that the chart's rules read.
func ruleSeries(t *testing.T) map[string]bool {
	text, err := os.ReadFile("../../charts/token-sidecar/files/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, name := range regexp.MustCompile(`token_sidecar_[a-z_]+`).FindAllString(string(text), -1) {
		names[name] = true
	}
	return names
}

// TestRecordedSeriesAreOfThisProgram finds a recording for each trouble and for the broken set-ups,
// with the alerts that are to fire and with no series that this program does not have.
func TestRecordedSeriesAreOfThisProgram(t *testing.T) {
	skipIfShort(t)
	all := setups(t)
	expected := map[string][]string{"setups": nil}
	for _, u := range all {
		expected["setups"] = append(expected["setups"], u.alert+" "+u.name)
		if u.alert != "TargetUnreachable" { // no request gets a token
			expected["setups"] = append(expected["setups"], "RequestsWait "+u.name, "TokenExpires "+u.name)
		}
	}
	rows, _ := runbookTable(t)
	for _, row := range rows {
		expected[row.name] = row.alerts
	}
	what := append(troubles(), allSetups(t, all))
	if *record > 0 {
		var each sync.WaitGroup
		for _, one := range what {
			each.Go(func() { recordOne(t, one, expected[one.name]) })
		}
		each.Wait()
	}
	budget, err := findTrouble("budget") // whose program has the series of a budget, too
	if err != nil {
		t.Fatal(err)
	}
	d := inTrouble(t, budget, &testkit.Output{})
	now, err := d.scrape(t.Context(), d.sidecar)
	if err != nil {
		t.Fatal(err)
	}
	shapes := map[string]bool{}
	for name := range now {
		shapes[shape(name)] = true
	}
	for _, one := range what {
		text, err := os.ReadFile(filepath.Join(recordings, one.name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var alerts []string
		for line := range strings.Lines(string(text)) {
			if alert, ok := strings.CutPrefix(line, "  - alert: "); ok {
				alerts = append(alerts, strings.TrimSpace(alert))
			}
			if name, ok := strings.CutPrefix(line, "  - series: "); ok && !shapes[shape(strings.Trim(strings.TrimSpace(name), "'"))] {
				t.Errorf("%s: this program has no such series as %s", one.name, name)
			}
		}
		if slices.Sort(expected[one.name]); !slices.Equal(alerts, expected[one.name]) {
			t.Errorf("%s: recorded for %q, and the table says %q", one.name, alerts, expected[one.name])
		}
	}
}

// shape returns the name of a series and the names of its labels.
func shape(name string) string {
	base, labels, _ := strings.Cut(name, "{")
	var names []string
	for _, m := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(labels, -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return base + " " + strings.Join(names, " ")
}

// starting is held while a demo starts: another that starts then may choose its ports.
var starting sync.Mutex

// recordOne has one trouble for as long as is recorded. Tokens live for 40 minutes and are replaced when 4
// are over, so that a failure shows long before a token ends, as it does with tokens of an hour or more.
func recordOne(t *testing.T, what trouble, alerts []string) {
	life := lives{others: 40 * time.Minute, ledger: 40 * time.Minute}
	own := what.settings
	what.settings = func() (more []string, end func()) {
		end = func() {}
		if own != nil {
			more, end = own()
		}
		return append(more, "REFRESH_AHEAD=0.9"), end
	}
	if what.name == "budget" { // it is spent on tokens that are replaced often
		life = lives{others: time.Minute, ledger: time.Minute}
	}
	starting.Lock()
	d := livingIn(t, what, life, io.Discard)
	starting.Unlock()
	names := ruleSeries(t)
	values := map[string][]string{}
	tick := time.NewTicker(scrapeInterval)
	defer tick.Stop()
	n := 0
	for began := time.Now(); time.Since(began) < *record; n++ {
		now, err := d.scrape(t.Context(), d.sidecar)
		if err != nil {
			t.Error(err)
			return
		}
		for name, value := range now {
			base, _, _ := strings.Cut(name, "{")
			if !names[base] {
				continue
			}
			for len(values[name]) < n {
				values[name] = append(values[name], "_") // it is new
			}
			values[name] = append(values[name], strconv.FormatFloat(value, 'g', 6, 64))
		}
		for name := range values {
			for len(values[name]) <= n {
				values[name] = append(values[name], "_") // it is gone
			}
		}
		<-tick.C
	}
	if err := os.WriteFile(filepath.Join(recordings, what.name+".yaml"), []byte(recording(values, alerts)), 0o600); err != nil {
		t.Error(err)
	}
}

// recording returns the text of a file: series in the form of promtool, and the alerts that are to fire
// at their end.
func recording(values map[string][]string, alerts []string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "# Made by go test ./cmd/demo -run Recorded -record; see record_test.go there.\ninterval: %v\ninput_series:\n", scrapeInterval)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&text, "  - series: '%s'\n    values: '%s'\n", name, strings.Join(runs(values[name]), " "))
	}
	text.WriteString("alerts:\n")
	slices.Sort(alerts)
	for _, alert := range alerts {
		fmt.Fprintf(&text, "  - alert: %s\n", alert)
	}
	return text.String()
}

// runs writes equal values that follow one another once, in promtool's form: 7x3 is four times 7.
func runs(values []string) (short []string) {
	for len(values) > 0 {
		n := 1
		for n < len(values) && values[n] == values[0] {
			n++
		}
		switch {
		case n == 1:
			short = append(short, values[0])
		case values[0] == "_":
			short = append(short, fmt.Sprintf("_x%d", n))
		default:
			short = append(short, fmt.Sprintf("%sx%d", values[0], n-1))
		}
		values = values[n:]
	}
	return short
}

// TestRunsAreInTheFormOfPromtool compares with its documentation of values.
func TestRunsAreInTheFormOfPromtool(t *testing.T) {
	got := strings.Join(runs([]string{"_", "_", "1", "2", "2", "2", "_"}), " ")
	if got != "_x2 1 2x2 _" {
		t.Error(got)
	}
}
