package proxy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// differences are what the sidecar changes in an answer: what filter withholds
// or adds, the framing of one hop, and the Date that RFC 9110 section 6.6.1 asks for.
var differences = []string{"Vary", "Cache-Control", "Connection", "Transfer-Encoding", "Date", "Set-Cookie"}

// TestRequestsAndAnswersPassUnchanged asks a target directly and through the sidecar: each odd but
// legal exchange without and with a body, which takes the general way, and as a
// client that closes after it.
//
// Case G5.
func TestRequestsAndAnswersPassUnchanged(t *testing.T) {
	for variant, more := range map[string]string{"": "", "with a body": "Content-Length: 4\r\nContent-Type: a/b\r\n",
		"closing": "Connection: close\r\n", "to the odd path": ""} {
		path := "/x"
		if variant == "to the odd path" {
			path = "/a%2Fb/%20+;v=1/'()*!@:$&,=~/?q=%zz&a;b=+&"
		}
		fidelity(t, variant, path, more)
	}
}

func fidelity(t *testing.T, variant, path, more string) {
	s := newSide(t, setup{})
	cookies := strings.Repeat("Set-Cookie: a=b\r\n", 100)
	for name, c := range map[string]struct{ method, lines, says string }{
		"plain":           {"GET", "", ok("hello")},
		"HEAD":            {"HEAD", "", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n"},
		"HEAD, no length": {"HEAD", "", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n"},
		"HEAD, chunked":   {"HEAD", "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		"204":             {"DELETE", "", "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"},
		"205":             {"GET", "", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"},
		"304":             {"GET", "If-None-Match: \"x\"\r\n", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nExpires: 0\r\n\r\n"},
		"206": {"GET", "Range: bytes=0-1,3-4\r\nIf-Range: \"x\"\r\n", "HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=B\r\n" +
			"Content-Length: 12\r\n\r\n--B\r\nab\r\n--B"},
		"416":               {"GET", "Range: bytes=9-\r\n", "HTTP/1.1 416 X\r\nContent-Range: bytes */5\r\nContent-Length: 0\r\n\r\n"},
		"gzip unasked":      {"GET", "", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"},
		"gzip asked":        {"GET", "Accept-Encoding: gzip\r\n", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"},
		"zstd":              {"GET", "Accept-Encoding: zstd, br;q=0.5\r\n", "HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\nContent-Length: 4\r\n\r\n\x28\xb5\x2f\xfd"},
		"no type":           {"GET", "", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"},
		"no type, chunked":  {"GET", "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n<html>\r\n0\r\n\r\n"},
		"empty chunked":     {"GET", "", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		"trailers":          {"GET", "TE: trailers\r\n", "HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n"},
		"unannounced":       {"GET", "TE: trailers\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n"},
		"8-bit":             {"GET", "X-In: \xe9\xff\r\n", "HTTP/1.1 200 OK\r\nX-A: caf\xe9 \xff\xfe\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n"},
		"many, in order":    {"GET", "A: 1\r\nA: 2\r\nA: 3\r\n", "HTTP/1.1 200 OK\r\nX-A: 3\r\nX-A: 1\r\nx-a: 2\r\nLink: <https://a.example/>, <https://b.example/>\r\nLink: <https://c.example/>\r\nContent-Length: 0\r\n\r\n"},
		"100 cookies":       {"GET", "", "HTTP/1.1 200 OK\r\n" + cookies + "Content-Length: 0\r\n\r\n"},
		"HTTP/1.0":          {"GET", "", "HTTP/1.0 200 OK\r\nContent-Type: a/b\r\n\r\nuntil the end"},
		"no framing":        {"GET", "", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: a/b\r\n\r\nuntil the end"},
		"status 299":        {"GET", "", "HTTP/1.1 299 X\r\nContent-Length: 0\r\n\r\n"},
		"status 599":        {"GET", "", "HTTP/1.1 599 X\r\nContent-Length: 2\r\n\r\nno"},
		"status 999":        {"GET", "", "HTTP/1.1 999 X\r\nContent-Length: 2\r\n\r\nno"},
		"401":               {"POST", "", "HTTP/1.1 401 X\r\nWWW-Authenticate: Bearer\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n"},
		"dates":             {"GET", "If-Modified-Since: x\r\n", "HTTP/1.1 200 OK\r\nDate: yesterday\r\nLast-Modified: x\r\nAge: 5\r\nContent-Length: 0\r\n\r\n"},
		"CORS and security": {"GET", "", "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nX-Frame-Options: DENY\r\nContent-Security-Policy: x\r\nServer: y\r\nContent-Length: 0\r\n\r\n"},
		"disposition":       {"GET", "", "HTTP/1.1 200 OK\r\nContent-Disposition: attachment; filename=\"\xc3\xa9\"\r\nContent-Length: 0\r\n\r\n"},
		"LF lines":          {"GET", "", "HTTP/1.1 200 OK\nX-A: 1\nContent-Length: 2\n\nok"},
	} {
		s.up.play(func(r *upRequest) bool {
			r.readBody()
			r.say(c.says)
			// A connection that ends unannounced may meet the next request.
			return !strings.HasSuffix(c.says, "until the end")
		})
		name += " " + variant
		ask := func(addr, path string) (answer, *upRequest) {
			conn := dialRaw(t, addr)
			body := ""
			if strings.HasPrefix(more, "Content-Length") {
				body = "body"
			}
			conn.write(c.method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + c.lines + more + "\r\n" + body)
			return conn.read(c.method), s.up.last()
		}
		direct, asked := ask(s.up.l.Addr().String(), path)
		through, forwarded := ask(s.addr, "/alpha"+path)
		if direct.err != nil || through.err != nil || direct.status != through.status || direct.body != through.body ||
			(direct.broken == nil) != (through.broken == nil) {
			t.Errorf("%s: %d %q %v became %d %q %v", name, direct.status, direct.body, direct.err, through.status, through.body, through.err)
			continue
		}
		for _, n := range differences {
			if n == "Date" && direct.header.Get("Date") != "" {
				continue
			}
			delete(direct.header, n)
			delete(through.header, n)
		}
		if direct.length < 0 {
			delete(through.header, "Content-Length") // framing of one hop
		}
		if !maps.EqualFunc(direct.header, through.header, slices.Equal) {
			t.Errorf("%s: header %q became %q", name, direct.header, through.header)
		}
		if fmt.Sprint(direct.trailer) != fmt.Sprint(through.trailer) {
			t.Errorf("%s: trailer %q became %q", name, direct.trailer, through.trailer)
		}
		checkForwarded(t, name, asked, forwarded)
	}
}

// checkForwarded compares a request with the one the sidecar made of it, save
// the order of different headers, their spelling, and what is the sidecar's.
func checkForwarded(t *testing.T, name string, direct, through *upRequest) {
	t.Helper()
	canonical := func(r *upRequest) []string {
		var lines []string
		for _, line := range r.lines {
			n, v, _ := strings.Cut(line, ":")
			switch n = strings.ToLower(n); n {
			case "host", "authorization", "cdn-loop", "connection":
			case "content-length":
				if r.method != "POST" || v != " 0" { // a POST without a body: RFC 9110 section 8.6 wants it stated
					lines = append(lines, line)
				}
			default:
				lines = append(lines, n+":"+v)
			}
		}
		slices.SortStableFunc(lines, func(a, b string) int {
			a, _, _ = strings.Cut(a, ":")
			b, _, _ = strings.Cut(b, ":")
			return strings.Compare(a, b)
		})
		return lines
	}
	if a, b := canonical(direct), canonical(through); !slices.Equal(a, b) || direct.body != through.body || direct.method != through.method {
		t.Errorf("%s: request %q became %q", name, a, b)
	}
}
