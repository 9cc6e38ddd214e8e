package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

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

// plan is what one run measures.
type plan struct {
	pace
	scenarios []scenario
	refresh   bool  // whether short-lived tokens are measured beside long-lived ones
	subjects  bool  // whether a thousand subjects are measured beside one
	tokens    []int // numbers of cached tokens
	scheduled int   // keys that the scheduler is measured with; 0: not at all
	loads     int   // of tokens, of each kind in each round; 0: they are not measured
	starts    int
}

// plan returns what the flags ask for.
func (o options) plan() (plan, error) {
	p := plan{
		pace: pace{200 * time.Millisecond, 800 * time.Millisecond, 5},
		scenarios: []scenario{
			{plain, 1 << 10, 32, 0, 0}, {plain, 1 << 10, 1, 0, 0}, {plain, 1 << 10, 256, 0, 0}, {plain, 100 << 10, 32, 0, 0},
			{tlsH1, 1 << 10, 32, 0, 0}, {tlsH2, 1 << 10, 32, 0, 0},
		},
		refresh: true, subjects: true, tokens: []int{10_000, 1_000_000}, scheduled: 100_000, loads: 4000, starts: 9,
	}
	switch {
	case o.quick:
		p.pace = pace{50 * time.Millisecond, 150 * time.Millisecond, 5}
		p.scenarios = []scenario{{plain, 1 << 10, 32, 0, 0}, {tlsH2, 1 << 10, 32, 0, 0}}
		p.refresh, p.subjects, p.tokens, p.scheduled, p.loads, p.starts = false, false, []int{10_000}, 10_000, 1000, 3
	case o.full:
		p.pace = pace{300 * time.Millisecond, 1500 * time.Millisecond, 7}
		o.targets, o.sizes, o.conns = orElse(o.targets, "plain,tls-h1,tls-h2"), orElse(o.sizes, "1024,102400"), orElse(o.conns, "1,32,256")
	}
	if o.rounds > 0 {
		p.rounds = o.rounds
	}
	if o.skipTokens {
		p.tokens, p.scheduled, p.loads = nil, 0, 0
	}
	var err error
	if o.targets != "" || o.sizes != "" || o.conns != "" {
		p.scenarios, err = o.choose()
	}
	return p, err
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// choose returns every combination of what the flags name.
func (o options) choose() ([]scenario, error) {
	sizes, err := numbers(orElse(o.sizes, "1024"), maxAnswer)
	conns, err2 := numbers(orElse(o.conns, "32"), 1024)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	var all []scenario
	for target := range strings.SplitSeq(orElse(o.targets, plain), ",") {
		if !slices.Contains([]string{plain, tlsH1, tlsH2}, target) {
			return nil, fmt.Errorf("no target is named %q", target)
		}
		for _, size := range sizes {
			for _, n := range conns {
				all = append(all, scenario{target, size, n, 0, 0})
			}
		}
	}
	return all, nil
}

// numbers reads a list of numbers from 1 to most.
func numbers(list string, most int) ([]int, error) {
	var all []int
	for item := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(item)
		if err != nil || n < 1 || n > most {
			return nil, fmt.Errorf("%q is not a number from 1 to %d", item, most)
		}
		all = append(all, n)
	}
	return all, nil
}
