//go:build unix

package targetconn

import (
	"net"
	"syscall"
)

// peeker looks at a TCP connection without reading from it. It has what a look needs
// ready made, so that a look allocates nothing. It is for one goroutine at a time;
// another one may be reading from the connection meanwhile.
type peeker struct {
	raw   syscall.RawConn  // nil if the connection is none of the operating system
	look  func(fd uintptr) // sets quiet
	quiet bool             // the last look found nothing, not even an end
}

// init makes p look at c.
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

// untouched reports whether the target has neither closed the connection nor sent
// anything on it that was not read. What a target sends while no request is under way
// is no answer to the next one, and makes the connection unfit for it (RFC 9112
// section 9.2). untouched does not block. If it cannot look it reports true.
func (p *peeker) untouched() bool {
	if p.raw == nil {
		return true
	}
	p.quiet = false
	return p.raw.Control(p.look) == nil && p.quiet // RawConn.Read would wait for a goroutine that is reading
}
