package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"
)

// scenario is one way of loading a proxy.
type scenario struct {
	target string
	size   int // of the answer, in bytes
	conns  int
	rate   int // requests per second; 0: as many as can be

	subjects int // that requests are for in turn; 0: the route takes none
}

// sample is what one round, or the median of several, measured of one proxy.
type sample struct {
	perSecond float64
	cpu       float64 // microseconds per request
	p50, p99  time.Duration
	peakKiB   int
	opened    float64 // connections to the target per thousand requests
}

// pace is how long and how often things are measured.
type pace struct {
	warmup, length time.Duration
	rounds         int
}

// measure loads each contender in turn, round after round, so that whatever
// else the machine does meets all of them, and returns the medians by name.
func (b *bench) measure(ctx context.Context, s scenario, all []contender, p pace) (map[string]sample, error) {
	running := map[string]*proxyProcess{}
	defer func() {
		for _, proxy := range running {
			proxy.stop()
		}
	}()
	for _, c := range all {
		if c.speaks != nil && !c.speaks(s.target) {
			continue
		}
		proxy, err := c.start(ctx, s.target)
		if err != nil {
			return nil, fmt.Errorf("start of %s: %w", c.name, err)
		}
		running[c.name] = proxy
	}
	samples := map[string][]sample{}
	for range p.rounds {
		for _, c := range all { // in their order
			proxy := running[c.name]
			if proxy == nil {
				continue
			}
			got, err := b.round(ctx, s, proxy, p)
			if err != nil {
				return nil, fmt.Errorf("round of %s with %+v: %w", c.name, s, err)
			}
			samples[c.name] = append(samples[c.name], got)
		}
	}
	medians := map[string]sample{}
	for name, list := range samples {
		medians[name] = medianSample(list)
	}
	return medians, nil
}

// round loads one proxy from a process of its own, so that what the proxy's
// process uses is the proxy's alone.
func (b *bench) round(ctx context.Context, s scenario, proxy *proxyProcess, p pace) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, p.warmup+p.length+20*time.Second)
	defer cancel()
	load := exec.CommandContext(ctx, b.self, "-mode", "load", "-address", proxy.address,
		"-path", fmt.Sprintf("%s/bytes/%d", proxy.prefix, s.size), "-load-conns", strconv.Itoa(s.conns),
		"-rate", strconv.Itoa(s.rate), "-subjects", strconv.Itoa(s.subjects), "-warmup", p.warmup.String(), "-length", p.length.String())
	load.Stderr = os.Stderr
	out, err := load.StdoutPipe()
	if err != nil {
		return sample{}, err
	}
	proxy.resetPeak()
	if err := load.Start(); err != nil {
		return sample{}, err
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	before, err := proxy.cpuTime()
	opened := b.targets.opened[s.target].Load()
	var result loadResult
	lines.Scan()
	after, err2 := proxy.cpuTime()
	opened = b.targets.opened[s.target].Load() - opened
	err3 := json.Unmarshal(lines.Bytes(), &result)
	if err := errors.Join(load.Wait(), err, err2, err3); err != nil {
		return sample{}, err
	}
	if result.Requests == 0 {
		return sample{}, errors.New("not one request was answered")
	}
	peak, err := proxy.memory("VmHWM")
	return sample{
		perSecond: float64(result.Requests) / result.Seconds,
		cpu:       float64((after - before).Microseconds()) / float64(result.Requests),
		p50:       result.P50,
		p99:       result.P99,
		peakKiB:   peak,
		opened:    1000 * float64(opened) / float64(result.Requests),
	}, err
}

func medianSample(list []sample) sample {
	return sample{
		perSecond: median(list, func(s sample) float64 { return s.perSecond }),
		cpu:       median(list, func(s sample) float64 { return s.cpu }),
		p50:       median(list, func(s sample) time.Duration { return s.p50 }),
		p99:       median(list, func(s sample) time.Duration { return s.p99 }),
		peakKiB:   median(list, func(s sample) int { return s.peakKiB }),
		opened:    median(list, func(s sample) float64 { return s.opened }),
	}
}

// median returns the middle of the values of a list that is not empty, the
// upper one of an even number.
func median[T any, V cmp.Ordered](list []T, value func(T) V) V {
	values := make([]V, len(list))
	for i, item := range list {
		values[i] = value(item)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
