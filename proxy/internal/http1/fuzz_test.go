package http1

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// longSeed is how long a seed may be. A fuzzer gets nowhere with longer ones, which it would make
// shorter for minutes; the tests have them all.
const longSeed = 1 << 10

// FuzzHead: what is good here reaches the handler of a net/http server, which reads it as it was
// read here. How the bytes come makes no difference.
func FuzzHead(f *testing.F) {
	for i, row := range headRows() {
		if len(row.head) <= longSeed {
			f.Add([]byte(row.head), i)
		}
	}
	server := newReference()
	f.Cleanup(server.close)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		length, err := Find(b, 0)
		checkCut(t, b, cut, length, err)
		checkReading(t, server, b)
	})
}

// checkCut checks that Find says the same of b if it has seen the beginning of it before.
func checkCut(t *testing.T, b []byte, cut, length int, err error) {
	t.Helper()
	cut = int(uint(cut) % uint(len(b)+1))
	gotLength, gotErr := Find(b[:cut], 0)
	if gotLength == 0 && gotErr == nil {
		gotLength, gotErr = Find(b, cut)
	}
	if gotLength != length || gotErr != err {
		t.Fatalf("%q, cut at %d: length %d, %v; whole: length %d, %v", b, cut, gotLength, gotErr, length, err)
	}
}

const (
	chunkedHead = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	nextRequest = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
)

// FuzzChunks: a body that has ended here is read to its end by net/http, which finds the same data
// in it as a simple decoder, and the next request behind it. How the bytes come makes no difference.
func FuzzChunks(f *testing.F) {
	for i, row := range chunkRows() {
		if len(row.body+row.rest) <= longSeed {
			f.Add([]byte(row.body+row.rest), uint64(i))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		whole := checkPieces(b)
		if pieces := cutAtRandom(b, seed); len(pieces) > 1 {
			if got := checkPieces(pieces...); got != whole {
				t.Fatalf("%q: %v; whole: %v", pieces, got, whole)
			}
		}
		if whole.done {
			checkBody(t, b[:whole.n])
		}
	})
}

func TestGoodBodiesInChunksAreReadAsNetHTTPReadsThem(t *testing.T) {
	for _, row := range chunkRows() {
		b := []byte(row.body + row.rest)
		if got := checkPieces(b); got.done {
			checkBody(t, b[:got.n])
		}
	}
}

// cutAtRandom cuts b into pieces, some of them empty.
func cutAtRandom(b []byte, seed uint64) (pieces [][]byte) {
	r := rand.New(rand.NewPCG(seed, 0))
	for most := 1 + r.IntN(64); len(b) > 0; {
		n := r.IntN(min(most, len(b)) + 1)
		pieces, b = append(pieces, b[:n]), b[n:]
	}
	return pieces
}

// checkBody checks that net/http reads body, to its end and no further.
func checkBody(t *testing.T, body []byte) {
	t.Helper()
	r := bufio.NewReader(strings.NewReader(chunkedHead + string(body) + nextRequest))
	request, err := http.ReadRequest(r)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(request.Body)
	if err != nil {
		t.Fatalf("%q: net/http reads the data %q, %v", short(string(body)), short(string(data)), err)
	}
	if want := decode(t, body); !bytes.Equal(data, want) {
		t.Errorf("%q: net/http reads the data %q, want %q", short(string(body)), short(string(data)), short(string(want)))
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != nextRequest {
		t.Errorf("%q: behind it net/http finds %q, %v", short(string(body)), rest, err)
	}
}

// decode returns the data of a good body in chunks. It knows nothing of faults.
func decode(t *testing.T, body []byte) (data []byte) {
	t.Helper()
	for {
		line, rest, _ := bytes.Cut(body, []byte("\r\n"))
		digits, _, _ := strings.Cut(string(line), ";")
		n, err := strconv.ParseInt(digits, 16, 64)
		if err != nil || n > int64(len(rest)-len("\r\n")) {
			t.Fatalf("%q of %q: size %d, %v", line, body, n, err)
		}
		if n == 0 {
			return data
		}
		data, body = append(data, rest[:n]...), rest[n+2:]
	}
}
