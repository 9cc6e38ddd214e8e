// Package sidecar is the program behind cmd/token-sidecar and cmd/demo: it chooses
// the subcommand, puts the parts of the sidecar together, starts them and stops them.
//
// commands.go lists the subcommands and runs the one that was asked for. keygen.go makes random
// keys; pseudonym.go tells what subjects are called in the audit; explain.go says what would be
// done with a request; healthcheck.go asks a sidecar that runs whether it is well; the subcommand
// check is in package check. run.go reads the settings for them. What the sidecar itself is made of, and in which order it starts and stops, is in serve.go; log.go writes its log
// without waiting for a reader. listen.go opens the listeners (listen_unix.go makes sockets that
// are private from the start and knows how many files may be open, listen_other.go is for other systems); tls.go has the
// certificate that they show; jwks.go serves, or prints, the public keys that providers fetch;
// admin.go is what the admin listener serves. The settings are in package config, the status page
// is in package status.
package sidecar

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"token-sidecar/cmd/internal/check"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/upstream"
)

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
	if asksForHelp(name) {
		return writeHelp(args, stdout)
	}
	c, err := find(name)
	switch {
	case err != nil:
		return err
	case len(args) > 0 && asksForHelp(args[0]):
		_, err = io.WriteString(stdout, c.help)
		return err
	}
	if err := c.refusal(args); err != nil {
		return err
	}
	return c.run(p, ctx, call{args, environ, stdout, stderr})
}

// command is one subcommand.
type command struct {
	name string
	help string   // what it prints with --help
	args []string // what it may be called with; nil if it looks at that itself
	run  func(Program, context.Context, call) error
}

// call is what a subcommand was called with.
type call struct {
	args, environ  []string
	stdout, stderr io.Writer
}

// commands are all of them, in the order in which they are listed.
var commands = []command{
	{"serve", `Usage: token-sidecar [serve]

Runs the sidecar until SIGTERM or an interrupt, and then lets the requests under way finish. Its
log goes to stderr. token-sidecar --help all explains every setting. The exit code is 78 if the
settings are faulty, 1 if it fails otherwise, or if a file or directory of the settings is missing.
`, none, func(p Program, ctx context.Context, c call) error {
		settings, err := config.Parse(c.environ, p.Redis)
		if err != nil {
			return exitOfStart(err)
		}
		return p.serve(ctx, settings, c.stdout, c.stderr)
	}},
	{"check", check.Usage, nil, func(p Program, ctx context.Context, c call) error { return p.check(ctx, c.args, c.environ, c.stdout) }},
	{"healthcheck", `Usage: token-sidecar healthcheck [ready]

Asks a running sidecar whether it lives, or with ready whether it also takes requests. Of the
settings it needs SIDECAR_ADMIN_LISTEN alone. The exit code is 0 if so, 1 if not. It is a probe for
images without a shell.
`, []string{"ready", ""}, func(_ Program, ctx context.Context, c call) error {
		listener, err := config.AdminListenOf(c.environ)
		if err != nil {
			return err
		}
		if len(c.args) > 0 {
			return healthcheck(ctx, listener, "/readyz")
		}
		return healthcheck(ctx, listener, "/livez")
	}},
	{"explain", explainUsage, nil, func(p Program, ctx context.Context, c call) error { return p.explain(ctx, c) }},
	{"jwks", `Usage: token-sidecar jwks

Prints the JWK Set (RFC 7517) of the public keys of generic upstreams, the next ones included, to be
given to providers.
`, none, withSettings(func(_ Program, _ context.Context, c call, s *config.Config) error { return printJWKS(s, c.stdout) })},
	{"keygen", `Usage: token-sidecar keygen

Prints a new random key with a new id: for SIDECAR_REDIS_KEYS, or for SIDECAR_AUDIT_KEY. It needs no
settings.
`, none, func(_ Program, _ context.Context, c call) error { return keygen(c.stdout) }},
	{"audit", `Usage: token-sidecar audit pseudonym < subjects

Prints the pseudonym that lines of the audit have for each subject, of which stdin names one a line.
Of the settings it needs SIDECAR_AUDIT_KEY, or SIDECAR_AUDIT_KEY_FILE, alone: that of the key whose
id the lines have.
`, []string{"pseudonym"}, func(p Program, ctx context.Context, c call) error {
		done := make(chan error, 1)
		go func() { done <- pseudonyms(c.environ, p.Stdin, c.stdout) }()
		select {
		case err := <-done:
			return err
		case <-ctx.Done(): // nothing ends a read of stdin
			return &ExitError{Code: 1}
		}
	}},
	{"pdx-connection-hash", `Usage: token-sidecar pdx-connection-hash

Prints the connection_token_hash that the body of a First Time Connection at Mydex PDX carries, made
of SIDECAR_PDX_CONNECTION_TOKEN.
`, none, withSettings(func(_ Program, _ context.Context, c call, s *config.Config) error {
		return printConnectionHash(s, c.stdout)
	})},
	{"version", `Usage: token-sidecar version

Prints the version.
`, none, func(p Program, _ context.Context, c call) error {
		_, err := fmt.Fprintf(c.stdout, "token-sidecar %s %s\n", p.Version, runtime.Version())
		return err
	}},
}

// none is the args of a command that takes none.
var none = []string{""}

// withSettings is for commands that need the whole configuration.
func withSettings(run func(Program, context.Context, call, *config.Config) error) func(Program, context.Context, call) error {
	return func(p Program, ctx context.Context, c call) error {
		settings, err := p.parse(c.environ)
		if err != nil {
			return err
		}
		return run(p, ctx, c, settings)
	}
}

// find returns the command of that name. The error says which it may have been.
func find(name string) (command, error) {
	if name == "--version" {
		name = "version"
	}
	var names []string
	for _, c := range commands {
		if c.name == name {
			return c, nil
		}
		names = append(names, c.name)
	}
	hint := ""
	if best := config.Nearest(name, names); best != "" {
		hint = "did you mean " + best + "? "
	}
	return command{}, &ExitError{exitUsage, fmt.Sprintf("no subcommand is named %q; %ssee token-sidecar --help", name, hint)}
}

// refusal says why the command cannot be called with those arguments.
func (c command) refusal(args []string) error {
	switch {
	case c.args == nil, slices.Contains(c.args, strings.Join(args, " ")):
		return nil
	case slices.Equal(c.args, none):
		return &ExitError{exitUsage, c.name + " takes no arguments; settings are environment variables, see token-sidecar --help"}
	}
	return &ExitError{exitUsage, fmt.Sprintf("%s takes %s; see token-sidecar %[1]s --help", c.name, strings.Trim(strings.Join(c.args, " or nothing"), " "))}
}

// writeUsage writes the help of the whole program.
func writeUsage(w io.Writer) error {
	var text strings.Builder
	text.WriteString(`token-sidecar puts OAuth tokens on an app's requests: it takes plain HTTP on loopback and
forwards it to the configured APIs with Authorization: Bearer set.

Usage: token-sidecar [command]

`)
	for _, c := range commands {
		_, body, _ := strings.Cut(c.help, "\n\n")
		first, _, _ := strings.Cut(strings.ReplaceAll(body, "\n", " "), ". ")
		fmt.Fprintf(&text, "  %s\n", c.name)
		config.Wrap(&text, strings.TrimSuffix(strings.TrimSpace(first), ".")+".", "      ")
	}
	text.WriteString(`
token-sidecar COMMAND --help says more. Settings are environment variables, and all faults are
reported at once. An upstream is on when its credential is set.
` + config.AboutFiles + `
token-sidecar --help all explains every setting, token-sidecar --help WORD those under the headings
with that word:

`)
	for _, topic := range config.HelpTopics() {
		text.WriteString("  " + topic + "\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// writeHelp writes the help of the whole program, or of settings.
func writeHelp(topics []string, w io.Writer) error {
	topic := strings.Join(topics, " ")
	if topic == "" {
		return writeUsage(w)
	}
	found, err := config.WriteHelp(w, topic)
	if err == nil && !found {
		return &ExitError{exitUsage, "no heading of settings has that word; see token-sidecar --help"}
	}
	return err
}

// asksForHelp reports whether an argument asks for the help text.
func asksForHelp(arg string) bool {
	return slices.Contains([]string{"help", "--help", "-h", "-help"}, arg)
}

// printConnectionHash prints what the body of a First Time Connection at PDX has to hold.
func printConnectionHash(settings *config.Config, stdout io.Writer) error {
	if !settings.PDX.ConnectionToken.IsSet() {
		return &ExitError{exitUsage, "pdx-connection-hash needs SIDECAR_PDX_CONNECTION_TOKEN"}
	}
	_, err := fmt.Fprintln(stdout, upstream.PDXConnectionHash(settings.PDX.ConnectionToken))
	return err
}
