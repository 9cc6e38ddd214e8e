package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"token-sidecar/proxy/internal/peek"
)

// leaving notices that an app leaves while its request is under way on a leanConn. Most
// requests take less time than a half-close may come late, so that it only sets a timer for
// them. Behind that it reads: an end that is there already is taken for a half-close, and one that
// comes later says that the app has left. It stops to look once the buffer of the
// connection is full of further requests.
type leaving struct {
	conn   *leanConn
	cancel context.CancelFunc // of the requests of the connection
	timer  *time.Timer        // runs read; nil before the first request
	peeker peek.Peeker        // looks at the connection
	begun  bool               // watch was called, and stop was not
	ended  chan struct{}      // read has returned

	mu      sync.Mutex // guards stopped, and the deadline of reading while read may run
	stopped bool       // read must not wait any more
}

// watch begins to watch.
func (l *leaving) watch() {
	l.begun, l.stopped = true, false
	if l.timer == nil {
		l.timer = time.AfterFunc(halfCloseTime, l.read)
		return
	}
	l.timer.Reset(halfCloseTime)
}

// stop ends watching, if it was begun. What came meanwhile is in the buffer of the connection.
func (l *leaving) stop() {
	begun := l.begun
	if l.begun = false; !begun || l.timer.Stop() {
		return
	}
	l.mu.Lock()
	l.stopped = true
	_ = l.conn.SetReadDeadline(time.Unix(1, 0))
	l.mu.Unlock()
	<-l.ended
}

// mayWait has reading wait for as long as the request takes. It reports false if that is over.
func (l *leaving) mayWait() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stopped {
		_ = l.conn.SetReadDeadline(time.Time{})
	}
	return !l.stopped
}

// read waits for the end of what the app sends, and keeps what comes before that. Shutdown may
// interrupt it, which is no end.
func (l *leaving) read() {
	c := l.conn
	defer func() { l.ended <- struct{}{} }()
	for waited := false; c.to < len(c.buf) && l.mayWait(); {
		before, began := l.peeker.Look(), time.Now()
		n, err := c.Read(c.buf[c.to:])
		c.to += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			waited = true // whatever comes now was not there before
			continue
		}
		if n > 0 {
			continue
		}
		there := before == peek.Touched
		if before == peek.Unknown { // the time has to tell, which is late on a busy machine
			there = time.Since(began) < halfCloseTime
		}
		if err != io.EOF || !there || waited {
			l.cancel()
		}
		return
	}
}
