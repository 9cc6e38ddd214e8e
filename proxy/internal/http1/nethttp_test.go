package http1

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// Case P17.
func TestGoodHeadsAreReadAsNetHTTPReadsThem(t *testing.T) {
	server := newReference()
	defer server.close()
	for _, row := range headRows() {
		if good := checkReading(t, server, []byte(row.head)); good != (row.want.fault == nil) {
			t.Errorf("%q: good %t, want %t", short(row.head), good, !good)
		}
	}
}

// Parts of heads that are good by themselves may be faulty together. If they are not, net/http
// takes them together, too.
func TestHeadsOfAnyPartsAreReadAsNetHTTPReadsThem(t *testing.T) {
	server := newReference()
	defer server.close()
	r := rand.New(rand.NewPCG(1, 1))
	part := func(of []group) string {
		for {
			if g := of[r.IntN(len(of))]; g.want.fault == nil || r.IntN(20) == 0 {
				return g.parts[r.IntN(len(g.parts))]
			}
		}
	}
	good := 0
	const all = 5000
	for range all {
		lines := []string{part(requestLines), part(hostLines)}
		for range r.IntN(5) {
			lines = append(lines, part([][]group{fieldLines, framingLines}[r.IntN(2)]))
		}
		r.Shuffle(len(lines)-1, func(i, j int) { lines[1+i], lines[1+j] = lines[1+j], lines[1+i] })
		if checkReading(t, server, []byte(strings.Join(lines, "\r\n")+"\r\n\r\n")) {
			good++
		}
	}
	if good < all/4 || good > all*3/4 {
		t.Errorf("%d of %d heads are good", good, all)
	}
}

// behindHead is sent behind a head. Nothing of it belongs to one.
const behindHead = "behind the head"

// checkReading checks that the head which b begins with is read by net/http as it is read here, and
// that it reaches the handler of the server. It reports false, without any check, if the head is
// faulty or not whole.
func checkReading(t *testing.T, server *reference, b []byte) (good bool) {
	t.Helper()
	var h Head
	length, err := judgeHead(&h, b)
	if err != nil || length == 0 {
		return false
	}
	head := b[:length:length]
	checkHeadLength(t, head)
	request, answer := server.serve(append(head, behindHead...))
	if request == nil {
		t.Fatalf("%q: net/http has answered by itself: %q", head, answer)
	}
	compareHead(t, head, &h, request)
	return true
}

// checkHeadLength checks that net/http reads the head and no byte of what follows it.
func checkHeadLength(t *testing.T, head []byte) {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(append(head, behindHead...)))
	if _, err := http.ReadRequest(r); err != nil {
		t.Fatalf("%q: net/http refuses it: %v", head, err)
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != behindHead {
		t.Fatalf("%q: behind it net/http finds %q, %v", head, rest, err)
	}
}

// compareHead checks that net/http has read head as h says.
func compareHead(t *testing.T, head []byte, h *Head, r *http.Request) {
	t.Helper()
	host, chunked := h.Host, len(r.TransferEncoding) == 1 && r.TransferEncoding[0] == "chunked"
	if !h.Plain && r.URL.Host != "" {
		host = r.URL.Host // RFC 9112 section 3.2.2
	}
	length := h.Length
	if h.Chunked {
		length = -1
	}
	if r.Method != h.Method || r.RequestURI != h.Target || r.Host != host || r.ContentLength != length || chunked != h.Chunked || !chunked && r.TransferEncoding != nil {
		t.Errorf("%q: net/http reads %s %q, Host %q, length %d, codings %q; here it is %+v", head, r.Method, r.RequestURI, r.Host, r.ContentLength, r.TransferEncoding, h)
	}
	if r.ProtoMajor != 1 || h.Plain && (r.ProtoMinor != 1 || h.Chunked) || r.ProtoMinor != int(h.minor) {
		t.Errorf("%q: net/http reads %s; here it is %+v", head, r.Proto, h)
	}
	if r.ProtoAtLeast(1, 1) && r.Close != h.Close {
		t.Errorf("%q: net/http reads Close %t; here it is %+v", head, r.Close, h)
	}
	if fields := fieldsOf(h); !reflect.DeepEqual(fields, r.Header) {
		t.Errorf("%q: net/http reads the fields %q; here they are %q", head, r.Header, fields)
	}
}

// fieldsOf returns the fields of h as a net/http server shows them to its handler.
func fieldsOf(h *Head) http.Header {
	header := http.Header{}
	for _, f := range h.Fields {
		header.Add(f.Name, f.Value)
	}
	if h.Chunked {
		delete(header, "Transfer-Encoding")
		delete(header, "Trailer")
	}
	if pragma := header["Pragma"]; pragma != nil && pragma[0] == "no-cache" && header["Cache-Control"] == nil {
		header["Cache-Control"] = []string{"no-cache"} // net/http adds it (RFC 9111 section 5.4)
	}
	return header
}
