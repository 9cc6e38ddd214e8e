// Package sidecar is the program behind cmd/token-sidecar and cmd/demo: it chooses
// the subcommand, puts the parts of the sidecar together, starts them and stops them.
//
// run.go chooses the subcommand. keygen.go makes keys for Redis; healthcheck.go asks a
// sidecar that runs whether it is well; the subcommand check is in package check. What
// the sidecar itself is made of, and in which order it starts and stops, is in serve.go;
// log.go writes its log without waiting for a reader. listen.go opens the listeners
// (socket_unix.go makes sockets that are private from the start, socket_other.go is for
// systems that cannot); tls.go has the certificate that they show; jwks.go serves, or prints,
// the public keys that providers fetch; admin.go is what the admin listener serves. The
// settings are in package config, the status page is in package status.
package sidecar

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"slices"

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
	switch {
	case asksForHelp(name):
		return config.WriteHelp(stdout)
	case !slices.Contains([]string{"serve", "check", "healthcheck", "jwks", "keygen", "pdx-connection-hash", "version", "--version"}, name):
		return &ExitError{exitConfig, fmt.Sprintf("no subcommand is named %q; see token-sidecar --help", name)}
	case name == "check":
		return runCheck(ctx, args, environ, stdout)
	case len(args) > 0 && asksForHelp(args[0]):
		return config.WriteHelp(stdout)
	case name == "healthcheck" && len(args) > 0 && !slices.Equal(args, []string{"ready"}):
		return &ExitError{exitConfig, `healthcheck takes no argument but "ready"`}
	case name != "healthcheck" && len(args) > 0:
		return &ExitError{exitConfig, name + " takes no arguments; settings are environment variables, see token-sidecar --help"}
	case name == "keygen":
		return keygen(stdout)
	case name == "version", name == "--version":
		_, err := fmt.Fprintf(stdout, "token-sidecar %s %s\n", p.Version, runtime.Version())
		return err
	}
	settings, err := parse(environ)
	switch {
	case err != nil:
		return err
	case name == "serve":
		return p.serve(ctx, settings, stderr)
	case name == "jwks":
		return printJWKS(settings, stdout)
	case name == "pdx-connection-hash":
		return printConnectionHash(settings, stdout)
	case len(args) > 0:
		return healthcheck(ctx, settings.AdminListen, "/readyz")
	}
	return healthcheck(ctx, settings.AdminListen, "/livez")
}

// printConnectionHash prints what the body of a First Time Connection at PDX has to hold.
func printConnectionHash(settings *config.Config, stdout io.Writer) error {
	if !settings.PDX.ConnectionToken.IsSet() {
		return &ExitError{exitConfig, "pdx-connection-hash needs SIDECAR_PDX_CONNECTION_TOKEN"}
	}
	_, err := fmt.Fprintln(stdout, upstream.PDXConnectionHash(settings.PDX.ConnectionToken))
	return err
}

// asksForHelp reports whether an argument asks for the help text.
func asksForHelp(arg string) bool {
	return slices.Contains([]string{"help", "--help", "-h", "-help"}, arg)
}

// parse reads the configuration.
func parse(environ []string) (*config.Config, error) {
	settings, err := config.Parse(environ)
	var faulty *config.Error
	if errors.As(err, &faulty) {
		return nil, &ExitError{exitConfig, fmt.Sprintf("the configuration has faults (%d); token-sidecar --help explains every setting\n%v",
			len(faulty.Faults), faulty)}
	}
	return settings, err
}

// runCheck runs the subcommand check.
func runCheck(ctx context.Context, args, environ []string, stdout io.Writer) error {
	err := tryAll(ctx, args, environ, stdout)
	var wrongCall *check.UsageError
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, err = io.WriteString(stdout, check.Usage)
	case errors.As(err, &wrongCall):
		err = &ExitError{exitConfig, wrongCall.Message}
	}
	return err
}

// tryAll looks at the arguments of check before it looks at the settings, and tries them.
func tryAll(ctx context.Context, args, environ []string, stdout io.Writer) error {
	options, err := check.ParseArgs(args)
	if err != nil {
		return err
	}
	settings, err := parse(environ)
	if err != nil {
		return err
	}
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
	return check.Run(ctx, check.Config{
		Upstreams:    settings.Upstreams(roots),
		Endpoints:    settings.TokenEndpoints(),
		TokenTimeout: settings.TokenTimeout,
		Redis:        redis,
		Preamble:     settings.WritePreamble,
	}, options, stdout)
}
