package proxy

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// wireReply is what a target sends, and what the app gets of it.
type wireReply struct {
	name   string
	method string // of the request
	send   string // byte by byte as it is
	closes bool   // only the end of the connection tells that there is no more; else that may come or not
	status int
	code   string // of the problem that the app is told in its place, if it is
	body   string
	cut    bool // the app sees that the body is not whole
}

// passed is an answer that the app gets.
func passed(name, send string, status int, body string) wireReply {
	return wireReply{name: name, method: "GET", send: send, status: status, body: body}
}

// unreadable is an answer of which the app gets nothing but that there is none.
func unreadable(name, send string) wireReply {
	return wireReply{name: name, method: "GET", send: send, status: 502, code: codeUnreachable}
}

// broken is an answer of which the app gets a part that cannot pass for the whole.
func broken(name, send string) wireReply {
	return wireReply{name: name, method: "GET", send: send, status: 200, cut: true}
}

// upToEnd makes the end of the connection the end of the answer.
func upToEnd(row wireReply) wireReply {
	row.closes = true
	return row
}

// to makes the answer one to a request of another method.
func to(method string, row wireReply) wireReply {
	row.method, row.name = method, row.name+" to "+method
	return row
}

// wireReplies returns all rows.
func wireReplies() []wireReply {
	return slices.Concat(wireStatusRows(), wireReplyFieldRows(), wireReplyLengthRows(), wireReplyCodingRows(), wireReplyChunkRows(), wireUnaskedRows())
}

// TestWireAnswersAreReadInOneWay has a target send each answer of the table, once in one piece with
// the end of the connection behind it, and once in bytes without. The app gets what can be read in
// one way only, and the requests that follow get answers of their own.
func TestWireAnswersAreReadInOneWay(t *testing.T) {
	rows := wireReplies()
	for i, row := range rows {
		t.Run(wireName(i, row.name), func(t *testing.T) {
			row.run(t, false, true, "1.1")
			row.run(t, true, row.closes, "1.1")
		})
	}
	t.Logf("%d rows", len(rows))
}

// last reports whether the answer is the last one on its connection (RFC 9112 section 9.3). That
// is not asked of informational answers in front of it.
func (row wireReply) last() bool {
	head, _, _ := strings.Cut(row.send, "\r\n\r\n")
	switch {
	case strings.HasPrefix(head, "HTTP/1.1 1"), strings.HasPrefix(head, "HTTP/1.0 1"):
		return false
	case strings.HasPrefix(head, "HTTP/1.0 "):
		return !strings.Contains(head, "keep-alive")
	}
	return regexp.MustCompile("\r\nConnection: (.*, )?close\r\n").MatchString(head + "\r\n")
}

// run has the target answer one request, of an app that speaks a version of HTTP/1, and judges what
// the app gets.
func (row wireReply) run(t *testing.T, inBytes, closes bool, version string) {
	t.Helper()
	s, sent := newSide(t, setup{}), make(chan struct{})
	s.up.play(func(r *upRequest) bool {
		defer close(sent)
		for _, piece := range wirePieces(row.send, inBytes) {
			_, _ = io.WriteString(r, piece)
		}
		return !closes
	})
	got, _ := dialRaw(t, s.addr).converse(row.method + " /alpha/x HTTP/" + version + "\r\n" + wireHost + "Connection: close\r\n\r\n")
	row.check(t, got)
	s.up.play(nil)
	<-sent // what comes later than the next request is sent cannot be told from its answer
	for range 2 {
		if a := s.get("/alpha/next"); a.status != 200 || a.body != "hello" || a.broken != nil {
			t.Errorf("the next request got %d %q (%v, %v)", a.status, a.body, a.err, a.broken)
		}
	}
	if r := s.up.last(); r.target != "/next" {
		t.Errorf("the target saw %q last", r.target)
	}
	if row.last() && wireDials(s) < 2 {
		t.Error("a connection whose last answer this was is used again")
	}
	if t.Failed() {
		t.Fatalf("in bytes: %t, closes: %t, HTTP/%s; the app got %.600q", inBytes, closes, version, got)
	}
}

// check judges what the app got.
func (row wireReply) check(t *testing.T, got string) {
	t.Helper()
	answers, err := wireAnswers(got, row.method)
	if err != nil || len(answers) == 0 {
		t.Fatalf("the app got %.600q (%v)", got, err)
	}
	for _, a := range answers[:len(answers)-1] {
		if a.status >= 200 {
			t.Errorf("%d answers", len(answers))
		}
	}
	switch a := answers[len(answers)-1]; {
	case row.code != "":
		a.problem(t, row.status, row.code)
	case a.status != row.status || a.whole == row.cut || !a.closes() || a.toEnd && a.proto == "HTTP/1.1":
		t.Errorf("the app got %d, whole: %t, want %d, cut: %t", a.status, a.whole, row.status, row.cut)
	case !row.cut && a.body != row.body:
		t.Errorf("the app got %.200q, want %.200q", a.body, row.body)
	}
}

// TestWireAnswersAreFramedForOldApps: an app that speaks HTTP/1.0 gets no chunks, and otherwise the
// same.
func TestWireAnswersAreFramedForOldApps(t *testing.T) {
	for i, row := range wireReplies() {
		if !row.cut { // only a length tells an old app that an answer is not whole
			t.Run(wireName(i, row.name), func(t *testing.T) { row.run(t, false, true, "1.0") })
		}
	}
}

// TestWireAnswersThatEndEarlyAreNeverWhole: an answer that ends anywhere before its end is a 502, or
// one that does not pass for whole.
func TestWireAnswersThatEndEarlyAreNeverWhole(t *testing.T) {
	s := newSide(t, setup{})
	for _, whole := range []string{
		ok("hello"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
	} {
		for n := range len(whole) {
			row := upToEnd(broken(whole[:n], whole[:n]))
			s.up.play(func(r *upRequest) bool {
				_, _ = io.WriteString(r, row.send)
				return false
			})
			if _, _, body := strings.Cut(strings.TrimPrefix(row.send, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), "\r\n\r\n"); !body {
				row.status, row.code, row.cut = 502, codeUnreachable, false
			}
			got, _ := dialRaw(t, s.addr).converse("GET /alpha/x HTTP/1.1\r\n" + wireHost + "Connection: close\r\n\r\n")
			if row.check(t, got); t.Failed() {
				t.Fatalf("%q became %q", row.send, got)
			}
		}
	}
}
