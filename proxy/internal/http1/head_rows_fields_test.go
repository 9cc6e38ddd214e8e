package http1

// fieldLines are about field lines (RFC 9112 section 5) that say nothing of the body.
var fieldLines = []group{
	{plain, []string{
		"X-A: b", "X-A:b", "X-A:", "X-A: \t ", "X-A:\tb\t", "X-A: a\tb", "X-A: a  b", "X-A: a:b", "X-A: :", "X-A: (a) <b> {c} \"d\" \\e [f] @/?=~,;", "1: a", "a: b",
		"!#$%&'*+-.^`|~09aZ: a", "Cookie: a=b; c=d\r\nCookie: e=f", "X-A: 1\r\nx-a: 2\r\nX-B: 3\r\nX-A: 1", "Pragma: no-cache", "Pragma: no-cache\r\nCache-Control: max-age=0",
		"Upgrade-Insecure-Requests: 1", "Proxy-Connection: close", "Xpgrade: a", "Trailex: a", "Expecx: a", "TX: a", "ET: a", "Tea: a", "Xost: a b",
	}},
	{plain, []string{"Connection: close", "Connection: keep-alive", "Connection: X-A, Close", "Connection: X-A\r\nConnection: close", "Connection: closed", "Connection: X-A,close\t,X-B"}},
	{wellFormed, []string{"X_A: b", "_: a", "_X: a", "Content_Length: 5", "Transfer_Encoding: x", "Host_: a b", "X-A: \xc3\xa9", "X-A: \xff", "X-A: a\x80b", "Connection: clo\xc5\xbfe"}},
	{wellFormed, []string{"Expect: 100-continue", "EXPECT: 100-Continue", "Expect:\t100-continue ", "Expect:", "Expect: 100-continue\r\nExpect: 100-continue", "Expect:\r\nExpect: 100-continue"}},
	{wellFormed, []string{"Upgrade: websocket\r\nConnection: Upgrade", "upgrade: h2c", "Upgrade:", "TE: trailers", "te: gzip;q=0.5", "TE:"}},
	{wellFormed, []string{"Trailer: X-A", "trailer: X-A, X-B", "Trailer:", "Trailer: X-Content-Length, Content", "Transfer-Encoding: chunked\r\nTrailer: X-A"}},
	{malformedBy(errName), []string{
		"X-A : b", "X-A\t: b", "X-A \t : b", ": b", ":", "::", "X-A", "X-A b", "X A: b", "\"X-A\": b", "'X\"A: b", "X(A): b", "(X): b", "[X]: b", "{X}: b", "<X>: b", "X/Y: b", "X@Y: b", "X,Y: b",
		"X;Y: b", "X=Y: b", "X?: b", `X\Y: b`, "X-\xc3\xa9: b", "X\xff: b", "X\xa0: b", "X\x00: b", "\x00X: b", "X\x0b: b", "\x0bX: b", "X\x7f: b", "X\r: b", "X\r\r: b", "X_A : b", "_", "X-A: b\r\n: c",
		"GET / HTTP/1.1",
	}},
	{malformedBy(errFold), []string{"X-A: b\r\n c", "X-A: b\r\n\tc", "X-A: b\r\n : c", "X-A:\r\n b", "X-A: b\r\n ", "X-A: b\r\n\t\t", "X-A: b\r\n X-B: c", "X-A: b\r\n\x20\x0b"}},
	{malformedBy(errValue), []string{
		"X-A: \x00", "X-A: a\x00b", "X-A: a\x01b", "X-A: a\x08b", "X-A: \x0bb", "X-A: b\x0c", "X-A: a\x0eb", "X-A: a\x1bb", "X-A: a\x1fb", "X-A: a\x7fb", "X-A: a\rb", "X-A: a\r", "X-A:\r",
		"X-A: \xc3\xa9\x00", "X-A: a\rTransfer-Encoding: chunked", "X_A: \x00", "Connection: close\x00",
	}},
	{want{fault: errExpectation, kind: Expectation}, []string{
		"Expect: 200-ok", "Expect: 100", "Expect: 100-continue, x", "Expect: 100-continued", "Expect: 100-continue;x", "Expect: \"100-continue\"", "Expect: ,", "Expect: \xc3\xa9", "expect: x",
		"Expect: 100-continue\r\nExpect: x", "Expect: x\r\nExpect: 100-continue", "Expect: 100 continue",
	}},
	{malformedBy(errTrailer), []string{
		"Trailer: Transfer-Encoding", "Trailer: Trailer", "Trailer: Content-Length", "trailer: X-A, content-length", "Trailer: X-A,\tTRAILER\t,X-B", "Trailer: X-A\r\nTrailer: Content-Length",
		"Transfer-Encoding: chunked\r\nTrailer: transfer-encoding",
	}},
}

// framingLines are about how long the body is (RFC 9112 section 6).
var framingLines = []group{
	{plain, []string{
		"Content-Length: 0", "Content-Length: 5", "content-length: 5", "CONTENT-LENGTH:5", "Content-Length: \t5 \t", "Content-Length: 10", "Content-Length: 999999999999999999",
		"Content-Lengtx: a", "Content-Length2: a", "X-Content-Length: a", "Transfer-Encodinx: gzip", "Transfer-Encodings: gzip", "X-Transfer-Encoding: gzip",
	}},
	{wellFormed, []string{"Content-Length: 00", "Content-Length: 05", "Content-Length: 000000000000000005"}},
	{wellFormed, []string{"Transfer-Encoding: chunked", "transfer-encoding:CHUNKED", "TRANSFER-ENCODING: \tChunked \t"}},
	{malformedBy(errLength), []string{
		"Content-Length:", "Content-Length: \t", "Content-Length: +5", "Content-Length: -5", "Content-Length: -0", "Content-Length: 0x5", "Content-Length: 0X5", "Content-Length: 5h", "Content-Length: a",
		"Content-Length: 5, 5", "Content-Length: 5,5", "Content-Length: 5,", "Content-Length: ,5", "Content-Length: 5, 6", "Content-Length: 5 5", "Content-Length: 1 0", "Content-Length: 1\t0",
		"Content-Length: 5.0", "Content-Length: 5e1", "Content-Length: 1_000", "Content-Length: 1'000", "Content-Length: 5;", "Content-Length: \"5\"", "Content-Length: \xef\xbc\x95", "Content-Length: 5\xa0",
		"Content-Length: 1000000000000000000", "Content-Length: 0000000000000000005", "Content-Length: 9223372036854775808", "Content-Length: 18446744073709551621", "Content-Length: 99999999999999999999",
	}},
	{malformedBy(errLength), []string{ // twice
		"Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Length: 6", "Content-Length: 0\r\nContent-Length: 0", "Content-Length: 5\r\ncontent-length: 5", "Content-Length: 5\r\nContent-Length:",
		"Content-Length: 5\r\nX-A: b\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
	}},
	{malformedBy(errName), []string{
		"Content-Length : 5", "Content-Length\t: 5", "Content Length: 5", "Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", "Transfer-Encoding\x0b: chunked", "Transfer-Encoding\r: chunked",
		"Transfer Encoding: chunked", "\x00Transfer-Encoding: chunked", "Transfer-Encoding chunked", "Transfer-Encoding",
	}},
	{malformedBy(errFold), []string{
		"Transfer-Encoding: chunked\r\n , identity", "X-A: b\r\n Transfer-Encoding: chunked", "X-A: b\r\n\tContent-Length: 5", "Content-Length: 5\r\n 0",
	}},
	{malformedBy(errValue), []string{
		"Transfer-Encoding:\x0bchunked", "Transfer-Encoding: \x0bchunked", "Transfer-Encoding: \x0cchunked", "Transfer-Encoding: chunked\x00", "Transfer-Encoding: chunked\x0b", "Transfer-Encoding: chunked\r",
		"Transfer-Encoding: \rchunked", "Content-Length: 5\x00", "Content-Length: \x0b5", "Content-Length: 5\r", "Content-Length: 5\rContent-Length: 6",
	}},
	{want{fault: errCoding, kind: Coding}, []string{
		"Transfer-Encoding:", "Transfer-Encoding:\r\n chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding: x chunked", "Transfer-Encoding: chunkedx", "Transfer-Encoding: chunke", "Transfer-Encoding: c hunked", "Transfer-Encoding: cow",
		"Transfer-Encoding: identity", "Transfer-Encoding: gzip", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked, gzip", "Transfer-Encoding: chunked, identity", "Transfer-Encoding: identity, chunked",
		"Transfer-Encoding: chunked, chunked", "Transfer-Encoding: chunked,", "Transfer-Encoding: ,chunked", "Transfer-Encoding: chunked;q=1", "Transfer-Encoding: \"chunked\"", "Transfer-Encoding: 'chunked'",
		"Transfer-Encoding: chun\xe2\x84\xaaed", "Transfer-Encoding: \xc2\xa0chunked", "Transfer-Encoding: chunked\xa0", "Transfer-Encoding: \xef\xbb\xbfchunked", "Transfer-Encoding: chunked\xff",
	}},
	{want{fault: errCoding, kind: Coding}, []string{ // twice, or beside Content-Length
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
		"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "Transfer-Encoding:\r\nTransfer-Encoding: chunked",
		"Content-Length: 5\r\nTransfer-Encoding: identity", "Transfer-Encoding: identity\r\nContent-Length: 5", "Content-Length: 5\r\nTransfer-Encoding:",
	}},
	{malformedBy(errTwoFramings), []string{
		"Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5", "Content-Length: 0\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 0",
		"transfer-encoding: CHUNKED\r\nX-A: b\r\ncontent-length: 00", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
	}},
}
