package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

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

// runSuite measures everything and prints it as it comes.
func runSuite(ctx context.Context, o options, out io.Writer) error {
	p, err := o.plan()
	if err != nil {
		return err
	}
	if runtime.GOOS != "linux" {
		return errors.New("the processor time of a process is read from /proc, which only Linux has")
	}
	b, err := newBench(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	b.against = o.against
	all, missing := b.contenders()
	printHead(out, p, missing)
	for _, s := range p.scenarios {
		medians, err := b.measure(ctx, s, all, p.pace)
		if err != nil {
			return err
		}
		printScenario(out, s, all, medians)
	}
	if p.refresh {
		if err := b.measureRefreshing(ctx, p.pace, out); err != nil {
			return err
		}
	}
	if p.subjects {
		if err := b.measureSubjects(ctx, p.pace, out); err != nil {
			return err
		}
	}
	if err := b.measureTokens(ctx, p, out); err != nil {
		return err
	}
	if err := b.measureTokenLoads(ctx, p, out); err != nil {
		return err
	}
	return b.measureFootprint(ctx, p.starts, out)
}

// measureRefreshing compares tokens that are replaced all the time with tokens
// that never are, at a fixed rate.
func (b *bench) measureRefreshing(ctx context.Context, p pace, out io.Writer) error {
	starter := func(life string) func(context.Context, string) (*proxyProcess, error) {
		return func(ctx context.Context, target string) (*proxyProcess, error) {
			if life == "1 s" {
				return b.startSidecar(ctx, b.sidecar, target, b.short)
			}
			return b.startSidecar(ctx, b.sidecar, target, b.tokens)
		}
	}
	all := []contender{{name: "tokens of 1 s", start: starter("1 s")}, {name: "tokens of 1 h", start: starter("1 h")}}
	p.length = max(p.length, 2*time.Second) // so that each round has refreshes
	s := scenario{plain, 1 << 10, 32, 2000, 0}
	medians, err := b.measure(ctx, s, all, p)
	if err != nil {
		return err
	}
	printRefreshing(out, s, all, medians)
	return nil
}
