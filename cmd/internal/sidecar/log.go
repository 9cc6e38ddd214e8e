package sidecar

import (
	"io"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cmd/internal/config"
	"token-sidecar/metrics"
)

// newLogger returns the program's logger and what writes its last lines.
func newLogger(c *config.Config, stderr io.Writer, m *metrics.Metrics) (zerolog.Logger, func()) {
	lines := newLineWriter(stderr, m.LogDropped)
	var out io.Writer = lines
	if c.LogFormat == "console" {
		out = zerolog.ConsoleWriter{Out: lines, TimeFormat: time.TimeOnly}
	}
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		level = zerolog.InfoLevel
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger(), lines.close
}

const (
	maxWaitingLog = 512 << 10             // bytes that wait for a slow reader before they are dropped
	logPause      = 10 * time.Millisecond // in which lines gather, to be written together
	lastLines     = time.Second           // for the last lines, when the program ends
)

// lineWriter writes log lines from a goroutine of its own: a reader of stderr
// that stops must not stop the requests. Write never blocks on it; if too many
// lines wait they are dropped, so that the latest ones are there when somebody
// reads again. The well-known buffers of this kind write line by
// line; gathering them saves a system call for each request.
type lineWriter struct {
	dropped func(lines int)
	done    chan struct{} // closed when all was written

	mu      sync.Mutex // guards all below; not held over I/O
	changed sync.Cond
	waiting []byte
	lines   int // in waiting
	closed  bool
}

// newLineWriter returns a writer of lines to out. It tells dropped how many lines were
// lost, each time that some are.
func newLineWriter(out io.Writer, dropped func(lines int)) *lineWriter {
	w := &lineWriter{dropped: dropped, done: make(chan struct{})}
	w.changed.L = &w.mu
	go w.run(out)
	return w
}

// Write takes one line.
func (w *lineWriter) Write(line []byte) (int, error) {
	lost := 0
	w.mu.Lock()
	if len(w.waiting)+len(line) > maxWaitingLog {
		lost = w.lines
		w.waiting, w.lines = w.waiting[:0], 0
	}
	w.waiting = append(w.waiting, line...)
	w.lines++
	w.mu.Unlock()
	if lost > 0 {
		w.dropped(lost)
	}
	w.changed.Signal()
	return len(line), nil
}

// run writes what waits until the writer is closed and nothing is left.
func (w *lineWriter) run(out io.Writer) {
	defer close(w.done)
	var writing []byte
	for {
		w.mu.Lock()
		for len(w.waiting) == 0 && !w.closed {
			w.changed.Wait()
		}
		if len(w.waiting) == 0 {
			w.mu.Unlock()
			return
		}
		w.waiting, writing = writing[:0], w.waiting
		w.lines = 0
		closed := w.closed
		w.mu.Unlock()
		_, _ = out.Write(writing)
		if cap(writing) > maxWaitingLog/8 {
			writing = nil // a burst is over; its buffer need not stay
		}
		if !closed {
			time.Sleep(logPause)
		}
	}
}

// close writes what waits, for no longer than lastLines.
func (w *lineWriter) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.changed.Signal()
	select {
	case <-w.done:
	case <-time.After(lastLines): // nobody reads
	}
}
