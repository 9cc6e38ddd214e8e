// Command bench measures what the sidecar costs, beside proxies that set a
// constant header, all on loopback and with one command:
//
//	go run ./cmd/bench          a short set, about three minutes
//	go run ./cmd/bench -full    every target, size and number of connections
//	go run ./cmd/bench -quick   under 30 seconds, to see that it works
//
// main.go chooses what this process is; the bench runs itself again for most of what it
// measures. suite.go is the order of the measurements: footprint.go start, size and memory; syscalls.go system calls;
// subjects.go one subject and many; tokens.go the cache alone; tokenloads.go what one
// load of a token costs, with bareload.go beside it and endpoint.go behind it. table.go
// prints them. plan.go says what is measured, by the flags; round.go how: one round
// after the other, in turns. load.go is the load generator, with the times in
// histogram.go. contenders.go are the proxies that are compared, process.go runs
// them, bare.go is the bare proxy, and target.go stands behind all of them.
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
)

// main runs the bench, or one of its child processes, until it is done or interrupted.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the command. It blocks until all is measured or ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	switch o.mode {
	case "":
		return runSuite(ctx, o, out)
	case "load":
		return runLoad(ctx, o.load, out)
	case "bare":
		return runBare(ctx, o.bare)
	case "tokens":
		return runTokens(ctx, o.tokens, out)
	case "refresh":
		return runRefresh(ctx, o.tokens, out)
	case "endpoint":
		return runEndpoint(ctx, o.bare.listen)
	case "token-loads":
		o.loads.rounds, o.loads.loads = o.rounds, o.tokens
		return runTokenLoads(ctx, o.loads, out)
	}
	return fmt.Errorf("no mode is named %q", o.mode)
}
