package targetconn

import (
	"net"
	"os"
)

// recordTracker is a connection below TLS that knows whether all that was read of it makes
// whole records. A record begins with five bytes, the last two of which tell how many
// bytes follow (RFC 8446 section 5.1). Read and whole must not run at the same time.
type recordTracker struct {
	net.Conn
	header [5]byte // of the record that is being read
	have   int     // bytes of the header that were read
	left   int     // bytes of the record that were not read yet
	held   bool    // Read reads nothing, and says that its time is over
}

// Read implements [net.Conn].
func (r *recordTracker) Read(b []byte) (int, error) {
	if r.held {
		return 0, os.ErrDeadlineExceeded // of which TLS knows that reading can go on later
	}
	n, err := r.Conn.Read(b)
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
			r.have, r.left = 0, int(r.header[3])<<8|int(r.header[4])
		}
	}
	return n, err
}

// whole reports whether what was read ends with a record, or nothing was read.
func (r *recordTracker) whole() bool { return r.have == 0 && r.left == 0 }
