package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// loadOptions say how a load generator loads one proxy.
type loadOptions struct {
	address, path  string
	conns, rate    int
	subjects       int // asked for in turn; 0: none
	warmup, length time.Duration
}

// loadResult is what a load generator prints at its end.
type loadResult struct {
	Requests int
	P50, P99 time.Duration
	Seconds  float64
}

// began is the line that a load generator prints when the measurement begins.
const began = "began"

// runLoad keeps every connection busy with one request after the other, or
// sends at a fixed rate. In the latter case a request's time counts from when
// it was due, so that a stall is not hidden by those that could not be sent.
func runLoad(ctx context.Context, o loadOptions, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	begin := start.Add(o.warmup)
	loaders := make([]loader, o.conns)
	failures := make(chan error, o.conns)
	var all sync.WaitGroup
	for i := range loaders {
		l := &loaders[i]
		l.begin, l.end = begin, begin.Add(o.length)
		l.subject = i
		if o.rate > 0 {
			l.every = time.Second * time.Duration(o.conns) / time.Duration(o.rate)
			l.due = start.Add(l.every * time.Duration(i) / time.Duration(o.conns))
		}
		all.Go(func() {
			if err := l.run(ctx, o); err != nil {
				failures <- err
				cancel()
			}
		})
	}
	select {
	case <-time.After(time.Until(begin)):
		fmt.Fprintln(out, began)
	case <-ctx.Done():
	}
	all.Wait()
	if len(failures) > 0 {
		return <-failures
	}
	sum := &loaders[0].times
	for i := range loaders[1:] {
		sum.merge(&loaders[i+1].times)
	}
	return json.NewEncoder(out).Encode(loadResult{sum.total, sum.quantile(.5), sum.quantile(.99), o.length.Seconds()})
}

// loader is one keep-alive connection.
type loader struct {
	begin, end time.Time
	every      time.Duration // zero: no fixed rate
	due        time.Time     // when the next request is to be sent, at a fixed rate
	subject    int           // of the next request, before it is taken modulo
	times      histogram
}

func (l *loader) run(ctx context.Context, o loadOptions) error {
	conn, err := net.Dial("tcp", o.address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	head := []byte("GET " + o.path + " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: application/json\r\n")
	request := append(slices.Clone(head), "\r\n"...)
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		sent := l.pace()
		if !sent.Before(l.end) && l.times.total > 0 { // at least one, however slow the machine is
			return nil
		}
		if o.subjects > 0 {
			request = fmt.Appendf(append(request[:0], head...), "X-Token-Subject: %d\r\n\r\n", 1000+l.subject%o.subjects)
			l.subject += o.conns
		}
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if err := readAnswer(r); err != nil {
			return err
		}
		if done := time.Now(); !sent.Before(l.begin) && (done.Before(l.end) || l.times.total == 0) {
			l.times.add(done.Sub(sent))
		}
	}
}

// pace waits until the next request is due and returns from when it counts.
func (l *loader) pace() time.Time {
	if l.every == 0 {
		return time.Now()
	}
	due := l.due
	l.due = due.Add(l.every)
	time.Sleep(time.Until(due))
	return due
}

// readAnswer reads one answer with a Content-Length and no more than that.
func readAnswer(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
		return fmt.Errorf("the answer is %q", bytes.TrimSpace(line))
	}
	length := -1
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		const name = "content-length:"
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(name):]))); err != nil {
				return err
			}
		}
	}
	if length <= 0 {
		return errors.New("the answer has no Content-Length, or is not the target's, which is never empty")
	}
	_, err = r.Discard(length)
	return err
}
