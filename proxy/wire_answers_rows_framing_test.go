package proxy

import "strings"

// wireReplyLengthRows are about Content-Length.
func wireReplyLengthRows() (rows []wireReply) {
	send := func(value, body string) string {
		return "HTTP/1.1 200 OK\r\nContent-Length: " + value + "\r\n\r\n" + body
	}
	for _, value := range []string{"5", " 5 ", "\t5\t", "5\r\nContent-Length: 5", "5\r\nContent_Length: 6"} {
		rows = append(rows, passed("Content-Length: "+value, send(value, "hello"), 200, "hello"))
	}
	for _, value := range []string{"", " ", "+5", "-5", "-1", "05", "0000000005", "00", "0x5", "5.0", "5e0", "5, 5", "5,5", "5, 6", "5 5", "5;", "\"5\"",
		"\uff15", "1_0", "5\x00", "5\x0b", "5\r", "five", "9223372036854775808", "18446744073709551621", "99999999999999999999999",
		"5\r\nContent-Length: 6", "6\r\nContent-Length: 5", "5\r\nContent-Length: 5, 5",
		"5\r\nContent-Length:", "5\r\n 6", "5\r\nContent-Length: +5", "5\r\ncontent-length: 05", "5\r\nContent-Length : 6"} {
		rows = append(rows, unreadable("Content-Length: "+value, send(value, "hello")))
	}
	for _, value := range []string{"6", "100", "99999999999", "9223372036854775807"} {
		rows = append(rows, upToEnd(broken("too long: "+value, send(value, "hello"))))
	}
	big := strings.Repeat("0\r\n\r\n", 60000)
	return append(rows,
		passed("a length of nothing", send("0", ""), 200, ""),
		passed("a length that is too short", send("2", "hello"), 200, "he"),
		passed("a length of nothing before a body", send("0", "hello"), 200, ""),
		passed("a large body", send("300000", big), 200, big),
		upToEnd(broken("a large body without its end", send("300001", big))),
		upToEnd(passed("no length", "HTTP/1.1 200 OK\r\n\r\nhello", 200, "hello")),
		upToEnd(passed("no length and no body", "HTTP/1.1 200 OK\r\n\r\n", 200, "")),
		upToEnd(passed("no length and close", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", 200, "hello")),
		upToEnd(passed("no length and keep-alive", "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nhello", 200, "hello")),
		upToEnd(passed("no length and an answer as body", "HTTP/1.1 200 OK\r\n\r\n"+ok("hello"), 200, ok("hello"))),
		upToEnd(passed("chunks as body", "HTTP/1.1 200 OK\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, "5\r\nhello\r\n0\r\n\r\n")),
		upToEnd(passed("HTTP/1.0 without a length", "HTTP/1.0 200 OK\r\n\r\nhello", 200, "hello")),
		upToEnd(passed("HTTP/1.0 without a length that keeps", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello", 200, "hello")),
		passed("HTTP/1.0 that keeps", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"),
		upToEnd(broken("HTTP/1.0 without its end", "HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello")))
}

// wireReplyCodingRows are about Transfer-Encoding.
func wireReplyCodingRows() (rows []wireReply) {
	const body = "5\r\nhello\r\n0\r\n\r\n"
	for _, fields := range []string{"Transfer-Encoding: chunked", "transfer-encoding: chunked", "Transfer-Encoding: CHUNKED",
		"Transfer-Encoding:\tchunked ", "Transfer-Encoding:\r\n chunked", "Transfer-Encoding: chunked\r\nConnection: close",
		"Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding", "Transfer-Encoding: chunked\r\nContent_Length: 3",
		"Transfer-Encoding: chunked\r\nTrailer: X-A", "Transfer-Encoding: chunked\r\nContent-Encoding: gzip", "Transfer-Encoding: chunked\r\nTransfer_Encoding: identity"} {
		rows = append(rows, passed("coding "+fields, "HTTP/1.1 200 OK\r\n"+fields+"\r\n\r\n"+body, 200, "hello"))
	}
	// RFC 9112 section 6.3: Transfer-Encoding overrides Content-Length, which must not be passed on.
	for _, fields := range []string{"Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 15",
		"Content-Length: 0\r\nTransfer-Encoding: chunked"} {
		rows = append(rows, passed("coding "+fields, "HTTP/1.1 200 OK\r\n"+fields+"\r\n\r\n"+body, 200, "hello"))
	}
	for _, fields := range []string{"Transfer-Encoding: gzip", "Transfer-Encoding: identity", "Transfer-Encoding: gzip, chunked",
		"Transfer-Encoding: chunked, gzip", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: chunked, identity", "Transfer-Encoding: xchunked",
		"Transfer-Encoding:", "Transfer-Encoding: chunked;a=b", "Transfer-Encoding: \"chunked\"",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
		"Transfer-Encoding: \x0bchunked", "Transfer-Encoding: chunked\x00", "Transfer-Encoding : chunked", "Transfer-Encoding: chun\u212aed",
		"Transfer-Encoding: gzip\r\nContent-Length: 15", "Transfer-Encoding: identity\r\nContent-Length: 15", "Transfer-Encoding: x\r\nContent-Length: 15",
		"Transfer-Encoding: chunked\r\nTrailer: Content-Length", "Transfer-Encoding: chunked\r\nTrailer: Transfer-Encoding",
		"Transfer-Encoding: chunked\r\nContent-Length: 3\r\nContent-Length: 4",
		"Transfer-Encoding: chunked\r\nContent-Length: five"} {
		rows = append(rows, unreadable("coding "+fields, "HTTP/1.1 200 OK\r\n"+fields+"\r\n\r\n"+body))
	}
	return rows
}

// wireTolerated are the chunks and trailers that are refused in requests and that net/http takes in
// answers. Every reader takes the same data from them, and they are framed anew for the app.
var wireTolerated = map[string]string{
	"5 \r\nhello\r\n": "hello", "5\t\r\nhello\r\n": "hello", "5;\x00\r\nhello\r\n": "hello", "5;a=\x01\r\nhello\r\n": "hello", "5;a=\x7f\r\nhello\r\n": "hello",
	"0000000000000005\r\nhello\r\n": "hello", "5;" + strings.Repeat("a", 1100) + "\r\nhello\r\n": "hello", "0 \r\n\r\n": "",
	"X-A : b\r\n\r\n": "hello", "X-A: b\r\n c\r\n\r\n": "hello", "X A: b\r\n\r\n": "hello",
}

// wireReplyChunkRows are about bodies in chunks.
func wireReplyChunkRows() (rows []wireReply) {
	const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for body, want := range map[string]string{"0\r\n\r\n": "", "00\r\n\r\n": "", "5\r\nhello\r\n0\r\n\r\n": "hello",
		"005\r\nhello\r\n0\r\n\r\n": "hello", "A\r\n0123456789\r\n0\r\n\r\n": "0123456789", "5;a=b\r\nhello\r\n0;c\r\n\r\n": "hello",
		"1\r\na\r\n1\r\nb\r\n0\r\n\r\n": "ab", "5\r\nhello\r\n0\r\nX-A: b\r\n\r\n": "hello",
		"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n":                                                      "hello",
		"5\r\nhello\r\n0\r\nTransfer-Encoding: gzip\r\nContent-Type: a\r\nSet-Cookie: a\r\nHost: a\r\n\r\n": "hello",
		"5\r\nhello\r\n0\r\nX_Token_Subject: a\r\nContent_Length: 3\r\n\r\n":                                "hello", "7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n": "0\r\n\r\n\r\n"} {
		rows = append(rows, passed("chunks "+body, head+body, 200, want))
	}
	for _, line := range wireFaultySizes {
		first, later := broken("chunks "+line, head+line+"0\r\n\r\n"), broken("chunks hello "+line, head+"5\r\nhello\r\n"+line+"0\r\n\r\n")
		if body, ok := wireTolerated[line]; ok {
			first, later = passed(first.name, first.send, 200, body), passed(later.name, later.send, 200, "hello"+body)
		}
		rows = append(rows, upToEnd(first), upToEnd(later))
	}
	for _, end := range wireFaultyEnds {
		rows = append(rows, upToEnd(broken("chunks hello"+end, head+"5\r\nhello"+end)))
	}
	for _, trailers := range wireFaultyTrailers {
		row := broken("chunks with the trailers "+trailers, head+"5\r\nhello\r\n0\r\n"+trailers)
		if body, ok := wireTolerated[trailers]; ok {
			row = passed(row.name, row.send, 200, body)
		}
		rows = append(rows, upToEnd(row))
	}
	return rows
}

// wireUnaskedRows are about bytes behind an answer. They must reach nobody.
func wireUnaskedRows() (rows []wireReply) {
	unasked := ok("UNASKED")
	for _, behind := range []string{unasked, "\r\n", "\r\n" + unasked, "H", "hello", "\x00", "0\r\n\r\n", unasked + unasked, strings.Repeat(unasked,
		1000), "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"} {
		rows = append(rows,
			passed("behind a length "+behind, ok("hello")+behind, 200, "hello"),
			passed("behind chunks "+behind, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"+behind, 200, "hello"),
			passed("behind nothing "+behind, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"+behind, 200, ""),
			passed("behind 404 "+behind, "HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\nno"+behind, 404, "no"),
			passed("behind 1xx and 200 "+behind, "HTTP/1.1 103 X\r\n\r\n"+ok("hello")+behind, 200, "hello"),
			to("HEAD", passed("behind a head "+behind, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"+behind, 200, "")),
			to("POST", passed("behind a length "+behind, ok("hello")+behind, 200, "hello")))
	}
	return rows
}
