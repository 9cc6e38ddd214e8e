package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/sidecar"
	"token-sidecar/cmd/internal/testkit"
)

// checked is what check says in JSON.
type checked struct {
	Requests, Targets []checkedRow
	Redis             *checkedRow
}

// checkedRow is one row of it.
type checkedRow struct {
	Upstream, Route, Outcome, Class, Code, Cause, Mend string
	Status                                             int
}

// outcome returns class/code of a row that failed, with the status where there is no code.
func (r checkedRow) outcome() string {
	if r.Code == "" {
		return fmt.Sprintf("%s/%d", r.Class, r.Status)
	}
	return r.Class + "/" + r.Code
}

// failed returns the rows that are not good.
func (c checked) failed() []checkedRow {
	all := slices.Concat(c.Requests, c.Targets)
	if c.Redis != nil {
		all = append(all, *c.Redis)
	}
	return slices.DeleteFunc(all, func(r checkedRow) bool { return r.Outcome != "failed" })
}

// check runs the subcommand with the settings of the first sidecar.
func (d *demo) check(ctx context.Context) (said checked, err error) {
	var out bytes.Buffer
	failed := sidecar.Program{Redis: goredis.Driver{}}.Run(ctx, []string{"check", "--json", "--subject", "humanapi=user-42"}, d.environ(anyPort, anyPort), &out, &bytes.Buffer{})
	if err := json.Unmarshal(out.Bytes(), &said); err != nil {
		return said, errors.Join(err, failed)
	}
	return said, nil
}

// TestBrokenSetupsAreTold gets one upstream wrong in each of many ways: check names cause and mend
// of each, the log has its class and code, and nothing is said of any other.
func TestBrokenSetupsAreTold(t *testing.T) {
	skipIfShort(t)
	all := setups(t)
	log := &testkit.Output{}
	d := inTrouble(t, allSetups(t, all), log)
	said, err := d.check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	failed := said.failed()
	if len(failed) != len(all) {
		t.Errorf("check finds %d faults, and there are %d", len(failed), len(all))
	}
	for i, u := range all {
		t.Run(u.name, func(t *testing.T) {
			n := slices.IndexFunc(failed, func(r checkedRow) bool { return r.Upstream == u.name })
			if n < 0 {
				t.Fatal("check finds nothing")
			}
			r := failed[n]
			variable := fmt.Sprintf("SIDECAR_OAUTH2_%d_%s", firstSetup+i, u.mend)
			if strings.HasPrefix(u.mend, "SIDECAR_") {
				variable = u.mend
			}
			if r.outcome() != u.outcome || !strings.Contains(r.Cause, u.cause) || !strings.Contains(r.Mend, variable) {
				t.Errorf("check says %s: cause: %s. mend: %s", r.outcome(), r.Cause, r.Mend)
			}
			testkit.Eventually(t, "the log tells", func() error { return u.logged(log.String()) })
		})
	}
}

// logged says which field is missing in the log's lines about an upstream that is set up so.
func (u setup) logged(log string) error {
	class, code, _ := strings.Cut(u.outcome, "/")
	message, fields := "token request failed", []string{`"class":"` + class + `"`}
	if class == "unreachable" {
		message, fields = "a request had no answer of the target", nil
	}
	if digits.MatchString(code) {
		fields = append(fields, `"http_status":`+code)
	} else {
		fields = append(fields, `":"`+code+`"`) // of the field code or cause
	}
	seen := errors.New("no line")
	for line := range strings.Lines(log) {
		if !strings.Contains(line, `"upstream":"`+u.name+`"`) {
			continue
		}
		if seen = nil; !strings.Contains(line, `"message":"`+message+`"`) {
			return fmt.Errorf("another line: %s", line)
		}
		for _, field := range fields {
			if !strings.Contains(line, field) {
				return fmt.Errorf("%s is not in %s", field, line)
			}
		}
	}
	return seen
}

var digits = regexp.MustCompile(`^[0-9]+$`)
