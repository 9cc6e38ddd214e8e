package http1

import (
	"bufio"
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// answerRow is the head of an answer, and whether it is plain.
type answerRow struct {
	head  string
	plain bool
}

// answerRows are heads of which each line but the first ends the status line with CRLF.
func answerRows() (rows []answerRow) {
	const length = "\r\nContent-Length: 5\r\n"
	for _, line := range []string{"HTTP/1.1 200 OK", "HTTP/1.1 200 ", "HTTP/1.1 299 Some words\tand tabs", "HTTP/1.1 404 Not Found", "HTTP/1.1 599 x"} {
		rows = append(rows, answerRow{line + length + "\r\n", true})
	}
	for _, line := range []string{"HTTP/1.1 200", "HTTP/1.1  200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 2x0 OK", "HTTP/1.1 +20 OK",
		"HTTP/1.0 200 OK", "HTTP/1.2 200 OK", "HTTP/2.0 200 OK", "http/1.1 200 OK", "HTTP/1.1 200 \xff", "HTTP/1.1 200 a\rb", "HTTP/1.1 200 a\x00",
		"HTTP/1.1 100 Continue", "HTTP/1.1 101 x", "HTTP/1.1 199 x", "HTTP/1.1 204 x", "HTTP/1.1 205 x", "HTTP/1.1 304 x", "HTTP/1.1 600 x", "HTTP/1.1 000 x"} {
		rows = append(rows, answerRow{line + length + "\r\n", false})
	}
	for fields, plain := range map[string]bool{
		"content-length: 0": true, "CONTENT-LENGTH:5": true, "Content-Length: \t 5 \t": true, "": false, "Content-Length:": false,
		"Content-Length: 05": false, "Content-Length: +5": false, "Content-Length: 5, 5": false, "Content-Length: 0x5": false,
		"Content-Length: 1234567890123456789": false, "Content-Length: 5\r\nContent-Length: 5": false, "Content-Length : 5": false,
		"Content-Length: 5\r\nConnection: close": true, "Content-Length: 5\r\nConnection: a, Close ,b": true, "Content-Length: 5\r\nConnection: keep-alive": true,
		"Content-Length: 5\r\nX-A: a\tb": true, "Content-Length: 5\r\nX-A:": true, "Content-Length: 5\r\nX_A: a": false, "Content-Length: 5\r\nX-A: \xff": false,
		"Content-Length: 5\r\nX-A: a\x00b": false, "Content-Length: 5\r\nX-A: a\r\n b": false, "Content-Length: 5\r\nX-A: a\rb": false,
		"Content-Length: 5\r\nX-A: 1\r\nx-a: 2": true, "Content-Length: 5\r\n: a": false, "Content-Length: 5\r\nX A: a": false, "Content-Length: 5\r\nno colon": false,
		"Content-Length: 5\r\nTransfer-Encoding: chunked": false, "Content-Length: 5\r\nTransfer-Encoding: identity": false,
		"Content-Length: 5\r\ntrailer: X-A": false, "Content-Length: 5\r\nupgrade: h2c": false, "Transfer-Encoding: chunked": false,
	} {
		if fields != "" {
			fields += "\r\n"
		}
		rows = append(rows, answerRow{"HTTP/1.1 200 OK\r\n" + fields + "\r\n", plain})
	}
	return rows
}

func TestAnswersArePlainOrForSomebodyElse(t *testing.T) {
	for _, row := range answerRows() {
		length, err := Find([]byte(row.head), 0)
		plain := err == nil && length == len(row.head) && new(Answer).Parse([]byte(row.head))
		if plain != row.plain {
			t.Errorf("%q: plain is %t, want %t (%v)", row.head, plain, row.plain, err)
		}
		checkAnswer(t, []byte(row.head))
	}
}

// FuzzAnswer: a plain answer is read by net/http as it was read here.
func FuzzAnswer(f *testing.F) {
	for _, row := range answerRows() {
		f.Add([]byte(row.head))
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkAnswer(t, b) })
}

// checkAnswer compares what is read of an answer here, if it is plain, with what net/http reads.
func checkAnswer(t *testing.T, b []byte) {
	t.Helper()
	length, err := Find(b, 0)
	var a Answer
	if err != nil || length == 0 || !a.Parse(b[:length]) {
		return
	}
	const behind = "what follows the head"
	in := bufio.NewReader(strings.NewReader(string(b[:length]) + behind))
	res, err := http.ReadResponse(in, &http.Request{Method: http.MethodGet})
	if err != nil {
		t.Fatalf("%q: net/http says %v", b, err)
	}
	if res.StatusCode != a.Status || res.ContentLength != a.Length || res.Close != a.Close || res.Uncompressed ||
		len(res.TransferEncoding) != 0 || len(res.Trailer) != 0 || res.Proto != "HTTP/1.1" {
		t.Fatalf("%q is read as %+v, by net/http as %+v", b, a, res)
	}
	header := http.Header{}
	for _, f := range a.Fields {
		header.Add(f.Name, f.Value)
	}
	if a.Close { // which net/http has taken note of
		delete(header, "Connection")
	}
	if len(header) != len(res.Header) {
		t.Fatalf("%q: the fields are %v, for net/http %v", b, header, res.Header)
	}
	for name, values := range res.Header {
		if !slices.Equal(header[name], values) {
			t.Fatalf("%q: %s is %q, for net/http %q", b, name, header[name], values)
		}
	}
	rest := make([]byte, len(behind))
	if n, _ := in.Read(rest); !bytes.HasPrefix([]byte(behind), rest[:n]) || n == 0 {
		t.Fatalf("%q: net/http reads on in the body: %q", b, rest[:n])
	}
}
