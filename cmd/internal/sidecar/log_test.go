package sidecar

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestLogKeepsLinesWhole writes from many goroutines to a reader that keeps up.
func TestLogKeepsLinesWhole(t *testing.T) {
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w := newLineWriter(out, func(int) { t.Error("a line was dropped") })
	seen := make(chan map[string]bool)
	go func() {
		lines := map[string]bool{}
		for scan := bufio.NewScanner(r); scan.Scan(); {
			lines[scan.Text()] = true
		}
		seen <- lines
	}()
	var all sync.WaitGroup
	for g := range 20 {
		all.Go(func() {
			for i := range 200 {
				_, _ = fmt.Fprintf(w, "line %d of %d\n", i, g)
			}
		})
	}
	all.Wait()
	w.close()
	_ = out.Close()
	lines := <-seen
	for g := range 20 {
		for i := range 200 {
			if !lines[fmt.Sprintf("line %d of %d", i, g)] {
				t.Errorf("line %d of %d is lost or torn", i, g)
			}
		}
	}
}

// TestLogNeverBlocks has nobody read: lines are dropped and counted, memory
// is bounded, and the program ends.
//
// Case J8.
func TestLogNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := io.Pipe()
		var dropped atomic.Int64
		w := newLineWriter(out, func(n int) { dropped.Add(int64(n)) })
		began := time.Now()
		line := make([]byte, 1000)
		for range 10_000 {
			_, _ = w.Write(line)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the lines waited for %v", took)
		}
		if n := dropped.Load(); n < 8000 || n > 9999 {
			t.Errorf("%d of 10,000 lines of 1,000 bytes were dropped", n)
		}
		w.close()
		if took := time.Since(began); took != lastLines {
			t.Errorf("the end took %v, want %v", took, lastLines)
		}
		_ = r.Close()
		<-w.done
	})
}
