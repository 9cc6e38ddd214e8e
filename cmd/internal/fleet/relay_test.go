package fleet

import (
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// relay passes TCP connections on to a server, as badly as it is told to.
type relay struct {
	t        *testing.T
	listener *net.TCPListener
	to       string
	running  sync.WaitGroup

	mu    sync.Mutex // guards all below
	mode  relayMode
	late  time.Duration // by which each piece is held back
	conns map[*net.TCPConn]bool
	full  []net.Conn // that fill the backlog
}

type relayMode int

const (
	relayPass  relayMode = iota
	relayReset           // every connection is reset, new ones at once
	relayDeaf            // what is sent gets lost, new connections are not accepted
	relayShort           // half of what is sent is passed on, then the connection ends
	relayDrip            // what is sent is passed on byte by byte
)

func newRelay(t *testing.T, to string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, listener: l.(*net.TCPListener), to: to, conns: map[*net.TCPConn]bool{}}
	r.running.Go(r.accept)
	t.Cleanup(func() {
		r.pass()
		_ = l.Close()
		r.cut()
		r.running.Wait()
	})
	return r
}

func (r *relay) url() string { return "redis://" + r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		if mode, _ := r.state(); mode == relayDeaf {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		_ = r.listener.SetDeadline(time.Now().Add(20 * time.Millisecond))
		conn, err := r.listener.AcceptTCP()
		if err, ok := err.(net.Error); ok && err.Timeout() {
			continue
		}
		if err != nil {
			return
		}
		r.running.Go(func() { r.join(conn) })
	}
}

// join connects conn with the server until either closes.
func (r *relay) join(conn *net.TCPConn) {
	if mode, _ := r.state(); mode == relayReset {
		_ = conn.SetLinger(0)
		_ = conn.Close()
		return
	}
	there, err := net.Dial("tcp", r.to)
	if err != nil {
		_ = conn.SetLinger(0)
		_ = conn.Close()
		return
	}
	server := there.(*net.TCPConn)
	r.mu.Lock()
	r.conns[conn], r.conns[server] = true, true
	r.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { r.copy(server, conn) })
	both.Go(func() { r.copy(conn, server) })
	both.Wait()
	r.mu.Lock()
	delete(r.conns, conn)
	delete(r.conns, server)
	r.mu.Unlock()
}

// copy passes pieces on, each as late as the relay is told to be when it comes.
func (r *relay) copy(to, from *net.TCPConn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		mode, late := r.state()
		time.Sleep(late)
		if mode == relayDeaf {
			continue
		}
		if err := mode.write(to, buf[:n]); err != nil {
			return
		}
	}
}

// write passes a piece on. It returns an error if that is the last one.
func (m relayMode) write(to *net.TCPConn, piece []byte) error {
	switch m {
	case relayShort:
		_, _ = to.Write(piece[:len(piece)/2])
		return io.ErrShortWrite
	case relayDrip:
		for i := range piece {
			if _, err := to.Write(piece[i : i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	_, err := to.Write(piece)
	return err
}

func (r *relay) state() (relayMode, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mode, r.late
}

func (r *relay) set(mode relayMode, late time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mode, r.late = mode, late
}

// cut resets all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
}

func (r *relay) slow(d time.Duration) { r.set(relayPass, d) }
func (r *relay) short()               { r.set(relayShort, 0) }
func (r *relay) drip()                { r.set(relayDrip, 0) }

func (r *relay) reset() {
	r.set(relayReset, 0)
	r.cut()
}

// blackhole makes the relay deaf, and new connections hang: the backlog is
// full, so that the kernel does not answer for it.
func (r *relay) blackhole() {
	r.set(relayDeaf, 0)
	time.Sleep(30 * time.Millisecond) // until the accept under way has ended
	r.backlog(0)
	for range 20 {
		conn, err := net.DialTimeout("tcp", r.listener.Addr().String(), 100*time.Millisecond)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.full = append(r.full, conn)
		r.mu.Unlock()
	}
	r.t.Error("the backlog does not fill")
}

// pass ends all faults. Connections that were deaf lost bytes, and are cut.
func (r *relay) pass() {
	if mode, _ := r.state(); mode == relayDeaf {
		r.backlog(128)
		r.cut()
	}
	r.set(relayPass, 0)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.full {
		_ = conn.Close()
	}
	r.full = nil
}

// backlog changes the queue of connections that wait to be accepted.
func (r *relay) backlog(n int) {
	raw, err := r.listener.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), n) })
	}
	if err != nil {
		r.t.Error(err)
	}
}
