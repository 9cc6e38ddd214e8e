package main

import (
	"context"
	"errors"
	"io"
	"runtime"
	"time"
)

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
	if err := b.measureFootprint(ctx, p.starts, out); err != nil {
		return err
	}
	return b.measureSystemCalls(ctx, out)
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
