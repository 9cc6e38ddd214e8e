//go:build unix

package proxy

import (
	"io"
	"net"
	"os"
	"syscall"
)

// peeker looks at a connection without taking anything from it. It is made once
// for each connection, so that a look allocates nothing. Like a connection it is
// for one exchange at a time.
type peeker struct {
	raw   syscall.RawConn // nil: it cannot look
	look  func(fd uintptr)
	quiet bool // nothing came, not even an end
}

func (p *peeker) init(c net.Conn) {
	if sc, ok := c.(syscall.Conn); ok {
		p.raw, _ = sc.SyscallConn()
	}
	p.look = func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		p.quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
	}
}

// untouched reports whether the target neither closed a kept connection nor
// sent anything on it unasked: the next request would take that for its answer.
func (p *peeker) untouched() bool {
	if p.raw == nil {
		return true
	}
	p.quiet = false
	return p.raw.Control(p.look) == nil && p.quiet // not Read: somebody may be reading
}

// intake reads from a wire, and notes that it waits when there was nothing to read.
type intake struct {
	wire *wire
	take func(fd uintptr) bool
	into []byte
	n    int
	err  error
}

func (i *intake) init(w *wire) { i.wire, i.take = w, i.tryRead }

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

// tryRead reports false if it has to be called again when there is something.
func (i *intake) tryRead(fd uintptr) bool {
	i.wire.note(false)
	for {
		i.n, i.err = syscall.Read(int(fd), i.into)
		switch {
		case i.err == syscall.EINTR:
			continue
		case i.err == syscall.EAGAIN || i.err == syscall.EWOULDBLOCK:
			i.wire.note(true)
			return false
		case i.err != nil:
			i.n, i.err = 0, os.NewSyscallError("read", i.err)
		case i.n == 0:
			i.err = io.EOF
		}
		return true
	}
}
