package proxy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

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
