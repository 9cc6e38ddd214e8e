package proxy

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// standstill is how long a target may take nothing of what the app sends, or send nothing once the app
// has ended.
const standstill = 5 * time.Minute

// tunnel is the connection to a target that has switched to another protocol, between which and the
// app's ReverseProxy copies. It closes the connection of a target that takes nothing for standstill,
// or that neither sends anything nor ends for so long after the app has ended its direction. Nobody
// reads from the app then, so that its end would never be noticed.
type tunnel struct {
	io.ReadWriteCloser
	timer *time.Timer // closes the connection
	ended atomic.Bool // the app has ended its direction
}

func newTunnel(c io.ReadWriteCloser) *tunnel {
	t := &tunnel{ReadWriteCloser: c}
	t.timer = time.AfterFunc(standstill, func() { _ = c.Close() })
	t.timer.Stop()
	return t
}

// Read implements [io.Reader].
func (t *tunnel) Read(b []byte) (int, error) {
	n, err := t.ReadWriteCloser.Read(b)
	if n > 0 && t.ended.Load() {
		t.timer.Reset(standstill)
	}
	return n, err
}

// Write implements [io.Writer].
func (t *tunnel) Write(b []byte) (int, error) {
	t.timer.Reset(standstill)
	defer t.timer.Stop()
	return t.ReadWriteCloser.Write(b)
}

// CloseWrite ends the direction to the target. ReverseProxy calls it behind the last Write.
func (t *tunnel) CloseWrite() error {
	if half, ok := t.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		t.ended.Store(true)
		t.timer.Reset(standstill)
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

// Close implements [io.Closer].
func (t *tunnel) Close() error {
	t.timer.Stop()
	return t.ReadWriteCloser.Close()
}
