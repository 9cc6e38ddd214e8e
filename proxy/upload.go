package proxy

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// bodyTime is how long a body may stand still, and how long a small one may take.
const bodyTime = 10 * time.Second

// upload is the body of a request as the app sends it. Read is for one goroutine at a
// time. The other methods are safe for concurrent use.
type upload struct {
	body    io.ReadCloser
	control *http.ResponseController // of the answer on the same connection
	timer   *sendTimer               // runs while the target is to take what was read; set before the first Read
	small   bool                     // all of it must come within bodyTime; set before the first Read

	mu       sync.Mutex // guards all below; it is not held over a read
	deadline time.Time  // by which it must have come, if it is set
	err      error      // with which reading ended: io.EOF if the body was read to its end
	answered bool       // the answer has begun
}

func newUpload(w http.ResponseWriter, r *http.Request) *upload {
	return &upload{body: r.Body, control: http.NewResponseController(w)}
}

// Read implements [io.Reader]. It fails with [os.ErrDeadlineExceeded] if the app sends
// nothing for too long. The connection is of no use then but for an answer.
func (u *upload) Read(b []byte) (int, error) {
	u.mu.Lock()
	u.timer.stop() // the target has taken what was read
	deadline := u.deadline
	if deadline.IsZero() {
		deadline = time.Now().Add(bodyTime)
		if u.small {
			u.deadline = deadline
		}
	}
	_ = u.control.SetReadDeadline(deadline)
	u.mu.Unlock()
	n, err := u.body.Read(b)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.err = err
	}
	if err == io.EOF {
		_ = u.control.SetReadDeadline(time.Time{}) // net/http goes on reading, to notice that the app leaves
	}
	if err == nil || !u.answered {
		u.timer.restart(0)
	}
	return n, err
}

// answerBegan tells the upload that the answer has begun. What is left of the body still
// has to be taken by the target, but once it has ended there is nothing to wait for.
func (u *upload) answerBegan() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answered = true
	if u.err != nil {
		u.timer.stop()
	}
}

// Close implements [io.Closer]. It does nothing: discardBody ends what is left of the body.
func (u *upload) Close() error { return nil }

// ended returns the error with which reading has ended, nil if it has not ended.
func (u *upload) ended() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// whole reports whether the body was read to its end.
func (u *upload) whole() bool { return u.ended() == io.EOF }

// setDeadline makes reading fail at the given time, unless it has ended.
func (u *upload) setDeadline(t time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.deadline = t
		_ = u.control.SetReadDeadline(t)
	}
}

// sendTimer ends an attempt on the general way if the target takes nothing of the request
// for too long: net/http bounds the wait for an answer only once all of the request is sent.
// A nil sendTimer does nothing. Its methods are safe for concurrent use.
type sendTimer struct {
	limit time.Duration
	timer *time.Timer
}

// newSendTimer returns a sendTimer that calls cancel with errTargetSlow, and does not run
// yet. If limit is zero it returns nil.
func newSendTimer(limit time.Duration, cancel func(cause error)) *sendTimer {
	if limit <= 0 {
		return nil
	}
	timer := time.AfterFunc(limit, func() { cancel(errTargetSlow) })
	timer.Stop()
	return &sendTimer{limit, timer}
}

// restart gives the target its time anew, and more on top of that.
func (t *sendTimer) restart(more time.Duration) {
	if t != nil {
		t.timer.Reset(t.limit + more)
	}
}

// stop stops the time.
func (t *sendTimer) stop() {
	if t != nil {
		t.timer.Stop()
	}
}

// smallBody is a small body of known length, kept so that its request can be sent again:
// after a 401, or when an HTTP/2 target has not processed it (RFC 9113 section 8.7). A
// goroutine of its own reads it from the app. Any number of readers may follow, each from
// the start. A nil smallBody is that of a request that has none.
type smallBody struct {
	data []byte        // as long as the body; what has been read is not changed any more
	done chan struct{} // closed when reading has ended

	mu      sync.Mutex // guards read and err
	changed sync.Cond  // on mu: read or err has changed, or a reader was closed
	read    int        // how many bytes of data have been read
	err     error      // with which reading ended: io.EOF if data is whole
}

func newSmallBody(length int64) *smallBody {
	b := &smallBody{data: make([]byte, length), done: make(chan struct{})}
	b.changed.L = &b.mu
	return b
}

// readFrom reads the body from u, until that ends.
func (b *smallBody) readFrom(u *upload) {
	defer close(b.done)
	for read := 0; ; {
		n, err := u.Read(b.data[read:])
		if read += n; read == len(b.data) {
			err = io.EOF
		} else if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		b.mu.Lock()
		b.read, b.err = read, err
		b.mu.Unlock()
		b.changed.Broadcast()
		if err != nil {
			return
		}
	}
}

// whole reports whether all of the body was read.
func (b *smallBody) whole() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err == io.EOF
}

// smallReader reads a smallBody, waiting for what has not come yet. Read is for one
// goroutine at a time; Close is safe for concurrent use.
type smallReader struct {
	*smallBody
	at     int  // how many bytes were read from here; guarded by mu
	closed bool // guarded by mu
}

// Read implements [io.Reader].
func (r *smallReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.at == r.read && r.err == nil && !r.closed {
		r.changed.Wait()
	}
	if r.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	n := copy(b, r.data[r.at:r.read])
	if r.at += n; r.at < r.read || r.err == nil {
		return n, nil
	}
	return n, r.err
}

// Close implements [io.Closer]. A Read that waits returns.
func (r *smallReader) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.changed.Broadcast()
	return nil
}
