package sidecar

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/rs/zerolog"

	"token-sidecar/cache/shared"
	"token-sidecar/cmd/internal/check"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/metrics"
	"token-sidecar/proxy"
	"token-sidecar/upstream"
)

// Program is the command line program.
type Program struct {
	Version string        // what the subcommand version, the metrics and the status page say
	Stdin   io.Reader     // of the subcommands that read it
	Redis   shared.Driver // what makes the clients of Redis
}

// ExitError asks for an exit code. Its message is empty if all was said.
type ExitError struct {
	Code    int
	Message string
}

// Error returns the message.
func (e *ExitError) Error() string { return e.Message }

const (
	// exitUsage is the exit code of a program that was called wrongly, and of a subcommand other
	// than serve that found the settings faulty.
	exitUsage = 2
	// exitConfig is the exit code of serve if its settings are faulty: EX_CONFIG of sysexits.h. It
	// tells a supervisor that another start would end in the same way, which 2 does not: a Go
	// program that crashes ends with 2.
	exitConfig = 78
)

// parse reads the configuration.
func (p Program) parse(environ []string) (*config.Config, error) {
	settings, err := config.Parse(environ, p.Redis)
	return settings, exitOf(err)
}

// exitOf returns err as what the program says of a faulty configuration, if it is about that.
func exitOf(err error) error {
	if faulty, ok := errors.AsType[*config.Error](err); ok {
		return &ExitError{exitUsage, fmt.Sprintf("the configuration has faults (%d); token-sidecar --help all explains every setting\n%v",
			len(faulty.Faults), faulty)}
	}
	return err
}

// exitOfStart is exitOf for serve. The exit code is 1, as after any other failure, if the faults may
// be gone at another start.
func exitOfStart(err error) error {
	exit, ok := errors.AsType[*ExitError](exitOf(err))
	if !ok {
		return err
	}
	exit.Code = exitConfig
	if faulty, _ := errors.AsType[*config.Error](err); faulty.MayPass() {
		exit.Code = 1
	}
	return exit
}

// check runs the subcommand check.
func (p Program) check(ctx context.Context, args, environ []string, stdout io.Writer) error {
	err := p.tryAll(ctx, args, environ, stdout)
	var wrongCall *check.UsageError
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, err = io.WriteString(stdout, check.Usage)
	case errors.As(err, &wrongCall):
		err = &ExitError{exitUsage, wrongCall.Message}
	}
	return err
}

// tryAll looks at the arguments of check before it looks at the settings, and tries them.
func (p Program) tryAll(ctx context.Context, args, environ []string, stdout io.Writer) error {
	options, err := check.ParseArgs(args)
	if err != nil {
		return err
	}
	settings, err := p.parse(environ)
	if err != nil {
		return err
	}
	roots, err := settings.Roots()
	if err != nil {
		return err
	}
	audit, err := newAudit(settings, zerolog.Nop(), metrics.New("check"), io.Discard)
	if err != nil {
		return &ExitError{exitUsage, err.Error()}
	}
	audit.Close()
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
		Reach: func(ctx context.Context, r upstream.Route, token upstream.Token) error {
			return proxy.Reach(ctx, r, token, roots, settings.Egress())
		},
		Redis:    redis,
		Preamble: settings.WritePreamble,
	}, options, stdout)
}
