//go:build unix

package targetconn

import (
	"io"
	"os"
	"syscall"
)

// intake reads for a wire. It says that the reader waits in the very moment in which it
// finds nothing to read, so that there is no time between the two. It belongs to the
// reader of the wire.
type intake struct {
	wire *wire
	take func(fd uintptr) bool // tryRead; made once, so that reading allocates nothing
	into []byte                // where tryRead reads to
	n    int                   // what tryRead returns, beside whether it is done
	err  error
}

// init makes i read for w, whose peeker is ready.
func (i *intake) init(w *wire) { i.wire, i.take = w, i.tryRead }

// read is Read of the connection below the wire.
func (i *intake) read(b []byte) (int, error) {
	raw := i.wire.peeker.raw
	if raw == nil || len(b) == 0 {
		return i.wire.readBlindly(b)
	}
	i.into = b
	err := raw.Read(i.take)
	i.into = nil
	if err != nil {
		return 0, err
	}
	return i.n, i.err
}

// tryRead reads what is there. It reports false if there is nothing, and has to be
// called again when there is.
func (i *intake) tryRead(fd uintptr) bool {
	i.wire.setWaiting(false)
	for {
		i.n, i.err = syscall.Read(int(fd), i.into)
		switch {
		case i.err == syscall.EINTR:
			continue
		case i.err == syscall.EAGAIN || i.err == syscall.EWOULDBLOCK:
			i.wire.setWaiting(true)
			return false
		case i.err != nil:
			i.n, i.err = 0, os.NewSyscallError("read", i.err)
		case i.n == 0:
			i.err = io.EOF
		}
		return true
	}
}
