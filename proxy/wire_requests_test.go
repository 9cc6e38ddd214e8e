package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// wireKind says what becomes of a request.
type wireKind int

const (
	wireServed    wireKind = iota // the target gets it, once
	wireDenied                    // it is well-formed, and refused
	wireMalformed                 // it is refused, and the connection ends
	// wireLate is wireMalformed, but the fault lies behind the line with the size of the first
	// chunk. If that comes alone the request is sent on, and cut at the fault.
	wireLate
)

// wireRequest is a request as an app sends it, and what becomes of it.
type wireRequest struct {
	name   string
	send   string // {target} stands for the host and port of the target
	kind   wireKind
	status int
	code   string // of the problem that the app is told, if it is one
	line   string // that the target gets; "" if nothing at all is to be sent, and nothing dialled
	body   string
}

const (
	wireHost = "Host: localhost\r\n"
	// wireNext follows what is refused. It must never be answered.
	wireNext = "GET /alpha/smuggled HTTP/1.1\r\n" + wireHost + "\r\n"
)

// wireLine is a request with the given request line.
func wireLine(line string) string { return line + "\r\n" + wireHost + "\r\n" }

// wireGet is a GET with the given field lines.
func wireGet(fields string) string { return "GET /alpha/x HTTP/1.1\r\n" + wireHost + fields + "\r\n" }

// wirePost is a POST with the given field lines and body.
func wirePost(fields, body string) string {
	return "POST /alpha/x HTTP/1.1\r\n" + wireHost + fields + "\r\n" + body
}

// wireChunks is a POST with a body in chunks, of the given bytes.
func wireChunks(body string) string { return wirePost("Transfer-Encoding: chunked\r\n", body) }

// served is a request that the target gets with this request line and body.
func served(name, send, line, body string) wireRequest {
	return wireRequest{name, send, wireServed, 200, "", line, body}
}

// denied is a well-formed request that is refused.
func denied(name, send string, status int, code string) wireRequest {
	return wireRequest{name, send, wireDenied, status, code, "", ""}
}

// refused is a request that is the last one on its connection.
func refused(name, send string, status int, code string) wireRequest {
	return wireRequest{name, send, wireMalformed, status, code, "", ""}
}

// malformed is a request with a head that breaks the grammar.
func malformed(name, send string) wireRequest {
	return refused(name, send, 400, "request_malformed")
}

// wireRequests returns all rows.
func wireRequests() []wireRequest {
	return slices.Concat(wireLineRows(), wireTargetRows(), wireHostRows(), wireFieldRows(), wireSizeRows(), wireLengthRows(),
		wireCodingRows(), wireChunkRows(), wireTrailerRows(), wireUpgradeRows(), wireSmugglingRows())
}

// TestWireRequestsAreServedOnceOrRefused sends each request of the table, by the clock of
// a bubble, once in one piece and once byte by byte.
//
// Cases A6, A8 and A10.
func TestWireRequestsAreServedOnceOrRefused(t *testing.T) {
	rows := wireRequests()
	for _, inBytes := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}})
			for _, row := range rows { // those that leave the side as it was
				if row.kind == wireServed || row.cut(inBytes) {
					continue
				}
				if row.runOn(s, inBytes); t.Failed() {
					t.Fatalf("%.60q, in bytes: %t", row.name, inBytes)
				}
			}
		})
		for i, row := range rows {
			if row.kind == wireServed || row.cut(inBytes) {
				t.Run(wireName(i, row.name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { row.run(t, inBytes) })
				})
			}
		}
	}
	t.Logf("%d rows", len(rows))
}

// wireName is the name of the test of a row.
func wireName(i int, name string) string { return fmt.Sprintf("%d %.60q", i, name) }

// run is runOn for a side of its own.
func (row wireRequest) run(t *testing.T, inBytes bool) {
	row.runOn(newSide(t, setup{pipes: &pipes{}}), inBytes)
}

// runOn sends the request, byte by byte if told so, and judges what becomes of it. No other request
// may have reached the side's target.
func (row wireRequest) runOn(s *side, inBytes bool) {
	t := s.t
	target := watch(s, func(*upRequest) string { return ok("hello") })
	send := strings.ReplaceAll(row.send, "{target}", s.up.l.Addr().String())
	if row.ends() {
		send += wireNext
	}
	began := time.Now()
	got, last := s.dial(s.addr).converseUntil(5*time.Second, wirePieces(send, inBytes)...)
	ended := time.Since(began)
	synctest.Wait()
	s.proxy.CloseIdleConnections() // so that the target sees the end of its connection, too
	synctest.Wait()
	method, _, _ := strings.Cut(row.send, " ")
	answers, err := wireAnswers(got, method)
	if err != nil {
		t.Fatal(err)
	}
	if last.Sub(began) > time.Second {
		t.Errorf("the answer came after %v", last.Sub(began))
	}
	answers = slices.DeleteFunc(answers, func(a wireAnswer) bool { return a.status == 100 })
	if row.cut(inBytes) && len(answers) == 0 {
		neverWhole(t, target.all())
		return
	}
	if len(answers) != 1 || !answers[0].whole {
		t.Fatalf("the app got %.500q", got)
	}
	row.answered(t, answers[0], method)
	if row.ends() && (ended > time.Second || !answers[0].closes()) {
		t.Errorf("the connection ends after %v, with %q", ended, answers[0].header["Connection"])
	}
	if strings.Contains(s.log.String(), "panic") {
		t.Errorf("the log says %q", s.log.String())
	}
	row.reached(s, target.all(), inBytes)
}

// reached fails the test unless what the side's target has seen is what it must get.
func (row wireRequest) reached(s *side, seen []wireSeen, inBytes bool) {
	s.t.Helper()
	switch {
	case row.kind == wireServed && len(seen) == 1 && wireDials(s) == 1 && s.idp.count.Load() == 1:
		seen[0].check(s.t, row.line, row.body, s.up.l.Addr().String())
	case row.kind == wireServed:
		s.t.Errorf("the target saw %d requests and %d connections", len(seen), wireDials(s))
	case row.cut(inBytes):
		neverWhole(s.t, seen)
	default:
		s.untouched()
		if n := wireDials(s); n != 0 {
			s.t.Errorf("%d connections to the target", n)
		}
	}
}

// answered fails the test unless a is what the app must get, to a request of the given method.
func (row wireRequest) answered(t *testing.T, a wireAnswer, method string) {
	t.Helper()
	if row.code != "" {
		a.problem(t, row.status, row.code)
	} else if a.status != row.status || a.body != "hello" && method != "HEAD" {
		t.Errorf("the app got %d %q, want %d", a.status, a.body, row.status)
	}
}

// ends reports whether the request is the last one on its connection.
func (row wireRequest) ends() bool { return row.kind == wireMalformed || row.kind == wireLate }

// cut reports whether the request may be sent on in part, since its fault is not seen when the line
// with the size of the first chunk is. Then the app may see no more than the end of the connection.
func (row wireRequest) cut(inBytes bool) bool {
	return row.kind == wireLate && (inBytes || len(row.send) > 4000)
}

// closes reports whether the answer says that the connection ends.
func (a wireAnswer) closes() bool { return slices.Equal(a.header["Connection"], []string{"close"}) }

// neverWhole fails the test if a target got more than one request, or a whole one.
func neverWhole(t *testing.T, seen []wireSeen) {
	t.Helper()
	if len(seen) > 1 || len(seen) == 1 && (seen[0].whole || seen[0].behind != "") {
		t.Errorf("the target saw %d requests, the first with %q", len(seen), seen[0].raw)
	}
}

// wirePieces returns the pieces that a request is sent in: all at once, or byte by byte, as far as
// it has not too many.
func wirePieces(send string, inBytes bool) []string {
	if !inBytes {
		return []string{send}
	}
	var pieces []string
	for piece := range slices.Chunk([]byte(send), 1+len(send)/4000) {
		pieces = append(pieces, string(piece))
	}
	return pieces
}

// TestWireNothingBehindAFaultIsAnswered: a malformed request behind good ones is answered with its
// problem, behind their answers, and nothing that follows it is.
//
// Case A8.
func TestWireNothingBehindAFaultIsAnswered(t *testing.T) {
	for _, first := range []string{wireGet(""), wirePost("Content-Length: 5\r\n", "12345"), wireGet("TE: trailers\r\n")} {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}})
			for _, row := range wireRequests() {
				if row.ends() && !row.cut(false) {
					row.follows(s, first)
				}
			}
		})
	}
}

// follows sends first twice, and then the request.
func (row wireRequest) follows(s *side, first string) {
	t, before := s.t, len(s.up.requests())
	got, _ := s.dial(s.addr).converse(first + first + strings.ReplaceAll(row.send, "{target}", "evil.example") + wireNext)
	answers, err := wireAnswers(got, "")
	if err != nil || len(answers) != 3 {
		t.Fatalf("%.60q: the app got %.500q (%v)", row.name, got, err)
	}
	for _, a := range answers[:2] {
		if a.status != 200 || a.body != "hello" || a.closes() {
			t.Errorf("in front of the fault: %d %q", a.status, a.body)
		}
	}
	answers[2].problem(t, row.status, row.code)
	synctest.Wait()
	if n := len(s.up.requests()); n != before+2 || s.up.last().target != "/x" {
		t.Errorf("the target saw %d requests", n-before)
	}
	if t.Failed() {
		t.Fatalf("%.60q, behind %.60q", row.name, first)
	}
}

// TestWireRefusalsArriveOverTCP: on sockets, too, each malformed request gets its problem document
// and the end of the connection, whatever the app still sends, and nothing is dialled.
//
// Case A8.
func TestWireRefusalsArriveOverTCP(t *testing.T) {
	s := newSide(t, setup{})
	for _, row := range wireRequests() {
		if !row.ends() || row.cut(false) {
			continue
		}
		got, _ := dialRaw(t, s.addr).converse(row.send + wireNext)
		answers, err := wireAnswers(got, "")
		if err != nil || len(answers) != 1 {
			t.Fatalf("%.60q: the app got %.300q (%v)", row.name, got, err)
		}
		answers[0].problem(t, row.status, row.code)
	}
	s.untouched()
	if n := wireDials(s); n != 0 {
		t.Errorf("%d connections to the target", n)
	}
}
