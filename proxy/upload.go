package proxy

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// bodyTime is how long a body may stand still, and how long a small one may take.
const bodyTime = 10 * time.Second

// upload is the body of a request as the app sends it. A small body of known length is kept,
// so that its request can be sent again: after a 401, or when an HTTP/2 target has not
// processed it (RFC 9113 section 8.7). Then a goroutine of its own reads it from the app,
// and any number of keptReaders may follow, each from the start. Read is for one goroutine
// at a time. The other methods are safe for concurrent use.
type upload struct {
	body    io.ReadCloser
	control *http.ResponseController // of the answer on the same connection

	// Set before the first Read.
	timer *sendTimer    // runs while the target is to take what was read; nil if that does not matter
	kept  []byte        // as long as the body if that is kept; what has been read is not changed any more
	done  chan struct{} // closed when readAll has returned; nil if the body is not kept

	mu       sync.Mutex // guards all below; it is not held over a read
	changed  sync.Cond  // on mu: read, err or reading has changed, or a keptReader was closed
	read     int        // how many bytes of kept have been read
	deadline time.Time  // by which the body must have come, if it is set
	err      error      // with which reading ended: io.EOF if the body was read to its end
	answered bool       // the answer has begun
	reading  bool       // a Read waits for the app
}

func newUpload(w http.ResponseWriter, r *http.Request) *upload {
	u := &upload{body: r.Body, control: http.NewResponseController(w)}
	u.changed.L = &u.mu
	return u
}

// Read implements [io.Reader]. It fails with [os.ErrDeadlineExceeded] if the app sends
// nothing for too long. The connection is of no use then but for an answer.
func (u *upload) Read(b []byte) (int, error) {
	u.mu.Lock()
	if u.err != nil { // the connection may be at its next request by now
		defer u.mu.Unlock()
		return 0, u.err
	}
	u.timer.stop() // the target has taken what was read
	deadline := u.deadline
	if deadline.IsZero() {
		deadline = time.Now().Add(bodyTime)
	}
	_ = u.control.SetReadDeadline(deadline)
	u.reading = true
	u.mu.Unlock()
	n, err := u.body.Read(b)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reading = false
	u.changed.Broadcast()
	if u.kept != nil { // keptReaders must not see the end before the last bytes
		if u.read += n; u.read == len(u.kept) {
			err = io.EOF
		}
	}
	if u.err == nil { // else it was given up meanwhile
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

// readAll reads the body into kept. Since its length is known, net/http sees to it that
// reading ends with io.EOF only if all of it has come.
func (u *upload) readAll() {
	defer close(u.done)
	for u.ended() == nil {
		_, _ = u.Read(u.kept[u.read:]) // only Read changes u.read
	}
}

// setDeadline makes reading fail at the given time, unless it has ended.
func (u *upload) setDeadline(t time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.deadline = t
		_ = u.control.SetReadDeadline(t)
	}
}

// giveUp makes every later Read fail, and waits for the one under way: nobody wants what it reads,
// and net/http is about to close the body, which it does under a lock that the Read holds.
func (u *upload) giveUp() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.err = http.ErrBodyReadAfterClose
	}
	for u.reading {
		u.changed.Wait()
	}
}

// keptReader reads a body that is kept, and waits for what has not come yet. Read is for one
// goroutine at a time; Close is safe for concurrent use.
type keptReader struct {
	*upload
	at     int  // how many bytes were read from here; guarded by mu
	closed bool // guarded by mu
}

// Read implements [io.Reader].
func (r *keptReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.at == r.read && r.err == nil && !r.closed {
		r.changed.Wait()
	}
	if r.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	n := copy(b, r.kept[r.at:r.read])
	if r.at += n; r.at < r.read || r.err == nil {
		return n, nil
	}
	return n, r.err
}

// Close implements [io.Closer]. A Read that waits returns.
func (r *keptReader) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.changed.Broadcast()
	return nil
}

// sendTimer ends an attempt on the general way if the target takes nothing of a body that is
// sent on as it comes for too long, or has not taken another request and answered it within
// the same time: net/http bounds the wait for an answer only once all of the request is sent.
// A nil sendTimer does nothing. Its methods are safe for concurrent use.
type sendTimer struct {
	limit time.Duration
	timer *time.Timer
}

// newSendTimer returns a sendTimer that calls cancel with errTargetSlow, and does not run
// yet.
func newSendTimer(limit time.Duration, cancel func(cause error)) *sendTimer {
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
