package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// Bounds of what an app may send, and of the time it may take.
const (
	// bodyTime is how long a body may stand still, and how long a small one may take.
	bodyTime = 10 * time.Second
	// bodyGrace is how long the sidecar waits for a small body before it sends the
	// request on without it. It is longer than a program takes that sends head and body
	// together, and short for a person who waits for an answer that comes first.
	bodyGrace = 100 * time.Millisecond
	// bodyBudget is the memory for small bodies of all requests together, in bytes.
	bodyBudget = 8 << 20
	// lingerTime is how long the rest of a body is read that nobody wants, so that an
	// app which is still sending learns the answer, and not that its connection was reset.
	lingerTime = 500 * time.Millisecond
)

// upload is the body of a request as the app sends it. Read is for one goroutine at a
// time. The other methods are safe for concurrent use.
type upload struct {
	body    io.ReadCloser
	control *http.ResponseController // of the answer on the same connection
	small   bool                     // all of it must come within bodyTime

	stall *stall // runs while the target is to take what was read; set before the first Read

	mu       sync.Mutex // guards all below; it is not held over a read
	until    time.Time  // when it must have come, if it is set
	err      error      // what reading ended with: io.EOF if the body was read to its end
	answered bool       // the answer has begun
}

func newUpload(w http.ResponseWriter, r *http.Request) *upload {
	return &upload{body: r.Body, control: http.NewResponseController(w)}
}

// Read implements [io.Reader]. It fails with [os.ErrDeadlineExceeded] if the app sends
// nothing for too long. The connection is of no use then but for an answer.
func (u *upload) Read(b []byte) (int, error) {
	u.mu.Lock()
	u.stall.stop() // the target has taken what was read
	until := u.until
	if until.IsZero() {
		until = time.Now().Add(bodyTime)
		if u.small {
			u.until = until
		}
	}
	_ = u.control.SetReadDeadline(until)
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
		u.stall.restart(0)
	}
	return n, err
}

// answer notes that the answer has begun. What is left of the body still has to be taken,
// but once it has ended there is nothing to wait for.
func (u *upload) answer() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answered = true
	if u.err != nil {
		u.stall.stop()
	}
}

// Close implements [io.Closer]. It does nothing: leaveBody ends what is left of the body.
func (u *upload) Close() error { return nil }

// ended returns what reading has ended with, nil if it has not ended.
func (u *upload) ended() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// whole reports whether the body was read to its end.
func (u *upload) whole() bool { return u.ended() == io.EOF }

// giveUp has reading fail at the given time.
func (u *upload) giveUp(at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.until = at
		_ = u.control.SetReadDeadline(at)
	}
}

// smallBody is a small body of known length, kept so that its request can be sent again:
// after a 401, or when an HTTP/2 target has not processed it (RFC 9113 section 8.7). A
// goroutine of its own reads it. Any number of readers may follow, each from the start.
type smallBody struct {
	data []byte        // as long as the body; what has come is not changed any more
	done chan struct{} // closed when reading has ended

	mu    sync.Mutex // guards came and err
	moved sync.Cond  // tells of changes of came, of err, and that a reader was closed
	came  int        // bytes of data that have come
	err   error      // what reading ended with: io.EOF if data is whole
}

// keep reads from u, until that ends.
func (b *smallBody) keep(u *upload) {
	defer close(b.done)
	for came := 0; ; {
		n, err := u.Read(b.data[came:])
		if came += n; came == len(b.data) {
			err = io.EOF
		} else if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		b.mu.Lock()
		b.came, b.err = came, err
		b.mu.Unlock()
		b.moved.Broadcast()
		if err != nil {
			return
		}
	}
}

// whole reports whether all of the body is there.
func (b *smallBody) whole() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err == io.EOF
}

// smallReader reads a smallBody, waiting for what has not come yet.
type smallReader struct {
	*smallBody
	at     int  // belongs to who reads
	closed bool // guarded by mu
}

func (b *smallBody) reader() *smallReader { return &smallReader{smallBody: b} }

// Read implements [io.Reader].
func (r *smallReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.at == r.came && r.err == nil && !r.closed {
		r.moved.Wait()
	}
	if r.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	n := copy(b, r.data[r.at:r.came])
	if r.at += n; r.at < r.came || r.err == nil {
		return n, nil
	}
	return n, r.err
}

// Close implements [io.Closer]. A Read that waits returns.
func (r *smallReader) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.moved.Broadcast()
	return nil
}

// keepBody reads a small body of known length before it is sent, so that the request
// can be sent twice. If it does not come at once, as when the app waits for the answer
// first, it is sent on as it comes, and kept meanwhile.
func (x *exchange) keepBody() error {
	n := x.in.ContentLength
	if n <= 0 || n > x.proxy.config.ReplayLimit || !x.proxy.reserveBody(n) {
		return nil
	}
	x.upload.small = true
	small := &smallBody{data: make([]byte, n), done: make(chan struct{})}
	small.moved.L = &small.mu
	x.small = small
	go small.keep(x.upload)
	grace := time.NewTimer(bodyGrace)
	defer grace.Stop()
	select {
	case <-small.done:
	case <-grace.C:
		return nil
	}
	if !x.bodyIsKept() {
		return x.bodyFault()
	}
	return nil
}

// isUpload reports whether the request has a body that is not kept, but only sent on as
// it comes.
func (x *exchange) isUpload() bool { return x.upload != nil && x.small == nil }

// bodyIsKept reports whether all of the body is in x.body.
func (x *exchange) bodyIsKept() bool {
	if x.body == nil && x.small != nil && x.small.whole() {
		x.body = x.small.data
	}
	return x.body != nil
}

// bodyFault returns why the body did not come to its end, or nil if that is not known.
func (x *exchange) bodyFault() error {
	if x.upload == nil {
		return nil
	}
	switch err := x.upload.ended(); {
	case err == nil, err == io.EOF:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errBodySlow
	case x.in.Context().Err() != nil:
		return context.Canceled // it left
	}
	return errBody
}

// leaveBody ends the reading of a body that is not wanted any more, once the app was
// answered. It blocks for lingerTime at most.
func (x *exchange) leaveBody(answered bool) {
	if x.upload == nil {
		return
	}
	if !x.upload.whole() {
		until := time.Now()
		if answered {
			_ = x.upload.control.Flush()
			until = until.Add(lingerTime)
		}
		x.upload.giveUp(until)
	}
	if x.small != nil {
		<-x.small.done
		x.proxy.keptBodies.Add(-x.in.ContentLength)
	}
}

// reserveBody takes n bytes of the memory for small bodies, if they are to be had.
func (p *Proxy) reserveBody(n int64) bool {
	if p.keptBodies.Add(n) > max(bodyBudget, p.config.ReplayLimit) {
		p.keptBodies.Add(-n)
		return false
	}
	return true
}
