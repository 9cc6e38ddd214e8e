//go:build unix

package targetconn

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// heldReader is a connection whose reader a test can hold back, as in a process that
// has no processor at that moment.
type heldReader struct {
	*net.TCPConn
	before func() // called before each look for what came but the first; nil: nothing
	after  func() // called when something was read, before the reader returns with it; nil: nothing
}

func (c *heldReader) SyscallConn() (syscall.RawConn, error) {
	raw, err := c.TCPConn.SyscallConn()
	return &heldRaw{raw, c}, err
}

type heldRaw struct {
	syscall.RawConn
	conn *heldReader
}

func (r *heldRaw) Read(f func(fd uintptr) bool) error {
	first := true
	return r.RawConn.Read(func(fd uintptr) bool {
		if !first && r.conn.before != nil {
			r.conn.before()
		}
		first = false
		done := f(fd)
		if done && r.conn.after != nil {
			r.conn.after()
		}
		return done
	})
}

// TestWireSettles: what the reader has not noticed makes the connection no good,
// and then the reader does not get it.
func TestWireSettles(t *testing.T) {
	for name, c := range map[string]struct {
		does func(*net.TCPConn)
		good bool
	}{
		"nothing": {func(*net.TCPConn) {}, true},
		"bytes":   {func(c *net.TCPConn) { _, _ = c.Write([]byte("HTTP/1.1 408 X\r\n\r\n")) }, false},
		"end":     {func(c *net.TCPConn) { _ = c.CloseWrite() }, false},
		"reset": {func(c *net.TCPConn) {
			_ = c.SetLinger(0)
			_ = c.Close()
		}, false},
	} {
		near, far := tcpPair(t)
		told := make(chan struct{})
		w := newWire(&heldReader{TCPConn: near, before: func() { <-told }})
		read := make(chan int)
		go func() {
			b := make([]byte, 100)
			n, err := w.Read(b)
			if err != nil {
				n = -1
			}
			read <- n
		}()
		if !w.settle() { // waits for the reader
			t.Fatalf("%s: not good from the start", name)
		}
		c.does(far)
		for end := time.Now().Add(patience); !c.good && w.peeker.untouched(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: what the target does never comes", name)
			}
		}
		if got := w.settle(); got != c.good {
			t.Errorf("%s: good is %t", name, got)
		}
		close(told)
		if c.good {
			_, _ = far.Write([]byte("x"))
		}
		if n := <-read; (n == 1) != c.good || (n == -1) == c.good {
			t.Errorf("%s: the reader got %d", name, n)
		}
	}
}

// TestWireSettlesAfterItsReader: bytes that the reader has taken are no more to
// be seen at the connection, but make it no good.
func TestWireSettlesAfterItsReader(t *testing.T) {
	near, far := tcpPair(t)
	taken, told := make(chan struct{}), make(chan struct{})
	w := newWire(&heldReader{TCPConn: near, after: func() {
		close(taken)
		<-told
	}})
	var reader sync.WaitGroup
	reader.Go(func() {
		_, _ = w.Read(make([]byte, 100))
		_ = w.Close() // as net/http does
	})
	w.settle()
	_, _ = far.Write([]byte("HTTP/1.1 408 X\r\n\r\n"))
	<-taken
	settled := make(chan bool, 1)
	go func() { settled <- w.settle() }() // may be earlier or later than what the reader is told next
	close(told)
	if <-settled {
		t.Error("taken for good")
	}
	reader.Wait()
}

// TestWireSettlesInTime has a reader that neither reads nor closes: the wait for it ends
// after a second, and with it the connection.
func TestWireSettlesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		began := time.Now()
		if newWire(near).settle() || time.Since(began) != time.Second {
			t.Errorf("settled after %v", time.Since(began))
		}
		_ = far.SetReadDeadline(time.Now().Add(patience))
		if n, err := far.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection stays open")
		}
	})
}

// TestWireWaitsForItsReader has a reader that deals with what came for half a second.
func TestWireWaitsForItsReader(t *testing.T) {
	for name, c := range map[string]struct {
		ends func(*wire)
		good bool
	}{
		"waits for more": {func(w *wire) { w.setWaiting(true) }, true},
		"closes":         {func(w *wire) { _ = w.Close() }, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			w := newWire(near)
			defer w.Close()
			time.AfterFunc(time.Second/2, func() { c.ends(w) })
			began := time.Now()
			if good := w.settle(); good != c.good || time.Since(began) != time.Second/2 {
				t.Errorf("the reader %s: good is %t after %v", name, good, time.Since(began))
			}
		})
	}
}

func tcpPair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = dialed.Close()
		_ = accepted.Close()
	})
	return dialed.(*net.TCPConn), accepted.(*net.TCPConn)
}
