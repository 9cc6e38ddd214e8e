// Package check is the subcommand that tries a configuration: it asks every
// token endpoint for a token, and says of each failure what the likely cause is
// and how to mend it.
//
// check.go reads the arguments, is the order of things, and gives the verdict. try.go
// asks for the tokens, shorttoken.go for those that a First Time Connection at Mydex PDX
// needs beside them, target.go opens connections to the APIs, and redis.go tries Redis.
// report.go makes rows of what came of it and prints them, for people or as JSON.
// finding.go explains each failure by the first rule in rules.go that matches it;
// failure.go is the facts that rules look at.
package check

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"token-sidecar/cmd/internal/config"
	"token-sidecar/upstream"
)

// Usage is the help text of the subcommand.
const Usage = `Usage: token-sidecar check [--json] [--subject upstream=id ...]

Prints the effective configuration, secrets masked, makes one live token request per
configured upstream and kind of token, asks Mydex PDX for one short access token if a
connection is configured, opens a connection to each API (no request is sent on it), and
tries Redis if it is configured. The file of the audit is opened, and made if it is missing.

  --subject upstream=id  also get the token of this participant, institution or user
  --json                 print the outcome as one JSON object, without the configuration

The exit code is 0 if all token requests were good, no upstream went without one, and all
APIs can be reached and Redis be used, 1 if not, 2 if the call or the configuration is wrong.
`

// Config is what a check needs to know.
type Config struct {
	// Upstreams are those that are configured.
	Upstreams []upstream.Upstream
	// Endpoints has the token endpoint of each upstream by its name.
	Endpoints map[string]*config.TokenEndpoint
	// TokenTimeout bounds one token request.
	TokenTimeout time.Duration
	// Reach opens a connection to the target of a route as a request with that token would, and
	// closes it; nil means that targets are not tried. [upstream.ConnError] names its error.
	Reach func(context.Context, upstream.Route, upstream.Token) error
	// Redis is the Redis that tokens are shared through; nil if it is off.
	Redis *Redis
	// Preamble writes what people read before anything is tried: the settings in
	// force, and warnings about them.
	Preamble func(io.Writer) error
}

// Run makes one live token request per upstream and kind of token, opens a connection to
// each target, tries Redis, and writes to stdout what came of each and what the likely cause
// of a failure is. It blocks for one TokenTimeout per kind, and one more for short access
// tokens, and for Reach at most, or until ctx ends. Neither tokens nor subjects are printed.
// The error is a *UsageError if the subjects do not fit the upstreams, and otherwise tells
// that a token request failed, that an upstream went without one, or that a target or Redis
// cannot be used.
func Run(ctx context.Context, c Config, options Options, stdout io.Writer) error {
	tries, err := c.tries(options.subjects)
	if err != nil {
		return err
	}
	if !options.json {
		if err := c.Preamble(stdout); err != nil {
			return err
		}
	}
	var shared []row // of Redis: one or none
	var both sync.WaitGroup
	both.Go(func() { shared = c.Redis.rows(ctx) })
	c.try(ctx, tries)
	both.Wait()
	rows := append(rowsOf(tries), c.shortTokens(ctx)...)
	targets := c.reachTargets(ctx, tries)
	verdict := errors.Join(judge(rows), judgeTargets(targets), judgeRedis(shared))
	if options.json {
		err = writeJSON(stdout, rows, targets, shared, verdict == nil)
	} else {
		err = writeText(stdout, slices.Concat(rows, targets, shared))
	}
	if err != nil {
		return err
	}
	return verdict
}

// Options are the flags of check.
type Options struct {
	json     bool
	subjects []subject
}

// ParseArgs reads the flags. The error is flag.ErrHelp if they ask for Usage, otherwise a
// *UsageError. It quotes no argument: each might be, or hold, a subject.
func ParseArgs(args []string) (Options, error) {
	var o Options
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&o.json, "json", false, "")
	wellFormed := true // no error of the flag tells: it would quote the value
	flags.Func("subject", "", func(s string) error {
		name, id, _ := strings.Cut(s, "=")
		wellFormed = wellFormed && name != "" && id != ""
		o.subjects = append(o.subjects, subject{name, id})
		return nil
	})
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return o, err
	case err != nil || flags.NArg() > 0:
		return o, &UsageError{"check takes only --json and --subject upstream=id; see token-sidecar check --help"}
	case !wellFormed:
		return o, &UsageError{"--subject is not in the form upstream=id"}
	}
	return o, nil
}

// judge returns the verdict on all rows, nil if they are good.
func judge(rows []row) error {
	failed := 0
	tried := map[string]bool{}
	for _, r := range rows {
		tried[r.Upstream] = tried[r.Upstream] || r.Outcome != outcomeUntried
		if r.Outcome == outcomeFailed {
			failed++
		}
	}
	var idle []string
	for _, name := range slices.Sorted(maps.Keys(tried)) {
		if !tried[name] {
			idle = append(idle, name)
		}
	}
	switch {
	case failed > 0:
		return fmt.Errorf("check: token requests failed: %d", failed)
	case len(idle) > 0:
		return fmt.Errorf("check: not tried: %s", strings.Join(idle, ", "))
	}
	return nil
}
