package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"
)

// measureFootprint prints the sidecar's size, its time to the first answer and
// its memory when idle.
func (b *bench) measureFootprint(ctx context.Context, starts int, out io.Writer) error {
	info, err := os.Stat(b.sidecar)
	if err != nil {
		return err
	}
	var times []time.Duration
	var idle []int
	for range starts {
		took, kib, err := b.firstAnswer(ctx)
		if err != nil {
			return err
		}
		times, idle = append(times, took), append(idle, kib)
	}
	fmt.Fprintf(out, "Start to first answer: %.1f ms; idle RSS: %.1f MiB; stripped binary: %.1f MiB\n",
		float64(median(times, func(d time.Duration) time.Duration { return d }).Microseconds())/1000,
		float64(median(idle, func(n int) int { return n }))/1024, float64(info.Size())/(1<<20))
	return nil
}

// firstAnswer starts a sidecar and returns the time to its first answer, and
// its memory a moment later, in KiB.
func (b *bench) firstAnswer(ctx context.Context) (time.Duration, int, error) {
	address, err := freeAddress()
	if err != nil {
		return 0, 0, err
	}
	cmd := exec.CommandContext(ctx, b.sidecar)
	cmd.Env = b.environ(address, plain, b.tokens)
	start := time.Now()
	proxy, err := startProxy(ctx, cmd, address, "/bench")
	if err != nil {
		return 0, 0, err
	}
	defer proxy.stop()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(start.Add(10 * time.Second)); err != nil {
		return 0, 0, err
	}
	if _, err := io.WriteString(conn, "GET /bench/bytes/1024 HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return 0, 0, err
	}
	if err := readAnswer(bufio.NewReader(conn)); err != nil {
		return 0, 0, err
	}
	took := time.Since(start)
	time.Sleep(300 * time.Millisecond)
	kib, err := proxy.memory("VmRSS")
	return took, kib, err
}
