package targetconn

import (
	"bytes"
	"net"
	"os"
)

// recordTracker is a connection below TLS that knows whether all that TLS has read of it makes
// whole records. A record begins with five bytes, the last two of which tell how many
// bytes follow (RFC 8446 section 5.1). Its methods must not run at the same time.
type recordTracker struct {
	net.Conn
	header [5]byte // of the record that is being read
	have   int     // bytes of the header that were read
	left   int     // bytes of the record that were not read yet
	held   bool    // Read reads nothing more, and says that its time is over
	room   []byte  // for what is read ahead; nil if nothing is
	ahead  []byte  // what was read ahead of TLS
}

// Read implements [net.Conn].
func (r *recordTracker) Read(b []byte) (int, error) {
	n, err := r.read(b)
	for b = b[:n]; len(b) > 0; {
		if r.left > 0 {
			came := min(r.left, len(b))
			r.left -= came
			b = b[came:]
			continue
		}
		came := copy(r.header[r.have:], b)
		b = b[came:]
		if r.have += came; r.have == len(r.header) {
			r.have, r.left = 0, lengthOf(r.header)
		}
	}
	return n, err
}

// read reads what comes next, ahead if there is room for that.
func (r *recordTracker) read(b []byte) (int, error) {
	if len(r.ahead) == 0 {
		if r.held {
			return 0, os.ErrDeadlineExceeded // of which TLS knows that reading can go on later
		}
		if r.room == nil {
			return r.Conn.Read(b)
		}
		n, err := r.Conn.Read(r.room)
		if r.ahead = r.room[:n]; n == 0 {
			return 0, err
		}
	}
	n := copy(b, r.ahead)
	r.ahead = r.ahead[n:]
	return n, nil
}

// readAhead has Read read ahead into room, nil: not any more.
func (r *recordTracker) readAhead(room []byte) {
	r.room, r.ahead = room, bytes.Clone(r.ahead) // the room before may be somebody else's now
}

// ready reports whether the record that TLS needs next was read ahead to its end.
func (r *recordTracker) ready() bool {
	if r.left > 0 {
		return r.left <= len(r.ahead)
	}
	header := r.header
	came := copy(header[r.have:], r.ahead)
	return r.have+came == len(header) && came+lengthOf(header) <= len(r.ahead)
}

// lengthOf returns how many bytes of a record follow its first five.
func lengthOf(header [5]byte) int { return int(header[3])<<8 | int(header[4]) }

// whole reports whether what was read ends with a record, or nothing was read.
func (r *recordTracker) whole() bool { return r.have == 0 && r.left == 0 && len(r.ahead) == 0 }
