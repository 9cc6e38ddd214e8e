package proxy

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// auditWriter hands lines to the kernel from a goroutine of its own: those that come while it writes
// go together in the next write, and nobody waits longer than auditPatience for a disk or a reader
// that stands still. A line that nobody waits for goes with the next one that somebody does, or after
// noteDelay. Its methods are safe for concurrent use.
type auditWriter struct {
	out   *auditOut
	count func(outcome string, lines int)
	log   zerolog.Logger
	wake  chan struct{} // holds one when there is something to write
	soon  *time.Timer   // wakes the writer for notes
	stop  chan struct{} // closed by close
	done  chan struct{} // closed when all was written

	mu    sync.Mutex // guards all below; not held over I/O
	next  *batch     // lines for the next write
	notes []byte     // whole lines that nobody waits for

	failing atomic.Pointer[string] // why the last line was not written; nil if it was, or there was none
}

// batch is lines of one write, all of which somebody waits for. The mutex of the auditWriter guards it
// until settled is closed; then it changes no more.
type batch struct {
	text     []byte
	lines    int
	patience *time.Timer   // gives the batch up; set with the first line
	settled  chan struct{} // closed when it is known what became of it, or it was given up
	over     bool          // settled is closed
	written  int           // how many bytes of text the kernel took
	err      error         // of the lines behind those
}

const (
	auditPatience = time.Second // for a batch, from its first line on
	noteDelay     = 20 * time.Millisecond
	maxQueued     = 1024      // lines
	maxNotes      = 512 << 10 // bytes
)

// errNotWritten is the error of a line that the kernel did not take.
var errNotWritten = errors.New("the line was not written")

// errOnItsWay is the error of a line that was handed to the kernel, which has not taken it yet.
var errOnItsWay = errors.New("the line is on its way")

// newAuditWriter returns a writer of lines to out, which it closes. It tells count what became of
// them: written, failed, or dropped if nobody waited.
func newAuditWriter(out *auditOut, count func(outcome string, lines int), log zerolog.Logger) *auditWriter {
	w := &auditWriter{out: out, count: count, log: log, next: newBatch(0), wake: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{})}
	w.soon = time.AfterFunc(noteDelay, w.rouse)
	go w.run()
	return w
}

// newBatch returns an empty one with room for so many bytes.
func newBatch(room int) *batch {
	return &batch{text: make([]byte, 0, room), settled: make(chan struct{})}
}

// write returns when the kernel has taken a line, after auditPatience at the latest. If it fails, the
// line is not there; with errOnItsWay it may come.
func (w *auditWriter) write(text []byte) error {
	w.mu.Lock()
	b := w.next
	if b.lines == maxQueued {
		w.mu.Unlock()
		w.count("failed", 1)
		return errNotWritten
	}
	if b.lines++; b.lines == 1 {
		b.patience = time.AfterFunc(auditPatience, func() { w.giveUp(b) })
		w.rouse()
	}
	b.text = append(b.text, text...)
	end := len(b.text)
	w.mu.Unlock()
	<-b.settled
	if end <= b.written {
		return nil
	}
	return b.err
}

// note takes a line that nobody waits for, and drops it if too many are there.
func (w *auditWriter) note(text []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case len(w.notes)+len(text) > maxNotes:
		w.count("dropped", 1)
		return
	case len(w.notes) == 0:
		w.soon.Reset(noteDelay)
	}
	w.notes = append(w.notes, text...)
}

// rouse has the writer look for something to write.
func (w *auditWriter) rouse() {
	select {
	case w.wake <- struct{}{}:
	default: // it is about to
	}
}

// giveUp ends the wait for a batch that stands still. If the kernel has not got it, nobody writes it.
func (w *auditWriter) giveUp(b *batch) {
	w.mu.Lock()
	if b.over {
		w.mu.Unlock()
		return
	}
	b.over, b.err = true, errOnItsWay
	if b == w.next {
		b.err, w.next = errNotWritten, newBatch(0)
		w.count("failed", b.lines)
	}
	w.mu.Unlock()
	w.tell("timeout")
	close(b.settled)
}

// close writes what is on its way, for no longer than auditPatience.
func (w *auditWriter) close() {
	w.soon.Stop()
	close(w.stop)
	select {
	case <-w.done:
	case <-time.After(auditPatience): // the disk or the reader stands still
	}
}

// run writes until close was called and nothing is left.
func (w *auditWriter) run() {
	defer close(w.done)
	defer w.out.close()
	for {
		select {
		case <-w.wake:
			w.writeNext()
		case <-w.stop:
			w.writeNext()
			return
		}
	}
}

// writeNext writes the notes, and the lines that somebody waits for, in one write.
func (w *auditWriter) writeNext() {
	w.mu.Lock()
	notes, b := w.notes, w.next
	size := len(notes) + len(b.text)
	if size > 0 { // the next will be about as long
		w.notes, w.next = make([]byte, 0, size), newBatch(len(b.text))
	}
	w.mu.Unlock()
	if size == 0 {
		return
	}
	text := append(notes, b.text...)
	n, err := w.out.write(text)
	w.settle(text[:len(notes)], b, n, err)
}

// settle tells what became of notes and of a batch behind them, of which n bytes were written.
func (w *auditWriter) settle(notes []byte, b *batch, n int, err error) {
	kept := bytes.Count(notes[:min(n, len(notes))], []byte("\n"))
	w.count("dropped", bytes.Count(notes, []byte("\n"))-kept)
	n = max(0, n-len(notes))
	whole := bytes.Count(b.text[:n], []byte("\n"))
	w.count("failed", b.lines-whole)
	w.count("written", kept+whole)
	if err != nil {
		w.tell(auditCause(err))
	} else if w.failing.Load() != nil && w.failing.Swap(nil) != nil {
		w.log.Info().Msg("audit lines are written again")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if b.lines > 0 && !b.over {
		b.over, b.written, b.err = true, n, errNotWritten
		b.patience.Stop()
		close(b.settled)
	}
}

// tell notes why a line was not written, and logs it if the one before was.
func (w *auditWriter) tell(cause string) {
	if w.failing.Swap(&cause) == nil {
		w.log.Error().Str("cause", cause).Msg("audit lines cannot be written; requests for subjects are refused")
	}
}
