package sidecar

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"token-sidecar/upstream"
)

const checkUsage = `Usage: token-sidecar check [--json] [--subject upstream=id ...]

Prints the effective configuration, secrets masked, and makes one live token request per
configured upstream and kind of token.

  --subject upstream=id  also get the token of this participant, institution or user
  --json                 print the outcome as one JSON object, without the configuration

The exit code is 0 if all token requests were good and no upstream went without one, 1 if
not, 2 if the call or the configuration is wrong.
`

// check makes one live token request per upstream and kind of token, and says
// of each failure what the likely cause is. It blocks for one TOKEN_TIMEOUT
// per kind at most. Neither tokens nor subjects are printed.
func (p Program) check(ctx context.Context, c *Config, args []string, stdout io.Writer) error {
	options, err := parseCheck(args)
	if errors.Is(err, flag.ErrHelp) {
		_, err = io.WriteString(stdout, checkUsage)
		return err
	}
	if err != nil {
		return err
	}
	roots, err := c.roots()
	if err != nil {
		return err
	}
	upstreams := c.upstreams(roots)
	tries, err := c.tries(upstreams, options.subjects)
	if err != nil {
		return err
	}
	if !options.json {
		if err := c.writePreamble(stdout); err != nil {
			return err
		}
	}
	p.try(ctx, c, upstreams, tries)
	rows := checkRows(tries)
	verdict := checkExit(rows)
	if options.json {
		err = writeCheckJSON(stdout, rows, verdict == nil)
	} else {
		err = writeCheckText(stdout, rows)
	}
	if err != nil {
		return err
	}
	return verdict
}

// writePreamble says what is about to be tried, before anything can hang.
func (c *Config) writePreamble(w io.Writer) error {
	if err := c.WriteEffective(w); err != nil {
		return err
	}
	for _, line := range c.Warnings() {
		if _, err := fmt.Fprintf(w, "\nwarning: %s\n", line); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// checkOptions are the flags of check.
type checkOptions struct {
	json     bool
	subjects []checkSubject
}

type checkSubject struct{ upstream, id string }

// parseCheck reads the flags. Its errors quote no argument: each might be, or
// hold, a subject.
func parseCheck(args []string) (checkOptions, error) {
	var options checkOptions
	var subjects []string
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&options.json, "json", false, "")
	// Split below: the errors of a flag.Func quote the value.
	flags.Func("subject", "", func(s string) error {
		subjects = append(subjects, s)
		return nil
	})
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return options, err
	}
	if err != nil || flags.NArg() > 0 {
		return options, &ExitError{exitConfig, "check takes only --json and --subject upstream=id; see token-sidecar check --help"}
	}
	for _, s := range subjects {
		name, id, _ := strings.Cut(s, "=")
		if name == "" || id == "" {
			return options, &ExitError{exitConfig, "--subject is not in the form upstream=id"}
		}
		options.subjects = append(options.subjects, checkSubject{name, id})
	}
	return options, nil
}

// vetSubjects makes sure that each subject has an upstream that takes it.
func vetSubjects(upstreams []upstream.Upstream, subjects []checkSubject) error {
	takes := map[string]bool{}
	for _, u := range upstreams {
		for _, r := range u.Routes() {
			if r.Subject != upstream.SubjectRefused {
				takes[u.Name()] = true
			}
		}
	}
	for _, s := range subjects {
		switch {
		case takes[s.upstream]:
		case len(takes) == 0:
			return &ExitError{exitConfig, "--subject: no configured upstream takes a subject"}
		default:
			return &ExitError{exitConfig, "--subject names no configured upstream that takes a subject; these do: " +
				strings.Join(sortedKeys(takes), ", ")}
		}
	}
	return nil
}

// checkExit returns the verdict on all rows, nil if they are good.
func checkExit(rows []checkRow) error {
	failed := 0
	tried := map[string]bool{}
	for _, r := range rows {
		tried[r.Upstream] = tried[r.Upstream] || r.Outcome != outcomeUntried
		if r.Outcome == outcomeFailed {
			failed++
		}
	}
	var idle []string
	for _, name := range sortedKeys(tried) {
		if !tried[name] {
			idle = append(idle, name)
		}
	}
	switch {
	case failed > 0:
		return &ExitError{1, fmt.Sprintf("check: token requests failed: %d", failed)}
	case len(idle) > 0:
		return &ExitError{1, "check: not tried: " + strings.Join(idle, ", ")}
	}
	return nil
}
