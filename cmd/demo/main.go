// Command demo runs the real sidecar and simulated providers in one process,
// on loopback: nothing to install, no credentials.
//
//	go run ./cmd/demo                 prints curl lines and shows each token request, until Ctrl-C
//	go run ./cmd/demo -once           drives every upstream itself and checks what comes back
//	go run ./cmd/demo -trouble NAME   has something go wrong, to practise with; list lists what can
//
// With -v the sidecar's own log lines are shown too.
//
// main.go reads the flags; start.go starts the providers, an embedded Redis, the sidecar
// and a replica of it, which reach that Redis by redis.go. watch.go shows a person what to type, and each token request
// that comes of it; trouble.go is what can go wrong meanwhile; once.go plays all rows and checks
// what comes of them. providers.go is
// the table of the simulated providers, rows.go the requests to each of them and their
// right outcome. request.go is one request of an app, and demo.go what all of these see of
// the sidecar that runs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// main runs the demo until it is done or interrupted.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run is the program: it blocks until the rows are played (-once) or ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	once := flags.Bool("once", false, "drive every upstream once, print a table, fail if a row is wrong")
	name := flags.String("trouble", "", "have this go wrong; list lists what can")
	verbose := flags.Bool("v", false, "show the sidecar's log, with a line per request")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || *once && *name != "" {
		return fmt.Errorf("there are no arguments beside -once, or -trouble, and -v")
	}
	if *name != "" {
		return runTrouble(ctx, *name, stdout, stderr)
	}
	if *once {
		// The rows fail on purpose here and there, and say so themselves.
		return runOnce(ctx, stdout, logger(stderr, *verbose, zerolog.ErrorLevel))
	}
	return runUntilDone(ctx, stdout, logger(stderr, *verbose, zerolog.WarnLevel))
}

// logger returns a logger for people, of the level quiet unless more was asked for.
func logger(w io.Writer, verbose bool, quiet zerolog.Level) zerolog.Logger {
	if verbose {
		quiet = zerolog.InfoLevel
	}
	console := zerolog.ConsoleWriter{Out: zerolog.SyncWriter(w), TimeFormat: time.TimeOnly, NoColor: true}
	return zerolog.New(console).Level(quiet).With().Timestamp().Logger()
}

// onceLimit makes a hang a failure.
const onceLimit = 2 * time.Minute

// runOnce plays all rows once.
func runOnce(ctx context.Context, stdout io.Writer, log zerolog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, onceLimit)
	defer cancel()
	// Nothing but ledger's token comes near its end while the rows are played,
	// so that every token request has one cause.
	d, err := start(ctx, anyPort, anyPort, lives{others: 5 * time.Minute, ledger: 3 * time.Second}, log)
	if err != nil {
		return err
	}
	defer d.stop()
	return d.once(ctx, stdout)
}

// runTrouble has something go wrong until ctx ends.
func runTrouble(ctx context.Context, name string, stdout, stderr io.Writer) error {
	if name == "list" {
		for _, t := range troubles() {
			_, _ = fmt.Fprintln(stdout, t.name)
		}
		return nil
	}
	t, err := findTrouble(name)
	if err != nil {
		return err
	}
	d, end, err := startTrouble(ctx, t, free("127.0.0.1:8080"), free("127.0.0.1:9090"), lives{others: shownLife, ledger: shownLife}, logger(stderr, false, zerolog.WarnLevel))
	if err != nil {
		return err
	}
	defer end()
	d.onCall(stdout)
	d.live(ctx, t, peace)
	_, _ = fmt.Fprintf(stdout, "\n# It was this: %s.\n", t.what)
	return nil
}

// runUntilDone shows what to type, and token requests, until ctx ends.
func runUntilDone(ctx context.Context, stdout io.Writer, log zerolog.Logger) error {
	d, err := start(ctx, free("127.0.0.1:8080"), free("127.0.0.1:9090"), lives{others: shownLife, ledger: shownLife}, log)
	if err != nil {
		return err
	}
	defer d.stop()
	d.introduce(stdout)
	d.watch(ctx, stdout)
	return nil
}
