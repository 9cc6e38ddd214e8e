package http1

import (
	"strings"
	"testing"
)

// findByDefinition says what Find must say of the shortest beginning of head for which it must say
// something: that this is the whole head, or the fault. It is 0 if there is no such beginning.
func findByDefinition(head string) (n int, fault error) {
	if head != "" && classes[head[0]]&inToken == 0 {
		return 1, errStart
	}
	for i := range len(head) {
		switch {
		case head[i] == '\n' && head[i-1] != '\r':
			return i + 1, errLineEnd
		case strings.HasSuffix(head[:i+1], "\r\n\r\n"):
			return i + 1, nil
		case i+1 == longest:
			return i + 1, errTooLarge
		}
	}
	return 0, nil
}

func TestTheEndOfAHeadAndItsFaultsAreToldAtTheirByte(t *testing.T) {
	for _, row := range headRows() {
		wantAt, wantErr := findByDefinition(row.head)
		b := []byte(row.head)
		for n, known := 0, 0; n <= len(b); n++ {
			length, err := Find(b[:n], known)
			if n == wantAt && wantAt > 0 {
				if err != wantErr || err == nil && length != n || err != nil && length != 0 {
					t.Errorf("the first %d bytes of %q: length %d, %v, want %v", n, short(row.head), length, err, wantErr)
				}
				break
			}
			if length != 0 || err != nil {
				t.Errorf("the first %d bytes of %q: length %d, %v, want to go on", n, short(row.head), length, err)
				break
			}
			known = n
		}
	}
}

// What was looked at before is looked at again, or is not, in pieces of any size.
func TestHeadsMayComeInAnyPieces(t *testing.T) {
	for _, row := range headRows() {
		b := []byte(row.head)
		wantLength, wantErr := Find(b, 0)
		for cut := range b {
			if cut > 200 && cut < len(b)-10 && cut%1000 != 0 {
				continue // of a long one: each takes its time
			}
			if length, err := Find(b[:cut], 0); err != nil || length > 0 {
				if err != wantErr || length != wantLength {
					t.Errorf("the first %d bytes of %q: length %d, %v; all bytes: length %d, %v", cut, short(row.head), length, err, wantLength, wantErr)
				}
				break
			}
			if length, err := Find(b, cut); err != wantErr || length != wantLength {
				t.Errorf("%q of which %d bytes were known: length %d, %v, want length %d, %v", short(row.head), cut, length, err, wantLength, wantErr)
			}
		}
	}
}

func TestWhatFollowsAHeadIsNotOfIt(t *testing.T) {
	for _, behind := range []string{"GET / HTTP/1.1\r\n\r\n", "\n", "\r\n\r\n", "\x00", strings.Repeat("a", longest)} {
		for _, row := range headRows() {
			if row.want.fault != nil {
				continue
			}
			if length, err := Find([]byte(row.head+behind), 0); err != nil || length != len(row.head) {
				t.Errorf("%q, followed by %q: length %d, %v, want %d", short(row.head), short(behind), length, err, len(row.head))
			}
		}
	}
}
