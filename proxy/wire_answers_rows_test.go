package proxy

import (
	"fmt"
	"strings"
)

// wireReplyWith is an answer of five bytes with the given field lines.
func wireReplyWith(fields string) string {
	return "HTTP/1.1 200 OK\r\n" + fields + "Content-Length: 5\r\n\r\nhello"
}

// wireStatusRows are about the status line, and what a status says of the body.
func wireStatusRows() (rows []wireReply) {
	const rest = "\r\nContent-Length: 5\r\n\r\nhello"
	for line, status := range map[string]int{"HTTP/1.1 200 OK": 200, "HTTP/1.1 200 ": 200, "HTTP/1.1 200": 200, "HTTP/1.1 200 caf\xe9": 200,
		"HTTP/1.1 200 A long \"reason\" (of all)": 200, "HTTP/1.1 299 X": 299, "HTTP/1.1 404 Not Found": 404, "HTTP/1.1 599 X": 599, "HTTP/1.1 203 X": 203,
		"HTTP/1.0 200 OK": 200, "HTTP/1.1 201 Created": 201, "HTTP/1.1 206 Partial Content": 206, "HTTP/1.1 300 X": 300, "HTTP/1.1 402 X": 402,
		"HTTP/1.1 407 X": 407, "HTTP/1.1 426 X": 426, "HTTP/1.1 451 X": 451, "HTTP/1.1 500 X": 500, "HTTP/1.1 200 HTTP/1.1 404 X": 200} {
		rows = append(rows, passed("the line "+line, line+rest, status, "hello"))
	}
	for _, line := range []string{"HTTP/2.0 200 OK", "HTTP/2 200 OK", "HTTP/1.2 200 OK", "HTTP/1.9 200 OK", "HTTP/0.9 200 OK", "HTTP/3.0 200 OK",
		"http/1.1 200 OK", "Http/1.1 200 OK", "HTTP/1.10 200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 2O0 OK", "HTTP/1.1 -20 OK",
		"HTTP/1.1 +20 OK", "HTTP/1.1 0x1 OK",
		"HTTP/1.1 000 OK", "HTTP/1.1 099 OK", "HTTP/1.1\t200 OK", "HTTP/1.1200 OK", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 OK", "HTTP 200 OK", "ICY 200 OK",
		"200 OK", "GET / HTTP/1.1", " HTTP/1.1 200 OK", "\tHTTP/1.1 200 OK", "\x00HTTP/1.1 200 OK", "\r\nHTTP/1.1 200 OK", "\nHTTP/1.1 200 OK", "hello", "",
		"<html>", "\x15\x03\x01\x00\x02\x02\x0a",
		"HTTP/1.1 101 Switching Protocols", "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket",
		"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: h2c", "HTTP/1,1 200 OK", "HTTP/1. 200 OK", "\xef\xbb\xbfHTTP/1.1 200 OK"} {
		rows = append(rows, unreadable("the line "+line, line+rest))
	}
	for _, status := range []int{204, 304} {
		for _, fields := range []string{"", "Content-Length: 0\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Content-Type: text/plain\r\n"} {
			send := fmt.Sprintf("HTTP/1.1 %d X\r\n%s\r\n", status, fields)
			rows = append(rows, passed(send, send, status, ""), passed(send+" and a body", send+"hello", status, ""), passed(send+" and an answer",
				send+ok("UNASKED"), status, ""))
		}
	}
	rows = append(rows,
		passed("205 without a body", "HTTP/1.1 205 X\r\nContent-Length: 0\r\n\r\n", 205, ""),
		passed("205 with a body", "HTTP/1.1 205 X\r\nContent-Length: 5\r\n\r\nhello", 205, "hello"),
		passed("205 in chunks of nothing", "HTTP/1.1 205 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 205, ""))
	for _, fields := range []string{"", "Content-Length: 0\r\n", "Content-Length: 5\r\n", "Content-Length: 99999999999\r\n",
		"Transfer-Encoding: chunked\r\n", "Connection: close\r\n"} {
		send := "HTTP/1.1 200 OK\r\n" + fields + "\r\n"
		rows = append(rows, to("HEAD", passed(send, send, 200, "")), to("HEAD", passed(send+" and a body", send+"hello", 200, "")))
	}
	for _, first := range []string{"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
		"HTTP/1.1 102 Processing\r\n\r\n", "HTTP/1.1 199 X\r\n\r\n", "HTTP/1.1 103 X\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 103 X\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 103 X\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 103 X\r\nX-A: caf\xe9\r\n\r\n", "HTTP/1.0 100 X\r\n\r\n", strings.Repeat("HTTP/1.1 103 X\r\n\r\n", 30)} {
		rows = append(rows, passed("in front: "+first, first+ok("hello"), 200, "hello"), passed("in front of 204: "+first, first+"HTTP/1.1 204 X\r\n\r\n", 204, ""))
	}
	for _, first := range []string{"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 X\r\n"} {
		rows = append(rows, upToEnd(unreadable("no more than "+first, first)))
	}
	for _, first := range []string{"HTTP/1.1 103 X\r\nX-A : b\r\n\r\n", "HTTP/1.1 103 X\r\nX A: b\r\n\r\n", "HTTP/1.1 103 X\r\n: b\r\n\r\n",
		"HTTP/1.1 103 X\r\nX-A: \x00\r\n\r\n", "HTTP/1.1 100 X\r\n\r\nhello", "HTTP/1.1 101 X\r\n\r\n", "HTTP/1.1 099 X\r\n\r\n"} {
		rows = append(rows, unreadable("in front: "+first, first+ok("hello")))
	}
	return rows
}

// wireReplyFieldRows are about the lines of the head.
func wireReplyFieldRows() (rows []wireReply) {
	for _, fields := range []string{"", "X-A:b\r\n", "X-A:\r\n", "X-A: \t b \t\r\n", "X-A: caf\xe9\r\n", "X-A: \xff\r\n", "X_A: b\r\n",
		"!#$%&'*+-.^`|~: b\r\n", "X-A: b\r\n c\r\n", "X-A: b\r\n\tc\r\n", "X-A:\r\n b\r\n", "X-A: b\r\nX-A: c\r\n", "Connection: close\r\n",
		"Connection: keep-alive\r\n", "Connection: Content-Length\r\n", "Connection: X-A, close\r\nX-A: b\r\n",
		"Keep-Alive: timeout=5\r\n", "Upgrade: h2c\r\n", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\n",
		"Trailer: X-A\r\n", "Content_Length: 3\r\n", "Transfer_Encoding: chunked\r\n", "Content-Length_: 3\r\n", "Content.Length: 3\r\n", "TE: chunked\r\n",
		"Content-Encoding: gzip\r\n", "Set-Cookie: a=b\r\n", "X-Token-Subject: a\r\n",
		"Proxy-Connection: close\r\n", "X-A: b\n", "X-Long: " + strings.Repeat("a", 200<<10) + "\r\n", strings.Repeat("X-A: b\r\n", 3000), "Date: now\r\n",
		"Age: -1\r\n", "Content-Type: \r\n"} {
		rows = append(rows, passed("fields "+fields, wireReplyWith(fields), 200, "hello"))
	}
	for _, fields := range []string{"X-A : b\r\n", "X-A\t: b\r\n", "X A: b\r\n", "X-A\r\n", "X-A b\r\n", ": b\r\n", ":\r\n", " X-A: b\r\n",
		"\tX-A: b\r\n", "X\x00A: b\r\n", "X-\xc3\xa4: b\r\n", "X(A): b\r\n", "X@A: b\r\n", "X-A: \x00\r\n", "X-A: a\x01b\r\n", "X-A: a\x7fb\r\n",
		"X-A: a\rb\r\n", "X-A: a\r\rb\r\n", "X-A: a\x0bb\r\n", "X-A: a\r\n \x00b\r\n", "\rX-A: b\r\n",
		"X-A: b\rContent-Length: 3\r\n", "X-A: b\rX-B: c\r\n", "Content-Length : 3\r\n", "Transfer-Encoding : chunked\r\n", "Content-Length\x00: 3\r\n",
		"\x00\r\n", "hello\r\n", "X-Long: " + strings.Repeat("a", 256<<10) + "\r\n", "X-Long: " + strings.Repeat("a", 1<<20) + "\r\n",
		strings.Repeat("X-A: b\r\n", 40000), strings.Repeat("a", 300<<10) + "\r\n", "X-A: b\r\n" + strings.Repeat(" c\r\n", 100000)} {
		rows = append(rows, unreadable("fields "+fields, wireReplyWith(fields)))
	}
	return append(rows,
		passed("LF only", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", 200, "hello"),
		passed("LF at the end of the head only", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello", 200, "hello"),
		upToEnd(unreadable("CR only", "HTTP/1.1 200 OK\rContent-Length: 5\r\rhello")),
		upToEnd(unreadable("a status line alone", "HTTP/1.1 200 OK\r\n")),
		upToEnd(unreadable("a status line without its end", "HTTP/1.1 200 OK")),
		upToEnd(unreadable("nothing", "")),
		upToEnd(unreadable("a field without its end", "HTTP/1.1 200 OK\r\nContent-Length: 5")),
		upToEnd(unreadable("no empty line", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n")),
		upToEnd(unreadable("garbage", strings.Repeat("garbage ", 1000))),
		upToEnd(unreadable("a head without end", "HTTP/1.1 200 OK\r\nX-A: "+strings.Repeat("a", 300<<10))),
		upToEnd(unreadable("a status line without end", "HTTP/1.1 200 "+strings.Repeat("a", 300<<10))))
}
