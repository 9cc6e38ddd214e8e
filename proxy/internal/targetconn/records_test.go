package targetconn

import (
	"bytes"
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

// TestWhatWasReadAheadIsKnown: a record is ready once all of it was read ahead, and nothing that was
// is lost when reading ahead ends, wherever the pieces are cut.
func TestWhatWasReadAheadIsKnown(t *testing.T) {
	record := func(n int) []byte { return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, make([]byte, n)...) }
	all := slices.Concat(record(0), record(1), record(300), record(7), record(0))
	for room := 1; room <= len(all)+1; room++ {
		for _, size := range []int{1, 3, 5, 64, 302, len(all)} {
			source := &source{rest: all}
			r := &recordTracker{Conn: source}
			for total, b := 0, make([]byte, size); total < len(all); {
				r.readAhead([][]byte{make([]byte, room), nil}[total%2])
				n, err := r.Read(b)
				if err != nil || !bytes.Equal(b[:n], all[total:total+n]) {
					t.Fatalf("room %d, pieces of %d: wrong bytes behind %d (%v)", room, size, total, err)
				}
				total += n
				taken := len(all) - len(source.rest)
				end := 0 // of the record that is read next
				for end <= total && end < len(all) {
					end += 5 + int(all[end+3])<<8 + int(all[end+4])
				}
				if want := total < len(all) && end <= taken; r.ready() != want {
					t.Fatalf("room %d, pieces of %d, %d read and %d taken: ready is %t", room, size, total, taken, r.ready())
				}
				if want := total == taken && slices.Contains([]int{5, 11, 316, 328, 333}, total); r.whole() != want {
					t.Fatalf("room %d, pieces of %d, %d read: whole is %t", room, size, total, r.whole())
				}
			}
		}
	}
}

// source is a connection on which rest has come.
type source struct {
	net.Conn
	rest []byte
}

func (s *source) Read(b []byte) (int, error) {
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
