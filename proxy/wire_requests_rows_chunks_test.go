package proxy

import (
	"fmt"
	"strings"
)

// wireFaultySizes are lines with the size of a chunk, with its data, that break the grammar.
var wireFaultySizes = []string{
	"0x5\r\nhello\r\n", "0X5\r\nhello\r\n", "x5\r\nhello\r\n", "+5\r\nhello\r\n", "-5\r\nhello\r\n", "-0\r\n\r\n", " 5\r\nhello\r\n", "\t5\r\nhello\r\n",
	"5 \r\nhello\r\n", "5\t\r\nhello\r\n", "5 ;a\r\nhello\r\n", "5 5\r\nhello\r\n",
	"5_0\r\nhello\r\n", "5,\r\nhello\r\n", "5.0\r\nhello\r\n", "5h\r\nhello\r\n", "g\r\nhello\r\n", "\"5\"\r\nhello\r\n", ";a\r\nhello\r\n",
	";\r\nhello\r\n", "\r\nhello\r\n", "\r\n5\r\nhello\r\n", "\n5\r\nhello\r\n", "hello\r\n", "\uff15\r\nhello\r\n",
	"5\x00\r\nhello\r\n", "\x005\r\nhello\r\n", "5\v\r\nhello\r\n", "5\x0c\r\nhello\r\n", "5\nhello\n", "5\nhello\r\n", "5\rhello\r\n", "5\r\rhello\r\n",
	"5\r\r\nhello\r\n", "5\n\rhello\r\n", "5;a\nhello\r\n", "5;a=b\rc\r\nhello\r\n", "5;\nxx\r\nhello\r\n", "5;\x00\r\nhello\r\n",
	"5;a=\x01\r\nhello\r\n", "5;a=\x7f\r\nhello\r\n", "5;a=\"\n\"\r\nhello\r\n",
	"FFFFFFFFFFFFFFFFF\r\nhello\r\n", "10000000000000005\r\nhello\r\n", "FFFFFFFFFFFFFFFF\r\nhello\r\n", "8000000000000000\r\nhello\r\n",
	"7FFFFFFFFFFFFFFF\r\nhello\r\n", "0000000000000005\r\nhello\r\n", "100000000000000000000005\r\nhello\r\n",
	"5;" + strings.Repeat("a", 1100) + "\r\nhello\r\n", "5;" + strings.Repeat("a", 64<<10) + "\r\nhello\r\n", strings.Repeat("0",
		100) + "5\r\nhello\r\n", "0x0\r\n\r\n", "00x\r\n\r\n", "0 \r\n\r\n", "0\n\n", "0\n\r\n", "0\r\rX",
	"5\\r\\nhello\r\n", "GET /alpha/smuggled HTTP/1.1\r\n", "}\r\nhello\r\n", "\x80\r\nhello\r\n", "5\xa0\r\nhello\r\n", "5\u2028hello\r\n",
}

// wireFaultyEnds are what follows a chunk of five bytes, "hello", that breaks the grammar.
var wireFaultyEnds = []string{
	"X\r\n0\r\n\r\n", "XX0\r\n\r\n", "\n0\r\n\r\n", "\r0\r\n\r\n", "0\r\n\r\n", " \r\n0\r\n\r\n", "\r\r\n0\r\n\r\n", "\n\r0\r\n\r\n",
	"\x00\r\n0\r\n\r\n", "\r\x000\r\n\r\n", "GET /alpha/smuggled HTTP/1.1\r\n", "\r\n\r\n0\r\n\r\n", "\r\n\n0\r\n\r\n", "\r\n 0\r\n\r\n",
	"\r\n0x0\r\n\r\n", "\r\n-1\r\n\r\n", "\r\n5\nhello\r\n0\r\n\r\n", "\r\n;\r\n\r\n",
}

// wireFaultyTrailers are what follows the line "0" that breaks the grammar.
var wireFaultyTrailers = []string{
	"\n", "X\r\n\r\n", "X-A b\r\n\r\n", "X-A : b\r\n\r\n", ": b\r\n\r\n", " X-A: b\r\n\r\n", "\tX-A: b\r\n\r\n", "X-A: b\r\n c\r\n\r\n",
	"X-A: b\r\n \r\n", "X-A: b\n\r\n", "X-A: b\r\n\n", "X-A: b\rc\r\n\r\n", "X-A: \x00\r\n\r\n", "X\x00: b\r\n\r\n", "X-A: \x7f\r\n\r\n",
	"X A: b\r\n\r\n", "X-\xc3\xa4: b\r\n\r\n", "X-A: b\r\n\rX", "\rX", "\r\r\n", "\x00\r\n\r\n", "X-A: " + strings.Repeat("b", 4<<10) + "\r\n\r\n",
	strings.Repeat("X-A: b\r\n", 600) + "\r\n", strings.Repeat("X", 5000), "5\r\nhello\r\n0\r\n\r\n",
}

// late is a request with a fault behind the size of its first chunk.
func late(name, body string) wireRequest {
	return wireRequest{"chunks " + name, wireChunks(body), wireLate, 400, "body_incomplete", "", ""}
}

// wireChunkRows are about bodies in chunks.
func wireChunkRows() (rows []wireRequest) {
	const servedLine = "POST /x HTTP/1.1"
	for _, line := range wireFaultySizes {
		row := late(line, line+"0\r\n\r\n")
		if !strings.HasPrefix(line, "0\r\n") {
			row.kind = wireMalformed
		}
		rows = append(rows, row)
	}
	for _, line := range wireFaultySizes { // nothing but what has come is judged before the app is told to go on
		send := wirePost("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", line+"0\r\n\r\n")
		rows = append(rows, wireRequest{"Expect and chunks " + line, send, wireLate, 400, "body_incomplete", "", ""})
	}
	for _, end := range wireFaultyEnds {
		rows = append(rows, late("hello"+end, "5\r\nhello"+end))
	}
	rows = append(rows,
		late("with more extensions than data", strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nb\r\n", 20)+"0\r\n\r\n"),
		late("of a request", fmt.Sprintf("5\r\n%s\r\n0\r\n\r\n", wireNext)))
	for body, want := range map[string]string{
		"0\r\n\r\n": "", "00\r\n\r\n": "", "0;a=b\r\n\r\n": "", "000000000000000\r\n\r\n": "", "5\r\nhello\r\n0\r\n\r\n": "hello",
		"05\r\nhello\r\n00\r\n\r\n": "hello", "000000000000005\r\nhello\r\n0\r\n\r\n": "hello",
		"a\r\n0123456789\r\n0\r\n\r\n": "0123456789", "A\r\n0123456789\r\n0\r\n\r\n": "0123456789", "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n": "abc",
		"5;a\r\nhello\r\n0;b\r\n\r\n": "hello", "5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n": "hello", "5; a = b\r\nhello\r\n0\r\n\r\n": "hello",
		"5;\r\nhello\r\n0\r\n\r\n": "hello", "5;\x80\t\r\nhello\r\n0\r\n\r\n": "hello", "5;" + strings.Repeat("a",
			1000) + "\r\nhello\r\n0\r\n\r\n": "hello", "5\r\n\r\n\r\n0\r\n0\r\n\r\n": "\r\n\r\n0", "7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n": "0\r\n\r\n\r\n",
		fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(wireNext), wireNext): wireNext, "4e20\r\n" + strings.Repeat("a",
			20000) + "\r\n0\r\n\r\n": strings.Repeat("a", 20000), strings.Repeat("1\r\na\r\n", 3000) + "0\r\n\r\n": strings.Repeat("a", 3000),
	} {
		rows = append(rows, served("chunks "+body, wireChunks(body), servedLine, want))
	}
	return rows
}

// wireTrailerRows are about what follows the last chunk.
func wireTrailerRows() (rows []wireRequest) {
	for _, trailers := range wireFaultyTrailers {
		rows = append(rows, late("and trailers "+trailers, "5\r\nhello\r\n0\r\n"+trailers), late("that are none and trailers "+trailers, "0\r\n"+trailers))
	}
	for _, trailers := range []string{"X-A: b\r\n", "X-A:\r\n", "X-A: b\r\nX-B: c\r\n", "x_a: b\r\n", "X-A: caf\xe9\r\n", "Content-Length: 100\r\n",
		"Transfer-Encoding: chunked\r\n", "Transfer-Encoding: identity\r\nContent-Length: 3\r\n", "Host: evil.example\r\n",
		"Authorization: Bearer mine\r\n", "Trailer: X-A\r\n",
		"X-Token-Scope: write\r\n", "Connection: keep-alive\r\n", "Upgrade: h2c\r\n", "X-A: " + strings.Repeat("b", 3000) + "\r\n", "Cookie: a\r\n",
		"Expect: 100-continue\r\n"} {
		rows = append(rows, served("chunks and the trailers "+trailers, wireChunks("5\r\nhello\r\n0\r\n"+trailers+"\r\n"), "POST /x HTTP/1.1", "hello"))
	}
	for _, fields := range []string{"Trailer: X-A\r\n", "Trailer: X-A\r\nTE: trailers\r\n", "Trailer: Host, X-A, Authorization\r\nConnection: Trailer\r\n"} {
		send := wirePost(fields+"Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX-A: b\r\nHost: evil.example\r\n\r\n")
		rows = append(rows, served("announced "+fields, send, "POST /x HTTP/1.1", "hello"))
	}
	return rows
}
