// Command bench measures what the sidecar costs, beside proxies that set a
// constant header, all on loopback and with one command:
//
//	go run ./cmd/bench          a short set, about three minutes
//	go run ./cmd/bench -full    every target, size and number of connections
//	go run ./cmd/bench -quick   under 30 seconds, to see that it works
//
// main.go has the flags; suite.go what is measured; round.go how;
// contenders.go the proxies; target.go what stands behind them; load.go the
// load generator and bare.go the bare proxy, both this binary again in a mode
// of its own; subjects.go one subject and many; tokens.go the cache alone; tokenloads.go what one load of a token
// costs, with bareload.go beside it and endpoint.go behind it; footprint.go start, size and memory; table.go the
// output; profile.go what the compiler is told.
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

// options are what the flags say.
type options struct {
	quick, full bool
	targets     string
	sizes       string
	conns       string
	rounds      int
	skipTokens  bool
	against     string

	mode   string // of a child process; empty: the bench itself
	load   loadOptions
	bare   bareOptions
	tokens int
	loads  tokenLoadOptions
}

func parseOptions(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&o.quick, "quick", false, "a few short rounds, to see that everything works")
	f.BoolVar(&o.full, "full", false, "every target, size and number of connections")
	f.StringVar(&o.targets, "targets", "", "choose among plain,tls-h1,tls-h2")
	f.StringVar(&o.sizes, "sizes", "", "sizes of the answer in bytes, such as 1024,102400")
	f.StringVar(&o.conns, "conns", "", "numbers of connections, such as 1,32,256")
	f.IntVar(&o.rounds, "rounds", 0, "rounds of each measurement, at least 1 (default 5, with -full 7)")
	f.BoolVar(&o.skipTokens, "no-tokens", false, "leave the cache alone out")
	f.StringVar(&o.against, "against", "", "another binary of the sidecar, to be measured in the same rounds")
	f.StringVar(&o.mode, "mode", "", "used by the bench itself for its child processes")
	f.StringVar(&o.load.address, "address", "", "mode load: the proxy to load")
	f.StringVar(&o.load.path, "path", "", "mode load: the path to ask for")
	f.IntVar(&o.load.conns, "load-conns", 1, "mode load: connections")
	f.IntVar(&o.load.rate, "rate", 0, "mode load: requests per second in all; 0: as many as can be")
	f.IntVar(&o.load.subjects, "subjects", 0, "mode load: subjects to ask for in turn; 0: none")
	f.DurationVar(&o.load.warmup, "warmup", 0, "mode load: time before the measurement")
	f.DurationVar(&o.load.length, "length", 0, "mode load: time of the measurement")
	f.StringVar(&o.bare.listen, "listen", "", "modes bare and endpoint: address to listen at")
	f.StringVar(&o.bare.target, "target", "", "mode bare: URL to forward to")
	f.StringVar(&o.bare.roots, "roots", "", "mode bare: PEM file with the roots for the target")
	f.IntVar(&o.tokens, "tokens", 10_000, "modes tokens and refresh: keys; mode token-loads: loads")
	f.StringVar(&o.loads.redis, "redis", "", "mode token-loads: address of Redis")
	f.StringVar(&o.loads.tokenURL, "token-url", "", "mode token-loads: URL of the token endpoint")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.rounds < 0 || o.quick && o.full {
		return o, errors.New("no arguments are taken, rounds are positive, and -quick excludes -full")
	}
	return o, nil
}
