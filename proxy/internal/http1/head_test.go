package http1

import (
	"bytes"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// short shows a head, of which one as long as may be is not shown whole.
func short(head string) string {
	if len(head) > 300 {
		return head[:100] + "…" + head[len(head)-100:]
	}
	return head
}

// judgeHead finds and parses the head that b begins with. Without a fault it returns its length.
func judgeHead(h *Head, b []byte) (int, error) {
	length, err := Find(b, 0)
	if err != nil || length == 0 {
		return length, err
	}
	return length, h.Parse(b[:length])
}

// Case P17.
func TestHeadsArePlainOrWellFormedOrRefusedForWhatIsWrong(t *testing.T) {
	rows := headRows()
	if len(rows) < 120 {
		t.Fatalf("there are %d heads only", len(rows))
	}
	var h Head
	for _, row := range rows {
		length, err := judgeHead(&h, []byte(row.head))
		if row.want.fault != nil {
			if fault, ok := errors.AsType[*Fault](err); !ok || fault != row.want.fault || fault.Kind != row.want.kind {
				t.Errorf("%q: length %d, %v, want the fault: %v", short(row.head), length, err, row.want.fault)
			}
			continue
		}
		if err != nil || length != len(row.head) || h.Plain != row.want.plain {
			t.Errorf("%q: length %d of %d, plain %t, %v, want plain %t", short(row.head), length, len(row.head), h.Plain, err, row.want.plain)
		}
	}
}

// A byte anywhere in a head has one meaning: in the method, the target, a name, a value and the
// Host each of the 256 is taken or refused as the grammar says.
func TestEachByteIsTakenWhereTheGrammarHasIt(t *testing.T) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	const token = letters + "!#$%&'*+-.^_`|~" // RFC 9110 section 5.6.2
	const marks = "\"(),/:;<=>?@[\\]{}"       // visible, and of no token
	above := string(upper())                  // obs-text
	plainTarget := strings.NewReplacer("#", "", `\`, "").Replace(token + marks)
	for _, place := range []struct {
		name, before, behind string
		plain, good          string // the bytes that are taken
	}{
		{"the method", "GET", " / HTTP/1.1\r\nHost: h\r\n\r\n", "", token},
		{"the target", "GET /a", "b HTTP/1.1\r\nHost: h\r\n\r\n", plainTarget, token + marks + above},
		{"the query", "GET /?", "b HTTP/1.1\r\nHost: h\r\n\r\n", plainTarget, strings.ReplaceAll(token+marks, "#", "") + above},
		{"a name", "GET / HTTP/1.1\r\nHost: h\r\nX", "Y: b\r\n\r\n", strings.ReplaceAll(token, "_", ""), token},
		{"a value", "GET / HTTP/1.1\r\nHost: h\r\nX: a", "b\r\n\r\n", token + marks + " \t", token + marks + " \t" + above},
		{"the Host", "GET / HTTP/1.1\r\nHost: a", "b\r\n\r\n", letters + ".-_:[]", letters + ".-_:[]!$%&'()*+,;=~"},
	} {
		for c := range 256 {
			head := place.before + string([]byte{byte(c)}) + place.behind
			taken := strings.IndexByte(place.good, byte(c)) >= 0
			if c == ':' && place.name == "a name" || c == '%' && place.name == "the target" || c == ':' && place.name == "the Host" {
				continue // the name ends there; an escape begins there; a port does
			}
			var h Head
			length, err := judgeHead(&h, []byte(head))
			if (err == nil && length > 0) != taken || taken && h.Plain != (strings.IndexByte(place.plain, byte(c)) >= 0) {
				t.Errorf("%#02x in %s, %q: length %d, plain %t, %v", c, place.name, head, length, h.Plain, err)
			}
		}
	}
}

// upper returns the bytes from 0x80 on.
func upper() (all []byte) {
	for c := 0x80; c < 0x100; c++ {
		all = append(all, byte(c))
	}
	return all
}

func TestHeadsAreTakenApart(t *testing.T) {
	for head, want := range map[string]Head{
		"PUT /a/b?c HTTP/1.1\r\nhost: h:80\r\nX-A:1\r\nx-a: \t2 \r\nContent-Length: 120\r\nconnection: x, close\r\nX-B:\r\n\r\n": {
			Method: "PUT", Target: "/a/b?c", Host: "h:80", Plain: true, Length: 120, Close: true,
			Fields: []Field{{"X-A", "1"}, {"x-a", "2"}, {"Content-Length", "120"}, {"connection", "x, close"}, {"X-B", ""}},
		},
		"POST http://h/%41 HTTP/1.2\r\nTransfer-Encoding: CHUNKED\r\nExpect: 100-continue\r\nHost: a,b\r\nTrailer: X-T\r\nTE: trailers\r\n\r\n": {
			Method: "POST", Target: "http://h/%41", Host: "a,b", Chunked: true, Expects: true,
			Fields: []Field{{"Transfer-Encoding", "CHUNKED"}, {"Expect", "100-continue"}, {"Trailer", "X-T"}, {"TE", "trailers"}},
		},
		"m / HTTP/1.0\r\nUpgrade: x\r\nExpect:\r\nContent-Length: 007\r\n\r\n": {
			Method: "m", Target: "/", Length: 7, Fields: []Field{{"Upgrade", "x"}, {"Expect", ""}, {"Content-Length", "007"}},
		},
	} {
		var h Head
		if _, err := judgeHead(&h, []byte(head)); err != nil {
			t.Errorf("%q: %v", head, err)
			continue
		}
		h.minor, h.hosts, h.lengths, h.codings = 0, 0, 0, 0
		if !reflect.DeepEqual(h, want) {
			t.Errorf("%q:\ngot  %+v\nwant %+v", head, h, want)
		}
	}
}

func TestNothingOfAHeadRemainsInTheNext(t *testing.T) {
	const before = "PROPFIND http://i/ HTTP/1.2\r\nHost: i\r\nX-A: b\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
	const beside = "PUT /i HTTP/1.1\r\nHost: i\r\nX-A: b\r\nX-C: d\r\nContent-Length: 7\r\n\r\n"
	for _, row := range headRows() {
		if row.want.fault != nil {
			continue
		}
		var first, used Head
		_, err := judgeHead(&first, []byte(row.head))
		for _, other := range []string{before, beside} {
			_, errOther := judgeHead(&used, []byte(other))
			_, errAgain := judgeHead(&used, []byte(row.head))
			used.Fields = append([]Field(nil), used.Fields...)
			if err != nil || errOther != nil || errAgain != nil || !reflect.DeepEqual(used, first) {
				t.Errorf("%q: %+v, %v; behind %q: %+v, %v, %v", short(row.head), first, err, other, used, errOther, errAgain)
			}
		}
	}
}

func TestTheHeadDoesNotChangeWithTheBytesThatItWasReadFrom(t *testing.T) {
	b := []byte("PUT /a HTTP/1.1\r\nHost: h\r\nX-A: b\r\n\r\n")
	var h Head
	length, err := judgeHead(&h, b)
	clear(b)
	if err != nil || length != len(b) || h.Method != "PUT" || h.Target != "/a" || h.Host != "h" || h.Fields[0] != (Field{"X-A", "b"}) {
		t.Errorf("length %d, %v, %+v", length, err, h)
	}
}

func TestRequestsThatNetHTTPWritesArePlain(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		for _, url := range []string{"http://h", "http://[::1]:8080/a b/%2f?c=d&f=%20", "http://u:p@h/ä/#fragment"} {
			for _, length := range []int{0, 5} {
				r, err := http.NewRequest(method, url, strings.NewReader(strings.Repeat("x", length)))
				if err != nil {
					t.Fatal(err)
				}
				var b bytes.Buffer
				if err := r.Write(&b); err != nil {
					t.Fatal(err)
				}
				var h Head
				n, err := judgeHead(&h, b.Bytes())
				if err != nil || n != b.Len()-length || !h.Plain || h.Length != int64(length) || h.Method != method || h.Host != r.Host || h.Target != r.URL.RequestURI() {
					t.Errorf("%q: length %d, %v, %+v", b.Bytes(), n, err, h)
				}
			}
		}
	}
}

func TestParseOfAPlainHeadAllocatesOnce(t *testing.T) {
	head := []byte("POST /alpha/v1/records?limit=50 HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n" +
		"Accept-Encoding: gzip\r\nX-Request-Id: 4bf92f3577b34da6a3ce929d0e0e4736\r\nContent-Type: application/json\r\nContent-Length: 17\r\nConnection: keep-alive\r\n\r\n")
	h := Head{Fields: make([]Field, 0, 16)}
	length := 0
	allocated := testing.AllocsPerRun(100, func() {
		var err error
		if length, err = judgeHead(&h, head); err != nil {
			t.Fatal(err)
		}
	})
	if allocated > 1 || !h.Plain || length != len(head) {
		t.Errorf("%q: %v allocations, plain %t, length %d", head, allocated, h.Plain, length)
	}
}
