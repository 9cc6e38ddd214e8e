package proxy

import (
	"fmt"
	"strings"
)

// wireLengthRows are about Content-Length.
func wireLengthRows() (rows []wireRequest) {
	const servedLine = "POST /x HTTP/1.1"
	for _, value := range []string{"", " ", "+5", "-5", "-0", "0x5", "5.0", "5e0", "5 5", "5, 5", "5,5", "5, 6", "5,", ",5", "0, 5", "5;", "5;q=1",
		"\"5\"", "'5'", "\uff15", "\u0665", "1_0", "5\x00", "5\x0b", "5\x0c", "5\r", "\r5", "5\x7f", "5\xa0", "NaN", "five", "- 5", "0b101", "0o5",
		"9223372036854775808", "18446744073709551615", "18446744073709551621", "4294967301000000000", "99999999999999999999999", "0000000000000000005",
		"5\r\n 6", "\r\n 5", "5\r\n\t", "5\n", "5\nX-A: b", "5\r\nContent-Length: 5", "5\r\nContent-Length: 6", "0\r\nContent-Length: 5",
		"5\r\ncontent-length: 5",
		"5\r\nX-A: b\r\nCONTENT-LENGTH: 0", "5\r\nContent-Length : 6", "5\r\nContent-Length:", "5\r\nContent-Length\t: 5", "5\r\n Content-Length: 6",
		"5\r\nContent-Length: 5, 5", "5\r\nContent-Length\r\n", "5\r\nContent-Length\x00: 6"} {
		rows = append(rows, malformed("Content-Length: "+value, wirePost("Content-Length: "+value+"\r\n", "hello")))
	}
	for _, value := range []string{"5", "05", "005", "000000000000000005", " 5", "5 ", "\t5\t", "5\r\nContent_Length: 9",
		"5\r\nTransfer_Encoding: chunked", "5\r\nX-Content-Length: 9", "5\r\nConnection: Content-Length", "5\r\nConnection: close, content-length",
		"5\r\nTE: chunked", "5\r\nConnection: Transfer-Encoding", "5\r\nConnection: TE\r\nTE: trailers"} {
		rows = append(rows, served("Content-Length: "+value, wirePost("Content-Length: "+value+"\r\n", "hello"), servedLine, "hello"))
	}
	for _, method := range []string{"GET", "DELETE", "OPTIONS", "HEAD", "PUT", "PATCH", "PROPFIND", "get"} {
		send := method + " /alpha/x HTTP/1.1\r\n" + wireHost + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(wireNext)) + wireNext
		rows = append(rows, served("a request as the body of "+method, send, method+" /x HTTP/1.1", wireNext))
	}
	for _, size := range []int{4000, 5000, 64 << 10, 64<<10 + 1, 300 << 10} {
		body := strings.Repeat("\r\n\r\n", size/4)
		rows = append(rows, served(fmt.Sprintf("a body of %d bytes", size), wirePost(fmt.Sprintf("Content-Length: %d\r\n", len(body)), body), servedLine, body))
	}
	return append(rows,
		served("no framing", wirePost("", ""), servedLine, ""),
		served("a length of nothing", wirePost("Content-Length: 0\r\n", ""), servedLine, ""),
		served("a length of nothing in a GET", wireGet("Content-Length: 0\r\n"), "GET /x HTTP/1.1", ""),
		served("HTTP/1.0 with a length", "POST /alpha/x HTTP/1.0\r\n"+wireHost+"Content-Length: 5\r\n\r\nhello", servedLine, "hello"),
		served("HTTP/1.0 that keeps the connection", "POST /alpha/x HTTP/1.0\r\n"+wireHost+"Connection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", servedLine, "hello"),
		malformed("HTTP/1.0 with two lengths", "POST /alpha/x HTTP/1.0\r\n"+wireHost+"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
		served("a body of NULs", wirePost("Content-Length: 3\r\n", "\x00\x00\x00"), servedLine, "\x00\x00\x00"),
		served("a body of chunks that is none", wirePost("Content-Length: 15\r\n", "5\r\nhello\r\n0\r\n\r\n"), servedLine, "5\r\nhello\r\n0\r\n\r\n"))
}

// wireCodingRows are about Transfer-Encoding, alone and beside Content-Length.
func wireCodingRows() (rows []wireRequest) {
	const servedLine, body = "POST /x HTTP/1.1", "5\r\nhello\r\n0\r\n\r\n"
	for _, value := range []string{"", "gzip", "identity", "gzip, chunked", "chunked, gzip", "chunked, identity", "identity, chunked",
		"chunked, chunked", "chunked,", ",chunked", "x-chunked", "xchunked", "chunkedx", "chunke", "chun ked", "chunked;", "chunked;a=b", "chunked ;a",
		"\"chunked\"", "'chunked'", "[chunked]",
		"chun\u212aed", "\u212a", "chunked\xa0", "\xefchunked", "chunked\u00a0", "cow", "deflate", "trailers", "chunked\r\nTransfer-Encoding: chunked",
		"chunked\r\nTransfer-Encoding: identity", "identity\r\nTransfer-Encoding: chunked", "gzip\r\nTransfer-Encoding: chunked",
		"chunked\r\ntransfer-encoding:",
		"\r\nTransfer-Encoding: chunked", "chunked\r\nX-A: b\r\nTRANSFER-ENCODING: x", "x\r\nContent-Length: 5", "\r\n chunked"} {
		rows = append(rows, refused("Transfer-Encoding: "+value, wirePost("Transfer-Encoding: "+value+"\r\n", body), 501, "transfer_encoding_refused"))
	}
	for _, fields := range []string{"Transfer-Encoding: \vchunked", "Transfer-Encoding: \x0cchunked", "Transfer-Encoding: chunked\x00",
		"Transfer-Encoding: chunked\v", "Transfer-Encoding: \rchunked", "Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked",
		" Transfer-Encoding: chunked", "\tTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked\r\n ", "Transfer-Encoding: chunked\r\n\t, identity", "Transfer-Encoding\r\n : chunked",
		"Transfer-Encoding: chunked\nX-A: b", "X-A: b\nTransfer-Encoding: chunked", "X-A: b\rTransfer-Encoding: chunked", "Transfer-Encoding\x00: chunked",
		"\x00Transfer-Encoding: chunked",
		"Transfer-Encoding chunked", "Transfer-Encoding", "Transfer Encoding: chunked", "Transfer-Encoding: chunked\x7f",
		"Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5",
		"Content-Length: 0\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 0",
		"content-length: 15\r\ntransfer-encoding: CHUNKED", "Content-Length: 15\r\nX-A: b\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked\r\nContent-Length:", "Transfer-Encoding: chunked\r\nContent-Length: 5, 5",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding : identity", "Connection: Content-Length\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
		"Connection: Transfer-Encoding\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nTrailer: Content-Length",
		"Transfer-Encoding: chunked\r\nTrailer: X-A, transfer-encoding", "Transfer-Encoding: chunked\r\nTrailer: Trailer", "Trailer: Content-Length"} {
		rows = append(rows, malformed("coding "+fields, wirePost(fields+"\r\n", body)))
	}
	for _, fields := range []string{"Transfer-Encoding: chunked", "transfer-encoding: chunked", "TRANSFER-ENCODING: CHUNKED",
		"Transfer-Encoding:chunked", "Transfer-Encoding: \tChunked \t", "Transfer-Encoding: chunked\r\nContent_Length: 3",
		"Transfer-Encoding: chunked\r\nTransfer_Encoding: identity", "Transfer_Encoding: gzip\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding", "Transfer-Encoding: chunked\r\nConnection: close",
		"Transfer-Encoding: chunked\r\nTE: trailers", "Transfer-Encoding: chunked\r\nTrailer: X-A",
		"Transfer-Encoding: chunked\r\nTrailer: X-A\r\nTrailer: Host, Authorization", "Transfer-Encoding: chunked\r\nContent-Encoding: gzip",
		"Transfer-Encoding: chunked\r\nX-Content-Length: 3"} {
		rows = append(rows, served("coding "+fields, wirePost(fields+"\r\n", body), servedLine, "hello"))
	}
	for _, method := range []string{"GET", "DELETE", "OPTIONS", "HEAD", "PUT", "PROPFIND", "get"} {
		rows = append(rows, served("chunks with "+method, method+" /alpha/x HTTP/1.1\r\n"+wireHost+"Transfer-Encoding: chunked\r\n\r\n"+body, method+" /x HTTP/1.1", "hello"))
	}
	for _, fields := range []string{"Transfer-Encoding: chunked", "Connection: keep-alive\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked\r\nContent-Length: 5", "Content-Length: 15\r\nTransfer-Encoding: chunked"} {
		rows = append(rows, malformed("HTTP/1.0 with "+fields, "POST /alpha/x HTTP/1.0\r\n"+wireHost+fields+"\r\n\r\n"+body))
	}
	return append(rows,
		served("HTTP/1.2 with chunks", "POST /alpha/x HTTP/1.2\r\n"+wireHost+"Transfer-Encoding: chunked\r\n\r\n"+body, servedLine, "hello"),
		refused("HTTP/1.0 with another coding", "POST /alpha/x HTTP/1.0\r\n"+wireHost+"Transfer-Encoding: gzip\r\n\r\n"+body, 501, "transfer_encoding_refused"))
}
