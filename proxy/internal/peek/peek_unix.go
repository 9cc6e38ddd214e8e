//go:build unix

package peek

import (
	"net"
	"syscall"
)

// Peeker looks at a connection. It has what a look needs ready made, so that a look allocates
// nothing. It is for one goroutine at a time; another one may be reading from the connection
// meanwhile.
type Peeker struct {
	raw  syscall.RawConn  // nil if the connection is none of the operating system
	look func(fd uintptr) // sets seen
	seen State            // by the last look
}

// Init makes p look at c.
func (p *Peeker) Init(c net.Conn) {
	if sc, ok := c.(syscall.Conn); ok {
		p.raw, _ = sc.SyscallConn()
	}
	p.look = func(fd uintptr) {
		var b [1]byte
		switch _, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT); err {
		case nil:
			p.seen = Touched
		case syscall.EAGAIN, syscall.EINTR:
			p.seen = Quiet
		default:
			p.seen = Broken
		}
	}
}

// Look says what it finds on the connection. It does not block. A fault that it finds is gone
// afterwards: who reads then finds an end.
func (p *Peeker) Look() State {
	if p.raw == nil {
		return Unknown
	}
	p.seen = Broken
	_ = p.raw.Control(p.look) // RawConn.Read would wait for a goroutine that is reading
	return p.seen
}
