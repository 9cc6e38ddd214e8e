package http1

import (
	"bytes"
	"fmt"
	"net/http/httputil"
	"strings"
	"testing"
)

// checked is what Chunks has said of a body: how many bytes are its own, and whether it is faulty.
type checked struct {
	n     int
	err   error
	done  bool
	begun bool
}

func (r checked) String() string {
	return fmt.Sprintf("%d bytes, done %t, begun %t, fault: %v", r.n, r.done, r.begun, r.err)
}

// checkPieces has Chunks look at one piece after the other, up to a fault or the end.
func checkPieces(pieces ...[]byte) (r checked) {
	var c Chunks
	for _, piece := range pieces {
		var n int
		n, r.err = c.Check(piece)
		if r.n += n; r.err != nil || c.Done() {
			break
		}
	}
	r.done, r.begun = c.Done(), c.Begun()
	return r
}

func (row chunkRow) want() checked {
	r := checked{n: len(row.body), done: row.done, begun: strings.Contains(row.body, "\n")}
	if row.fault != nil {
		r.err = row.fault
	}
	return r
}

// Case P16.
func TestBodiesInChunksEndWhereTheySayAndAreRefusedAtTheirFault(t *testing.T) {
	rows := chunkRows()
	if len(rows) < 60 {
		t.Fatalf("there are %d bodies only", len(rows))
	}
	for _, row := range rows {
		if got, want := checkPieces([]byte(row.body+row.rest)), row.want(); got != want {
			t.Errorf("%q, then %q:\ngot  %v\nwant %v", short(row.body), short(row.rest), got, want)
		}
		if row.fault != nil && row.fault.Kind != Malformed {
			t.Errorf("%v is of the kind %d", row.fault, row.fault.Kind)
		}
	}
}

func TestBodiesInChunksMayComeInAnyPieces(t *testing.T) {
	for _, row := range chunkRows() {
		b, want := []byte(row.body+row.rest), row.want()
		for cut := range len(b) + 1 {
			if len(b) > 1000 && cut > 20 && cut%1009 != 0 && (cut < len(row.body)-10 || cut > len(row.body)+10) {
				continue // of a long one: each takes its time
			}
			if got := checkPieces(b[:cut], b[cut:]); got != want {
				t.Errorf("%q, then %q, cut at %d:\ngot  %v\nwant %v", short(row.body), short(row.rest), cut, got, want)
				break
			}
		}
		pieces := make([][]byte, len(b))
		for i := range b {
			pieces[i] = b[i : i+1]
		}
		if got := checkPieces(pieces...); got != want {
			t.Errorf("%q, then %q, byte by byte:\ngot  %v\nwant %v", short(row.body), short(row.rest), got, want)
		}
	}
}

func TestNothingIsTakenBehindTheEndOrAFault(t *testing.T) {
	for _, row := range chunkRows() {
		var c Chunks
		b := []byte(row.body + row.rest)
		n, _ := c.Check(b)
		for range 3 {
			more, err := c.Check(b[n:])
			if want := row.want(); more != 0 || err != want.err || c.Done() != want.done || c.Begun() != want.begun {
				t.Errorf("%q, then %q again: %d bytes, %v, done %t, begun %t", short(row.body), short(row.rest), more, err, c.Done(), c.Begun())
			}
		}
	}
}

func TestBodiesThatNetHTTPWritesAreGood(t *testing.T) {
	for _, size := range []int{0, 1, 15, 16, 255, 4096, 70000} {
		var b bytes.Buffer
		w := httputil.NewChunkedWriter(&b)
		for range 3 {
			if _, err := w.Write(bytes.Repeat([]byte("\r\n0"), size)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\r\n")
		if got, want := checkPieces(b.Bytes()), (checked{b.Len(), nil, true, true}); got != want {
			t.Errorf("3 chunks of %d bytes:\ngot  %v\nwant %v", 3*size, got, want)
		}
	}
}

func TestChunksAllocateNothing(t *testing.T) {
	b := []byte(hello + "5;a=b\r\nhello\r\n0\r\nX-A: b\r\n\r\n")
	faulty := []byte(hello + "x")
	allocated := testing.AllocsPerRun(100, func() {
		var c, d Chunks
		if n, err := c.Check(b); n != len(b) || err != nil {
			t.Fatalf("%q: %d bytes, %v", b, n, err)
		}
		if n, err := d.Check(faulty); n != len(hello) || err == nil {
			t.Fatalf("%q: %d bytes, %v", faulty, n, err)
		}
	})
	if allocated != 0 {
		t.Errorf("%v allocations", allocated)
	}
}
