package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// auditWriter hands lines to the kernel from a goroutine of its own: those that come at the same
// time in one write, and none waits longer than auditPatience for a disk or a reader that stands
// still. A line that nobody waits for goes with the next one that somebody does, or after
// noteDelay. Its methods are safe for concurrent use.
type auditWriter struct {
	out   *auditOut
	count func(outcome string, lines int)
	log   zerolog.Logger
	queue chan *queuedLine // nil among them says that there are notes
	stop  chan struct{}    // closed by close
	done  chan struct{}    // closed when all was written

	mu    sync.Mutex // guards notes; not held over I/O
	notes []byte     // whole lines that nobody waits for

	failing atomic.Pointer[string] // why the last line was not written; nil if it was, or there was none
}

// queuedLine is a line that somebody waits for.
type queuedLine struct {
	text    []byte
	taken   atomic.Bool // by the writer, or by whoever no longer waits for it
	written chan error  // holds one
}

const (
	auditPatience = time.Second // for one line
	noteDelay     = 20 * time.Millisecond
	maxQueued     = 1024      // lines
	maxWritten    = 128       // lines of one write, beside the notes
	maxNotes      = 512 << 10 // bytes
)

// errNotWritten is the error of a line that the kernel did not take.
var errNotWritten = errors.New("the line was not written")

// errOnItsWay is the error of a line that was handed to the kernel, which has not taken it yet.
var errOnItsWay = errors.New("the line is on its way")

// newAuditWriter returns a writer of lines to out, which it closes. It tells count what became of
// them: written, failed, or dropped if nobody waited.
func newAuditWriter(out *auditOut, count func(outcome string, lines int), log zerolog.Logger) *auditWriter {
	w := &auditWriter{out: out, count: count, log: log, queue: make(chan *queuedLine, maxQueued),
		stop: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

// write returns when the kernel has taken a line. If it fails, the line is not there; with
// errOnItsWay it may come.
func (w *auditWriter) write(ctx context.Context, text []byte) error {
	l := &queuedLine{text: text, written: make(chan error, 1)}
	select {
	case w.queue <- l:
	default:
		w.count("failed", 1)
		return errNotWritten
	}
	patience := time.NewTimer(auditPatience)
	defer patience.Stop()
	err := errNotWritten
	select {
	case err := <-l.written:
		return err
	case <-ctx.Done():
		err = ctx.Err()
	case <-patience.C:
		w.tell("timeout")
	case <-w.done:
	}
	if l.taken.Swap(true) {
		return errors.Join(err, errOnItsWay)
	}
	w.count("failed", 1)
	return err
}

// note takes a line that nobody waits for, and drops it if too many are there.
func (w *auditWriter) note(text []byte) {
	w.mu.Lock()
	first, room := len(w.notes) == 0, len(w.notes)+len(text) <= maxNotes
	if room {
		w.notes = append(w.notes, text...)
	}
	w.mu.Unlock()
	switch {
	case !room:
		w.count("dropped", 1)
	case first:
		time.AfterFunc(noteDelay, func() {
			select {
			case w.queue <- nil:
			default: // those in the queue take the notes along
			}
		})
	}
}

// takeNotes returns the notes.
func (w *auditWriter) takeNotes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	notes := w.notes
	w.notes = nil
	return notes
}

// close writes what is on its way, for no longer than auditPatience.
func (w *auditWriter) close() {
	close(w.stop)
	select {
	case <-w.done:
	case <-time.After(auditPatience): // the disk or the reader stands still
	}
}

// run writes lines until close was called and none is left.
func (w *auditWriter) run() {
	defer close(w.done)
	defer w.out.close()
	for {
		select {
		case l := <-w.queue:
			w.writeAll(l)
		case <-w.stop:
			for len(w.queue) > 0 {
				w.writeAll(<-w.queue)
			}
			w.writeAll(nil)
			return
		}
	}
}

// writeAll writes the notes, the line first if it is not nil, and the lines behind it, in one write.
func (w *auditWriter) writeAll(first *queuedLine) {
	text := w.takeNotes()
	notes := len(text)
	var lines []*queuedLine
	for l := first; ; {
		if l != nil && !l.taken.Swap(true) {
			lines, text = append(lines, l), append(text, l.text...)
		}
		if len(lines) == maxWritten || len(w.queue) == 0 {
			break
		}
		l = <-w.queue // it does not block: no other goroutine takes from the queue
	}
	if len(text) == 0 {
		return
	}
	n, err := w.out.write(text)
	w.settle(text[:notes], lines, n, err)
}

// settle tells what became of notes and lines, of which n bytes were written.
func (w *auditWriter) settle(notes []byte, lines []*queuedLine, n int, err error) {
	whole := bytes.Count(notes[:min(n, len(notes))], []byte("\n"))
	w.count("dropped", bytes.Count(notes, []byte("\n"))-whole)
	end := len(notes)
	for _, l := range lines {
		if end += len(l.text); end <= n {
			whole++
			l.written <- nil
		} else {
			w.count("failed", 1)
			l.written <- errNotWritten
		}
	}
	w.count("written", whole)
	if err != nil {
		w.tell(auditCause(err))
	} else if w.failing.Load() != nil && w.failing.Swap(nil) != nil {
		w.log.Info().Msg("audit lines are written again")
	}
}

// tell notes why a line was not written, and logs it if the one before was.
func (w *auditWriter) tell(cause string) {
	if w.failing.Swap(&cause) == nil {
		w.log.Error().Str("cause", cause).Msg("audit lines cannot be written; requests for subjects are refused")
	}
}

// auditCause returns what the system says of a failed write, without a path.
func auditCause(err error) string {
	if code, ok := errors.AsType[syscall.Errno](err); ok {
		return code.Error()
	}
	if errors.Is(err, errNoFile) {
		return errNoFile.Error()
	}
	return fmt.Sprintf("%T", err)
}

// auditOut is where lines go, each of them on a line of its own. It belongs to one goroutine.
type auditOut struct {
	to     io.Writer
	path   string    // of the file that to is; empty if it is none
	looked time.Time // when the file was last known to be what path names
	torn   bool      // what is there ends within a line
}

// openAudit returns the file, which it makes if it is not there. Only the user of the sidecar may
// read it.
func openAudit(path string) (*auditOut, error) {
	if info, err := os.Stat(path); err == nil && info.Mode()&(os.ModeDir|os.ModeNamedPipe|os.ModeSocket) != 0 {
		return nil, errNoFile
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the file of the audit: %w", err)
	}
	return &auditOut{to: file, path: path, looked: time.Now(), torn: endsWithinLine(path)}, nil
}

// errNoFile is the error of a directory, a named pipe or a socket.
var errNoFile = errors.New("it names no file; to write to stdout, set it to stdout")

// endsWithinLine reports whether a file does, or may, if it cannot be read.
func endsWithinLine(path string) bool {
	info, err := os.Stat(path)
	if err != nil || info.Size() == 0 {
		return false
	}
	file, err := os.Open(path)
	if err != nil {
		return true
	}
	defer func() { _ = file.Close() }()
	last := make([]byte, 1)
	_, err = file.ReadAt(last, info.Size()-1)
	return err != nil || last[0] != '\n'
}

// write appends whole lines, and returns how many bytes of them were written. It follows a file that
// was moved or removed within a second.
func (o *auditOut) write(lines []byte) (n int, err error) {
	if err := o.follow(); err != nil {
		return 0, err
	}
	before := 0
	if o.torn {
		lines, before = append([]byte{'\n'}, lines...), 1
	}
	n, err = o.to.Write(lines)
	if n > 0 {
		o.torn = lines[n-1] != '\n'
	}
	return max(0, n-before), err
}

// follow opens the file anew if path does not name it any more.
func (o *auditOut) follow() error {
	now := time.Now()
	if o.path == "" || now.Sub(o.looked) <= time.Second {
		return nil
	}
	named, err := os.Stat(o.path)
	open, err2 := o.to.(*os.File).Stat()
	if err != nil || err2 != nil || !os.SameFile(named, open) {
		next, err := openAudit(o.path)
		if err != nil {
			return err
		}
		o.close()
		*o = *next
	}
	o.looked = now
	return nil
}

// close closes the file, if there is one.
func (o *auditOut) close() {
	if o.path != "" {
		_ = o.to.(*os.File).Close()
	}
}
