package http1

import "strings"

// want is what must be said of a head: that it is plain, that it is well-formed, or that it is
// refused with a fault of a kind.
type want struct {
	plain bool
	fault *Fault
	kind  Kind
}

var (
	plain      = want{plain: true}
	wellFormed = want{}
)

// malformedBy is a want of a fault that is answered with 400.
func malformedBy(fault *Fault) want { return want{fault: fault, kind: Malformed} }

// group is a number of heads, or of parts of heads, of which the same must be said.
type group struct {
	want  want
	parts []string
}

// headRow is one head of the tables.
type headRow struct {
	head string
	want want
}

// headRows returns all heads of the tables.
func headRows() (rows []headRow) {
	add := func(groups []group, before, behind string) {
		for _, g := range groups {
			for _, part := range g.parts {
				rows = append(rows, headRow{before + part + behind, g.want})
			}
		}
	}
	add(wholeHeads, "", "")
	add(requestLines, "", "\r\nHost: h\r\n\r\n")
	add(hostLines, "GET / HTTP/1.1\r\n", "\r\n\r\n")
	add(fieldLines, "POST /a HTTP/1.1\r\nHost: h\r\n", "\r\n\r\n")
	add(framingLines, "POST /a HTTP/1.1\r\nHost: h\r\n", "\r\n\r\n")
	return rows
}

// longest is how long a head may be.
const longest = 64 << 10

// ofLength returns a plain head of n bytes.
func ofLength(n int) string {
	const before, behind = "GET / HTTP/1.1\r\nHost: h\r\nX-Long: ", "\r\n\r\n"
	return before + strings.Repeat("a", n-len(before)-len(behind)) + behind
}

// ofFields returns a plain head of n bytes with as many fields as it has room for.
func ofFields(n int) string {
	const start, field, last = "GET / HTTP/1.1\r\nHost: h\r\n", "a:\r\n", "b:"
	many := (n - len(start) - len(last) - len("\r\n\r\n")) / len(field)
	head := start + strings.Repeat(field, many) + last
	return head + strings.Repeat("c", n-len(head)-len("\r\n\r\n")) + "\r\n\r\n"
}

// wholeHeads are about line ends, the first byte and the length.
var wholeHeads = []group{
	{plain, []string{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nX-A: b\r\nHost: h\r\n\r\n", ofLength(4 << 10),
		ofLength(longest), ofLength(longest - 1), ofFields(longest), ofFields(longest - 1),
	}},
	{want{fault: errTooLarge, kind: TooLarge}, []string{
		ofLength(longest + 1), ofLength(longest + 2), ofLength(longest + 3), ofLength(longest + 4), ofLength(longest + 100),
		ofFields(longest + 1), ofFields(longest + 2), ofFields(longest + 3), ofFields(longest + 4), ofFields(longest + 5),
		strings.Repeat("A", longest), "GET /" + strings.Repeat("a", longest) + " HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nX-A: " + strings.Repeat("a", longest) + "\n\r\n",
	}},
	{wellFormed, []string{"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nContent-Length: 5\r\n\r\n", "GET http://h/ HTTP/1.0\r\n\r\n"}},
	{malformedBy(errStart), []string{
		"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", " GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"\tGET / HTTP/1.1\r\nHost: h\r\n\r\n", "\x00GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "\xef\xbb\xbfGET / HTTP/1.1\r\n\r\n",
		"(GET) / HTTP/1.1\r\n\r\n", ": / HTTP/1.1\r\n\r\n", "\r\r\n\r\n", "\x7f", "/ HTTP/1.1\r\n\r\n",
	}},
	{malformedBy(errLineEnd), []string{
		"GET / HTTP/1.1\nHost: h\n\n", "GET / HTTP/1.1\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\n",
		"GET / HTTP/1.1\r\nHost: h\r\nX-A: a\nb\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nX-A: a\nTransfer-Encoding: chunked\r\n\r\n",
		"GET /\n HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\n\nHost: h\r\n\r\n", "G\n", "GET / HTTP/1.1\r\nHost: h\n\r\r\n\r\n",
	}},
	{malformedBy(errHosts), []string{"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.2\r\n\r\n", "GET http://h/ HTTP/1.1\r\n\r\n", "CONNECT h:443 HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n"}},
	{malformedBy(errRequestLine), []string{"G\r\n\r\n", "GET / HTTP/1.1\rHost: h\r\n\r\n", "GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", "SSH-2.0-OpenSSH_9.9\r\n\r\n"}},
	{malformedBy(errFold), []string{"GET / HTTP/1.1\r\n Host: h\r\n\r\n", "GET / HTTP/1.1\r\n\tHost: h\r\n\r\n", "GET / HTTP/1.1\r\n \r\nHost: h\r\n\r\n"}},
	{malformedBy(errName), []string{"GET / HTTP/1.1\r\n\r\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\rX-A: b\r\n\r\n"}},
	{malformedBy(errTwoFramings), []string{
		"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "POST / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
	}},
}

// requestLines are about RFC 9112 section 3 and its parts.
var requestLines = []group{
	{plain, []string{
		"GET / HTTP/1.1", "HEAD /a HTTP/1.1", "POST /a HTTP/1.1", "PUT /a HTTP/1.1", "PATCH /a HTTP/1.1", "DELETE /a HTTP/1.1", "OPTIONS /a HTTP/1.1",
		"GET /a/b;c=d/e?f=g&h=%zz HTTP/1.1", "GET /%41%7e%2F%00 HTTP/1.1", "GET //a HTTP/1.1", "GET /..//./ HTTP/1.1", "GET /a?b?c HTTP/1.1",
		"GET /a?% HTTP/1.1", "GET /:80 HTTP/1.1", "GET /a:b@c HTTP/1.1", "GET /\"<>[]^`{|} HTTP/1.1", "GET /http://i/ HTTP/1.1", "GET /? HTTP/1.1",
	}},
	{wellFormed, []string{ // another method
		"TRACE / HTTP/1.1", "CONNECT h:443 HTTP/1.1", "CONNECT [::1]:443 HTTP/1.1", "CONNECT /a HTTP/1.1", "PROPFIND /a HTTP/1.1", "get / HTTP/1.1",
		"Get / HTTP/1.1", "GETS / HTTP/1.1", "QUERY / HTTP/1.1", "M-SEARCH * HTTP/1.1", "PRI * HTTP/1.1", "!#$%&'*+-.^_`|~09aZ / HTTP/1.1",
	}},
	{wellFormed, []string{"GET / HTTP/1.0", "GET / HTTP/1.2", "GET / HTTP/1.9"}},
	{wellFormed, []string{ // another form of the target, or characters in it
		"GET http://h/a HTTP/1.1", "GET HTTP://h:80/a?b HTTP/1.1", "GET https://u:p@i/ HTTP/1.1", "GET http://h HTTP/1.1", "OPTIONS * HTTP/1.1", "GET * HTTP/1.1",
		"GET mailto:a@b HTTP/1.1", "GET /a#b HTTP/1.1", `GET /a\b HTTP/1.1`, "GET /\xc3\xa9 HTTP/1.1", "GET /\xff HTTP/1.1", "GET /a?\x80 HTTP/1.1",
	}},
	{malformedBy(errRequestLine), []string{
		"GET", "GET ", "GET /", "GET / ", "GET HTTP/1.1", "GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET  HTTP/1.1", "GET / HTTP/1.1 ", "GET / HTTP/1.1\t", "GET / a HTTP/1.1",
		"GET\t/ HTTP/1.1", "GET /\tHTTP/1.1", "GET\t/\tHTTP/1.1", "GET\x0b/ HTTP/1.1", "GET\xa0/ HTTP/1.1", "GE(T / HTTP/1.1", "G\xc9T / HTTP/1.1", "G\x00T / HTTP/1.1",
		"GET: / HTTP/1.1", `GET" / HTTP/1.1`, "GET / HTTP/1.1\x00", "G\rT / HTTP/1.1",
	}},
	{malformedBy(errRequestLine), []string{ // the version
		"GET / HTTP/1", "GET / HTTP/1.", "GET / HTTP/.1", "GET / HTTP/1.10", "GET / HTTP/01.1", "GET / HTTP/11.1", "GET / HTTP/1,1", "GET / http/1.1", "GET / Http/1.1",
		"GET / HTTP/1.x", "GET / HTTP/x.1", "GET / HTTP/-1.1", "GET / HTTP/1.\xb9", "GET / HTTP 1.1", "GET / HTTPS/1.1", "GET / HTCP/1.1", "GET / HTTP-1.1", "GET / HTTP/2", "GET / 1.1",
	}},
	{want{fault: errVersion, kind: Version}, []string{
		"GET / HTTP/2.0", "PRI * HTTP/2.0", "GET / HTTP/0.9", "GET / HTTP/3.0", "GET / HTTP/0.0", "GET / HTTP/2.1", "GET / HTTP/9.9",
	}},
	{malformedBy(errTarget), []string{
		"GET /% HTTP/1.1", "GET /%4 HTTP/1.1", "GET /%4g HTTP/1.1", "GET /%g4 HTTP/1.1", "GET /%zz? HTTP/1.1", "GET /%?41 HTTP/1.1", "GET /%%41 HTTP/1.1", "GET /%41% HTTP/1.1",
		"GET /%u0041 HTTP/1.1", "GET /%\xc3\xa9 HTTP/1.1", "GET /\x00 HTTP/1.1", "GET /\x01 HTTP/1.1", "GET /a\tb HTTP/1.1", "GET /a\x0bb HTTP/1.1", "GET /a\rb HTTP/1.1",
		"GET /a?\x1f HTTP/1.1", "GET /a\x7f HTTP/1.1", "GET a HTTP/1.1", "GET ?a HTTP/1.1", "GET # HTTP/1.1", `GET \ HTTP/1.1`, "GET . HTTP/1.1", "GET :443 HTTP/1.1",
		"GET http://h/%zz HTTP/1.1", "GET http://[::1/ HTTP/1.1", "GET http://h:x/ HTTP/1.1", "GET http://h\x00/ HTTP/1.1", "CONNECT h:x HTTP/1.1", "CONNECT [::1 HTTP/1.1", "GET ** HTTP/1.1",
		"GET /?# HTTP/1.1", "GET /a?b#c HTTP/1.1", "GET http://h/a?b#c HTTP/1.1",
	}},
}

// hostLines are about the field Host (RFC 9112 section 3.2). There is no other Host.
var hostLines = []group{
	{plain, []string{
		"Host: h", "Host:h", "HOST: h", "hOsT: h", "Host: \t h \t", "Host: h:80", "Host: h:", "Host: [::1]:80", "Host: [::1]", "Host: a_b", "Host: 127.0.0.1", "Host: A-1.example.", "X-A: b\r\nHost: h\r\nX-B: c",
	}},
	{wellFormed, []string{"Host:", "Host: \t", "Host: a%b", "Host: a,b", "Host: !$&'()*+,;=~"}},
	{malformedBy(errHost), []string{
		"Host: a b", "Host: a\tb", "Host: a/b", "Host: http://a", "Host: u@a", "Host: a?b", "Host: a#b", `Host: a"b"`, `Host: a\b`, "Host: <a>", "Host: {a}", "Host: a|b", "Host: a^b",
		"Host: a:b", "Host: a:80:80", "Host: a:80b", "Host: ::1", "Host: [::1]:a", "Host: a:1.evil.example", "Host: a`b", "Host: \xc3\xa9", "Host: a\xff",
	}},
	{malformedBy(errHosts), []string{
		"X-A: b", "Hosts: h", "Hots: h", "X-Host: h", "Host: h\r\nHost: h", "Host: h\r\nHost: i", "Host: h\r\nhost: h", "Host: h\r\nHost:", "Host:\r\nHost: h", "Host: h\r\nX-A: b\r\nHOST: h",
	}},
	{malformedBy(errName), []string{"Host : h", "Host\t: h", "Host h", "Host", "Host: h\r\nHost : h"}},
	{malformedBy(errFold), []string{"Host:\r\n h", "Host: h\r\n i", "Host: h\r\n Host: i"}},
	{malformedBy(errValue), []string{"Host: h\x00", "Host: h\r", "Host: \x0bh"}},
}
