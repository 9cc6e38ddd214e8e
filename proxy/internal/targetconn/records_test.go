package targetconn

import (
	"net"
	"slices"
	"testing"
	"time"
)

// TestRecordsAreFollowedInPiecesOfAnySize: whether what was read ends with a record is known,
// however the recordTracker were cut into pieces.
func TestRecordsAreFollowedInPiecesOfAnySize(t *testing.T) {
	record := func(n int) []byte { return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, make([]byte, n)...) }
	all := slices.Concat(record(0), record(1), record(300), record(0))
	ends := map[int]bool{0: true, 5: true, 11: true, 316: true, 321: true}
	for size := 1; size <= len(all); size++ {
		near, far := net.Pipe()
		go func() {
			_, _ = far.Write(all)
			_ = far.Close()
		}()
		_ = near.SetDeadline(time.Now().Add(patience))
		r := &recordTracker{Conn: near}
		for total, b := 0, make([]byte, size); ; {
			n, err := r.Read(b)
			total += n
			if r.whole() != ends[total] {
				t.Fatalf("in pieces of %d, after %d bytes: whole is %v", size, total, r.whole())
			}
			if err != nil {
				break
			}
		}
	}
}
