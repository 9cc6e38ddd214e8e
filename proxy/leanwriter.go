package proxy

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// leanWriter writes the answers to the requests of a leanConn, as net/http would write them. It
// is an http.ResponseWriter and an http.Flusher, of one request after the other.
type leanWriter struct {
	conn   net.Conn
	own    http.Header // is header, unless that was adopted
	header http.Header
	names  []string // of the header, sorted
	buf    []byte   // of the answer, not sent yet
	limit  writeLimit
	err    error // of sending

	toHEAD  bool         // the request's method is HEAD
	last    bool         // the connection ends behind this answer
	closing *atomic.Bool // no further request is taken

	status  int   // of the final answer; 0 before that has begun
	chunked bool  // its body is sent in chunks
	left    int64 // what is still to come of a body that is not
}

// maxHeld is how much of an answer waits for more of it before it is sent.
const maxHeld = 4 << 10

// begin makes the writer that of another request. With last the connection ends behind its
// answer, as it does if closing is set when that begins.
func (w *leanWriter) begin(toHEAD, last bool, closing *atomic.Bool) {
	clear(w.own)
	*w = leanWriter{conn: w.conn, own: w.own, header: w.own, names: w.names[:0], buf: w.buf[:0], limit: w.limit, toHEAD: toHEAD, last: last, closing: closing}
}

// adopt has the writer use a header in place of its own, until the head of this answer is written.
func (w *leanWriter) adopt(h http.Header) { w.header = h }

// Header implements [http.ResponseWriter]. Behind the head of the answer it is for trailers.
func (w *leanWriter) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter].
func (w *leanWriter) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	if status < 200 {
		w.writeLine(status)
		w.writeFields()
		w.send(nil)
		return
	}
	w.status = status
	w.writeLine(status)
	w.frame()
	if w.last = w.last || w.closing.Load(); w.last {
		w.header["Connection"] = closeConnection
	}
	if _, ok := w.header["Date"]; !ok {
		w.buf = append(time.Now().UTC().AppendFormat(append(w.buf, "Date: "...), http.TimeFormat), "\r\n"...)
	}
	w.writeFields()
	clear(w.own)
	w.header = w.own
}

var (
	closeConnection = []string{"close"}
	inChunks        = []string{"chunked"}
)

// frame decides how the body of the answer is sent, and sets the fields that say so.
func (w *leanWriter) frame() {
	delete(w.header, "Transfer-Encoding")
	length, known := w.header["Content-Length"]
	switch {
	case w.status == http.StatusNoContent, w.status == http.StatusNotModified:
		delete(w.header, "Content-Length")
		if w.status == http.StatusNotModified {
			delete(w.header, "Content-Type")
		}
	case w.toHEAD:
	case known:
		w.left, _ = strconv.ParseInt(length[0], 10, 64) // checkHead has seen to it
	default:
		w.chunked = true
		w.header["Transfer-Encoding"] = inChunks
	}
}

// writeLine writes a status line.
func (w *leanWriter) writeLine(status int) {
	w.buf = append(strconv.AppendInt(append(w.buf, "HTTP/1.1 "...), int64(status), 10), ' ')
	text := http.StatusText(status)
	if text == "" {
		text = "status code " + strconv.Itoa(status)
	}
	w.buf = append(append(w.buf, text...), "\r\n"...)
}

// writeFields writes the fields of the header, and the empty line.
func (w *leanWriter) writeFields() {
	w.names = w.names[:0]
	for name := range w.header {
		w.names = append(w.names, name)
	}
	slices.Sort(w.names)
	for _, name := range w.names {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			continue
		}
		for _, value := range w.header[name] {
			w.writeField(name, value)
		}
	}
	w.buf = append(w.buf, "\r\n"...)
}

// writeField writes a field line. No value has a line break: nothing but its own line can be
// made of it.
func (w *leanWriter) writeField(name, value string) {
	w.buf = append(append(append(w.buf, name...), ": "...), value...)
	if strings.IndexByte(value, '\n') >= 0 || strings.IndexByte(value, '\r') >= 0 {
		text := w.buf[len(w.buf)-len(value):]
		for i, c := range text {
			if c == '\r' || c == '\n' {
				text[i] = ' '
			}
		}
	}
	w.buf = append(w.buf, "\r\n"...)
}

// Write implements [io.Writer].
func (w *leanWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case w.toHEAD:
		return len(b), nil
	case w.chunked && len(b) > 0:
		w.buf = append(strconv.AppendInt(w.buf, int64(len(b)), 16), "\r\n"...)
		w.add(b)
		w.buf = append(w.buf, "\r\n"...)
	case w.status == http.StatusNoContent, w.status == http.StatusNotModified:
		return 0, http.ErrBodyNotAllowed
	case int64(len(b)) > w.left:
		return 0, http.ErrContentLength
	default:
		w.left -= int64(len(b))
		w.add(b)
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(b), nil
}

// add adds b to what is sent, and sends it if that is much.
func (w *leanWriter) add(b []byte) {
	if len(w.buf)+len(b) <= maxHeld {
		w.buf = append(w.buf, b...)
		return
	}
	w.send(b)
}

// send sends what waits, and b.
func (w *leanWriter) send(b []byte) {
	if w.err != nil {
		return
	}
	w.limit.beforeWrite(w.conn)
	if len(b) == 0 {
		_, w.err = w.conn.Write(w.buf)
	} else if len(w.buf) == 0 {
		_, w.err = w.conn.Write(b)
	} else {
		both := net.Buffers{w.buf, b}
		_, w.err = both.WriteTo(w.conn)
	}
	w.buf = w.buf[:0]
}

// Flush implements [http.Flusher].
func (w *leanWriter) Flush() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if len(w.buf) > 0 {
		w.send(nil)
	}
}

// finish sends the end of the answer. It reports whether the connection may serve another
// request.
func (w *leanWriter) finish() bool {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.chunked {
		w.buf = append(w.buf, "0\r\n"...)
		for name, values := range w.header {
			if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
				for _, value := range values {
					w.writeField(name, value)
				}
			}
		}
		w.buf = append(w.buf, "\r\n"...)
	}
	if len(w.buf) > 0 {
		w.send(nil)
	}
	if cap(w.buf) > 4*maxHeld { // its head was large
		w.buf, w.names = nil, nil
	}
	return w.err == nil && w.left == 0 && !w.last
}
