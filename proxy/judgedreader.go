package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"token-sidecar/proxy/internal/http1"
)

const (
	// headTime is how long the head of a request may take, once its first byte has come.
	headTime = 10 * time.Second
	// chunkTime is how long the head of a request with a body in chunks waits for the first of
	// them, so that one which begins wrongly is refused. A client that waits for an answer
	// before it sends the body is served after this time.
	chunkTime = time.Second
)

// judgedReader reads the requests of a connection for net/http. Of a head it hands on nothing
// before package http1 has judged all of it, and of a body in chunks nothing behind a fault. It
// belongs to the goroutine that reads.
type judgedReader struct {
	conn   net.Conn
	limit  func(d time.Duration) // bounds reading by d from now on; 0 takes the bound away
	moved  func()                // something of a body in chunks has come
	refuse func(c net.Conn, p *problem, method string)

	buf  []byte // read from the connection; what net/http has read of it is gone
	free int    // how many bytes of buf net/http may read

	headEnd time.Time // by when the first head must be there; zero behind that

	head   http1.Head // of the request under way
	left   int64      // how many bytes of its body were not judged yet, if it has a length
	chunks http1.Chunks
	err    error // what reading fails with from now on
}

// atHead reports whether what comes next is the head of a request.
func (r *judgedReader) atHead() bool { return r.free == 0 && !r.inBody() && r.err == nil }

// inBody reports whether some of a request's body was not judged yet.
func (r *judgedReader) inBody() bool { return r.left > 0 || r.head.Chunked && !r.chunks.Done() }

// buffered returns how many bytes were read and not handed on.
func (r *judgedReader) buffered() int { return len(r.buf) }

// read hands on what was judged, and reads and judges more if there is nothing. It blocks until
// something can be handed on, or until the connection's deadline.
func (r *judgedReader) read(b []byte) (int, error) {
	if r.free == 0 && r.err == nil && !r.inBody() {
		if err := r.readHead(b); err != nil {
			return 0, err
		}
	}
	switch {
	case r.free > 0:
		return r.give(b), nil
	case r.err != nil:
		return 0, r.err
	case len(r.buf) > 0:
		r.free = r.judgeBody(r.buf)
		return r.read(b)
	}
	if r.left > 0 {
		b = b[:min(int64(len(b)), r.left)]
	}
	n, err := r.conn.Read(b)
	if n > 0 && r.head.Chunked {
		r.moved()
	}
	body := r.judgeBody(b[:n])
	r.buf = append(r.buf, b[body:n]...) // of the next request, or behind a fault
	if body == 0 && n > 0 {
		return 0, r.err
	}
	return body, err
}

// give hands on judged bytes.
func (r *judgedReader) give(b []byte) int {
	n := copy(b, r.buf[:r.free])
	r.free -= n
	if r.buf = r.buf[n:]; len(r.buf) == 0 {
		r.buf = nil
	}
	return n
}

// readAsItIs reads without any judgement.
func (r *judgedReader) readAsItIs(b []byte) (int, error) {
	if r.free = len(r.buf); r.free > 0 {
		return r.give(b), nil
	}
	return r.conn.Read(b)
}

// fill reads what comes next, as much as b has room for, and keeps it. While it waits it needs no
// memory but b.
func (r *judgedReader) fill(b []byte) error {
	n, err := r.conn.Read(b)
	r.buf = append(r.buf, b[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

// judgeBody returns how many of the bytes that come next are the body's. What follows a fault
// is not, and reading fails behind that.
func (r *judgedReader) judgeBody(b []byte) int {
	if !r.head.Chunked {
		n := min(int64(len(b)), r.left)
		r.left -= n
		return int(n)
	}
	n, err := r.chunks.Check(b)
	if err != nil {
		r.err = readError(err)
	}
	return n
}

// readHead reads the head of a request and judges it, and the line with the size of its first
// chunk if the body is in chunks. It answers what it refuses. It reads by b.
func (r *judgedReader) readHead(b []byte) error {
	if err := r.readFields(b); err != nil {
		return err
	}
	r.left, r.chunks = r.head.Length, http1.Chunks{}
	if !r.head.Chunked || r.head.Expects { // what has come of a body is judged, and no more is waited for
		if r.free += r.judgeBody(r.buf[r.free:]); r.err != nil {
			return r.fail(errBody)
		}
		return nil
	}
	defer r.limit(0)
	for end := time.Now().Add(chunkTime); ; {
		r.free += r.judgeBody(r.buf[r.free:])
		switch {
		case r.err != nil:
			return r.fail(errBody)
		case r.chunks.Begun():
			return nil
		}
		r.limit(max(1, time.Until(end)))
		if err := r.fill(b); errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(end) {
			return nil
		} else if err == io.EOF {
			return r.fail(errBody)
		} else if err != nil {
			return err
		}
	}
}

// readFields reads the head of a request by b and judges it.
func (r *judgedReader) readFields(b []byte) error {
	defer r.limit(0)
	r.head.Method = "" // that of the request before
	for known := 0; ; {
		length, err := http1.Find(r.buf, known)
		if length > 0 {
			r.free = length
			err = r.head.Parse(r.buf[:length])
		}
		if err != nil {
			return r.fail(faultProblem(err))
		}
		if length > 0 {
			r.headEnd = time.Time{}
			return nil
		}
		if known == 0 && len(r.buf) > 0 {
			if r.headEnd.IsZero() {
				r.headEnd = time.Now().Add(headTime)
			}
			r.limit(max(1, time.Until(r.headEnd)))
		}
		known = len(r.buf)
		err = r.fill(b)
		if known > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			return r.fail(errHeadSlow)
		}
		if err != nil {
			return err
		}
	}
}

// fail refuses the request. What was read of it is not handed on.
func (r *judgedReader) fail(p *problem) error {
	r.buf, r.free = nil, 0
	r.refuse(r.conn, p, r.head.Method)
	r.err = readError(p)
	return r.err
}

// readError is an error of reading from a connection, to which net/http answers nothing.
func readError(err error) error { return &net.OpError{Op: "read", Net: "tcp", Err: err} }
