package proxy

import (
	"fmt"
	"strings"
)

// wireWithHosts is a GET with the given lines in the place of its Host.
func wireWithHosts(lines string) string { return "GET /alpha/x HTTP/1.1\r\n" + lines + "\r\n" }

// wireHostRows are about Host, and about a target in absolute-form beside it.
func wireHostRows() (rows []wireRequest) {
	const servedLine = "GET /x HTTP/1.1"
	for _, lines := range []string{"", "Accept: */*\r\n", "Host: localhost\r\nHost: localhost\r\n", "Host: localhost\r\nHost: evil.example\r\n",
		"Host: evil.example\r\nAccept: */*\r\nhost: localhost\r\n",
		"Host: localhost\r\nHost:\r\n", "Host : localhost\r\n", "Host\t: localhost\r\n", " Host: localhost\r\n", "Host:\r\n localhost\r\n",
		"Host: local\r\n host\r\n", "Host localhost\r\n", "Host\r\n",
		"Host: local host\r\n", "Host: localhost/alpha\r\n", "Host: evil@localhost\r\n", "Host: localhost#\r\n", "Host: localhost?\r\n",
		"Host: localhost\\\r\n", "Host: <localhost>\r\n", "Host: \"localhost\"\r\n",
		"Host: localhost\x00\r\n", "Host: local\thost\r\n", "Host: localhost\r\r\n", "Host: localhost\n\r\n", "Host: l\xc3\xb6calhost\r\n",
		"Host: localhost\x7f\r\n", "Host: localhost {}\r\n", "H\xc3\xb6st: localhost\r\n", "Host:: localhost /\r\n", "Host: [::1\r\n",
		"Host: localhost:http\r\n", "Host: localhost:1.evil.example\r\n"} {
		rows = append(rows, malformed("hosts "+lines, wireWithHosts(lines)))
	}
	for _, lines := range []string{"Host:\r\n", "Host: evil.example\r\n", "Host: evil.example:80\r\n", "Host: localhost.evil.example\r\n",
		"Host: localhost,evil.example\r\n",
		"Host: localhost%00\r\n", "Host: 127.0.0.2\r\n", "Host: *\r\n", "Host: 0\r\n"} {
		rows = append(rows, denied("hosts "+lines, wireWithHosts(lines), 403, "host_not_allowed"))
	}
	for _, lines := range []string{"Host:localhost\r\n", "host: localhost\r\n", "HOST: LocalHost\r\n", "Host: \t localhost \t\r\n",
		"Host: localhost:80\r\n", "Host: localhost:\r\n", "Host: 127.0.0.1:9\r\n", "Host: [::1]:8080\r\n", "Host: [::1]\r\n",
		"Accept: */*\r\nHost: localhost\r\n", "Host: localhost\r\nX-Forwarded-Host: evil.example\r\nX-Host: evil.example\r\nForwarded: host=evil.example\r\n",
		"Host: localhost\r\nConnection: Host\r\n", "Host: localhost\r\nX-Original-Url: /evil\r\nX-Rewrite-Url: /evil\r\n"} {
		rows = append(rows, served("hosts "+lines, wireWithHosts(lines), servedLine, ""))
	}
	for _, lines := range []string{"Host: {target}\r\n", "Host: evil.example\r\n", "Host: localhost\r\n", "Host:\r\n"} {
		rows = append(rows, served("absolute-form and "+lines, "GET http://{target}/x HTTP/1.1\r\n"+lines+"\r\n", servedLine, ""))
	}
	return append(rows,
		malformed("absolute-form without Host", "GET http://{target}/x HTTP/1.1\r\n\r\n"),
		malformed("absolute-form with two Hosts", "GET http://{target}/x HTTP/1.1\r\nHost: {target}\r\nHost: {target}\r\n\r\n"),
		malformed("absolute-form with a malformed Host", "GET http://{target}/x HTTP/1.1\r\nHost: a b\r\n\r\n"),
		denied("HTTP/1.0 without Host", "GET /alpha/x HTTP/1.0\r\n\r\n", 403, "host_not_allowed"),
		malformed("HTTP/1.0 with two Hosts", "GET /alpha/x HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n\r\n"),
		served("HTTP/1.0 in absolute-form without Host", "GET http://{target}/x HTTP/1.0\r\n\r\n", servedLine, ""))
}

// wireFieldRows are about the names and values of fields, and about the ends of lines.
func wireFieldRows() (rows []wireRequest) {
	const servedLine = "GET /x HTTP/1.1"
	for _, lines := range []string{"X-A : b\r\n", "X-A\t: b\r\n", "X A: b\r\n", ": b\r\n", ":\r\n", " : b\r\n", "X-A\r\n", "X-A b\r\n", "X-A=b\r\n",
		"X\x00A: b\r\n", "X\rA: b\r\n", "X-\xc3\xa4: b\r\n", "X(A): b\r\n", "X,A: b\r\n", "X@A: b\r\n",
		"[X]: b\r\n", "\"X\": b\r\n", "X/A: b\r\n", "X;A: b\r\n", "X\x7f: b\r\n", "X-A: b\r\n c\r\n", "X-A: b\r\n\tc\r\n", "X-A:\r\n b\r\n",
		"X-A: b\r\n \r\n", "X-A: b\r\n\t\r\n", " X-A: b\r\n", "X-A: a\x00b\r\n", "X-A: \x00\r\n", "X-A: a\x01b\r\n", "X-A: a\x0bb\r\n",
		"X-A: a\x0cb\r\n", "X-A: a\x1bb\r\n", "X-A: a\x08b\r\n", "X-A: a\x7fb\r\n", "X-A: a\rb\r\n", "X-A: b\r\r\n", "X-A: \r\r\n", "X-A: b\n",
		"X-A: b\nX-B: c\r\n", "X-A: b\n\r\n", "X-A: b\r\n\n", "\n", "\n\n", "X-A: b\r\n\r\r\n", "GET /alpha/smuggled HTTP/1.1\r\n",
		"X-A: b\rX-Token-Scope: write\r\n", "X-A: b\nX-Token-Scope: write\r\n", "X-A: b\x00\r\nX-B: c\r\n", "\x00: b\r\n", "\x00\r\n", "X-A: b\x85\x00\r\n", "\xff\xff\r\n"} {
		rows = append(rows, malformed("fields "+lines, wireGet(lines)))
	}
	for _, lines := range []string{"X-A:b\r\n", "X-A:\r\n", "X-A: \t \r\n", "X-A: \tb \t\r\n", "X-A: b c\td\r\n", "X-A: caf\xe9\r\n",
		"X-A: \xff\x80\r\n", "X_A: b\r\n", "!#$%&'*+-.^`|~: b\r\n", "X-A: \"a, b\", c;d=e\r\n", "X-A: b\r\nX-A: c\r\nx-a: d\r\n", "x-a: b\r\n", "1: b\r\n",
		"-: b\r\n",
		"X-A: : b\r\n", "X-A: GET /alpha/smuggled HTTP/1.1\r\n", "Content_Length: 5\r\n", "CONTENT_LENGTH: 5\r\n", "Transfer_Encoding: chunked\r\n",
		"Content-Length_: 5\r\n", "X-Content-Length: 5\r\n", "TE: chunked\r\n", "TE: trailers, deflate\r\n", "Content-Encoding: chunked\r\n",
		"Trailer: X-A\r\n", "Keep-Alive: timeout=5\r\n", "Proxy-Connection: keep-alive\r\n", "Connection: close\r\n", "Connection: keep-alive\r\n",
		"Connection: X-A\r\nX-A: b\r\n", "Connection: Authorization\r\n", "Connection: close, Authorization, Host, Via\r\n",
		"Authorization: Bearer mine\r\n",
		"Authorization: Bearer mine\r\nAuthorization: Basic eA==\r\n", "Via: 1.1 a\r\n", "Cookie: a=b\r\n", "X-Http-Method-Override: DELETE\r\n",
		"Range: bytes=0-1\r\n", "Max-Forwards: 0\r\n"} {
		rows = append(rows, served("fields "+lines, wireGet(lines), servedLine, ""))
	}
	for _, lines := range []string{"X_Token_Subject: a\r\n", "X-Token_Scope: write\r\n", "x_token_route: a\r\n", "Authorization_: Bearer mine\r\n",
		"X_Sidecar_Token: a\r\n"} {
		rows = append(rows, denied("fields "+lines, wireGet(lines), 400, "header_invalid"))
	}
	return append(rows,
		malformed("lines that end with LF only", "GET /alpha/x HTTP/1.1\nHost: localhost\n\n"),
		malformed("lines that end with CR only", "GET /alpha/x HTTP/1.1\rHost: localhost\r\r"),
		malformed("lines that end with LF and CR", "GET /alpha/x HTTP/1.1\n\rHost: localhost\n\r\n\r"),
		malformed("a fold in front of the first field", "GET /alpha/x HTTP/1.1\r\n X-A: b\r\n"+wireHost+"\r\n"),
		malformed("an empty line of white space in front of the first field", "GET /alpha/x HTTP/1.1\r\n \r\n"+wireHost+"\r\n"),
		malformed("the last line ends with LF only", "GET /alpha/x HTTP/1.1\r\n"+wireHost+"\n"),
		denied("Origin", wireGet("Origin: http://localhost\r\n"), 403, "browser_refused"),
		denied("a loop", wireGet("CDN-Loop: token-sidecar\r\n"), 508, "loop_detected"))
}

// wireOfSize is a request whose head has n bytes.
func wireOfSize(n int) string {
	return wireGet("X-Long: " + strings.Repeat("a", n-len(wireGet("X-Long: \r\n"))) + "\r\n")
}

// wireSizeRows are about heads that are large.
func wireSizeRows() []wireRequest {
	const servedLine, limit = "GET /x HTTP/1.1", 64 << 10
	lines := func(n int) string {
		var all strings.Builder
		for i := range n {
			fmt.Fprintf(&all, "X-%d: b\r\n", i)
		}
		return all.String()
	}
	rows := []wireRequest{
		served("500 lines", wireGet(lines(500)), servedLine, ""),
		denied("501 lines", wireGet(lines(501)), 431, "header_too_large"),
		denied("5000 lines", wireGet(lines(5000)), 431, "header_too_large"),
		denied("501 lines of one name", wireGet(strings.Repeat("X-A: b\r\n", 501)), 431, "header_too_large"),
		refused("20000 lines", wireGet(lines(20000)), 431, "header_too_large"),
		refused("a line without end", "GET /alpha/x HTTP/1.1\r\nX-A: "+strings.Repeat("a", limit), 431, "header_too_large"),
		refused("a method without end", strings.Repeat("A", limit), 431, "header_too_large"),
		refused("a target without end", "GET /alpha/"+strings.Repeat("a", limit), 431, "header_too_large"),
		refused("a name without end", "GET /alpha/x HTTP/1.1\r\n"+wireHost+strings.Repeat("a", limit), 431, "header_too_large"),
		refused("a head of 1 MiB", wireOfSize(1<<20), 431, "header_too_large"),
		malformed("a fault behind 60 KiB", wireGet("X-A: "+strings.Repeat("a", 60<<10)+"\nX-B: c\r\n")),
	}
	for _, n := range []int{4095, 4096, 4097, 8192, 8193, limit - 1, limit} {
		rows = append(rows, served(fmt.Sprintf("a head of %d bytes", n), wireOfSize(n), servedLine, ""))
	}
	for _, n := range []int{limit + 1, limit + 2, limit + 3, limit + 4, limit + 5, 2 * limit} {
		rows = append(rows, refused(fmt.Sprintf("a head of %d bytes", n), wireOfSize(n), 431, "header_too_large"))
	}
	return rows
}
