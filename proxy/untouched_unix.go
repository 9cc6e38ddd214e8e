//go:build unix

package proxy

import (
	"net"
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
