package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// forever is a handler whose answer goes on for as long as somebody takes it. It adds what it has
// written to its value.
type forever struct {
	atomic.Int64
	conn atomic.Pointer[clientConn] // of the app
}

// ServeHTTP implements [http.Handler].
func (f *forever) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.conn.Store(r.Context().Value(appConnKey{}).(*clientConn))
	for err := error(nil); err == nil; {
		var n int
		n, err = w.Write(make([]byte, 16<<10))
		f.Add(int64(n))
	}
	panic(http.ErrAbortHandler)
}

// askForever has an app that speaks HTTP/1.0 ask for an endless answer, and waits until no more of
// it can be written.
func askForever(t *testing.T) (*Server, *rawClient, *forever) {
	h := new(forever)
	address, server := serve(t, h)
	c := dialRaw(t, address)
	_ = c.Conn.(*net.TCPConn).SetReadBuffer(8 << 10)
	c.write("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
	before := int64(-1)
	eventually(t, "nothing more can be written", func() bool {
		now := h.Load()
		stands := now > 0 && now == before
		before = now
		time.Sleep(50 * time.Millisecond)
		return stands
	})
	return server, c, h
}

// What an app does not read lies in a small buffer of the system: where that is large, an app that
// reads a little now and then makes no room in it for minutes, and passes for one that takes nothing.
//
// Case P21.
func TestUnreadAnswersLieInASmallBuffer(t *testing.T) {
	_, c, h := askForever(t)
	if lies := h.Load(); lies > 1<<20 {
		t.Errorf("%d KiB lie about", lies>>10)
	}
	_ = c.Close()
}

// An app that speaks HTTP/1.0 sees that its answer has no end where the connection does: when a write
// fails, since the app took nothing for too long, and when a drain is over before the answer is.
//
// Case P22.
func TestCutAnswersEndInAReset(t *testing.T) {
	for name, cut := range map[string]func(*Server, *forever){
		"a write fails": func(_ *Server, h *forever) { _ = h.conn.Load().Conn.SetWriteDeadline(time.Now()) },
		"a drain is over": func(s *Server, _ *forever) {
			now, cancel := context.WithCancel(context.Background())
			cancel()
			_ = s.Shutdown(now)
		},
	} {
		server, c, h := askForever(t)
		cut(server, h)
		if _, err := io.Copy(io.Discard, c.br); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the answer ends with %v", name, err)
		}
	}
}
