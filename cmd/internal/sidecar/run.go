// Package sidecar is the program behind cmd/token-sidecar and cmd/demo: it chooses
// the subcommand, puts the parts of the sidecar together, starts them and stops them.
//
// run.go chooses the subcommand. keygen.go makes keys for Redis; healthcheck.go asks a
// sidecar that runs whether it is well; the subcommand check is in package check. What
// the sidecar itself is made of, and in which order it starts and stops, is in serve.go;
// log.go writes its log without waiting for a reader. listen.go opens the listeners
// (socket_unix.go makes sockets that are private from the start, socket_other.go is for
// systems that cannot); admin.go is what the admin listener serves. The settings are in
// package config, the status page is in package status.
package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/rs/zerolog"

	"token-sidecar/cmd/internal/check"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// Program is the command line program.
type Program struct {
	Version string // what the subcommand version, the metrics and the status page say
}

// ExitError asks for an exit code. Its message is empty if all was said.
type ExitError struct {
	Code    int
	Message string
}

// Error returns the message.
func (e *ExitError) Error() string { return e.Message }

// exitConfig is the exit code of a program that was called or configured wrongly.
const exitConfig = 2

// Run runs one subcommand: args as in os.Args[1:], environ as of os.Environ.
// It blocks until the subcommand is done; serve is done when ctx ends. Only
// what a subcommand is for goes to stdout; logs and faults go to stderr. An
// error that is an *ExitError names the exit code; any other is a failure at
// run time.
func (p Program) Run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	name := "serve"
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	switch name {
	case "help", "--help", "-h", "-help":
		return config.WriteHelp(stdout)
	case "version", "--version":
		_, err := fmt.Fprintf(stdout, "token-sidecar %s %s\n", p.Version, runtime.Version())
		return err
	case "keygen":
		if len(args) > 0 {
			return &ExitError{exitConfig, "keygen takes no arguments"}
		}
		return keygen(stdout)
	case "serve", "check", "healthcheck", "pdx-connection-hash":
	default:
		return &ExitError{exitConfig, fmt.Sprintf("no subcommand is named %q; see token-sidecar --help", name)}
	}
	settings, err := config.Parse(environ)
	var faulty *config.Error
	switch {
	case errors.As(err, &faulty):
		return &ExitError{exitConfig, fmt.Sprintf("the configuration has faults (%d); token-sidecar --help explains every setting\n%v",
			len(faulty.Faults), faulty)}
	case err != nil:
		return err
	case name == "check":
		return runCheck(ctx, settings, args, stdout)
	case name == "pdx-connection-hash" && (len(args) > 0 || !settings.PDX.ConnectionToken.IsSet()):
		return &ExitError{exitConfig, "pdx-connection-hash takes no arguments, and needs SIDECAR_PDX_CONNECTION_TOKEN"}
	case name == "pdx-connection-hash":
		_, err := fmt.Fprintln(stdout, upstream.PDXConnectionHash(settings.PDX.ConnectionToken))
		return err
	case name == "healthcheck" && len(args) == 0:
		return healthcheck(ctx, settings.AdminListen, "/livez")
	case name == "healthcheck" && len(args) == 1 && args[0] == "ready":
		return healthcheck(ctx, settings.AdminListen, "/readyz")
	case name == "healthcheck":
		return &ExitError{exitConfig, `healthcheck takes no argument but "ready"`}
	case len(args) > 0:
		return &ExitError{exitConfig, "serve takes no arguments; settings come from SIDECAR_ variables, see token-sidecar --help"}
	}
	return p.serve(ctx, settings, stderr)
}

// runCheck runs the subcommand check.
func runCheck(ctx context.Context, settings *config.Config, args []string, stdout io.Writer) error {
	roots, err := settings.Roots()
	if err != nil {
		return err
	}
	store, err := newShared(settings, zerolog.Nop(), metrics.New("check"))
	if err != nil {
		return err
	}
	var redis *check.Redis
	if store != nil {
		defer func() { _ = store.Close() }()
		redis = &check.Redis{Mode: settings.Redis.Mode, Host: settings.Redis.Host(), Timeout: store.Timeout(), Try: store.Try}
	}
	err = check.Run(ctx, check.Config{
		Upstreams:    settings.Upstreams(roots),
		Endpoints:    settings.TokenEndpoints(),
		TokenTimeout: settings.TokenTimeout,
		Redis:        redis,
		Preamble:     settings.WritePreamble,
	}, args, stdout)
	var wrongCall *check.UsageError
	if errors.As(err, &wrongCall) {
		return &ExitError{exitConfig, wrongCall.Message}
	}
	return err
}
