package proxy

import "fmt"

// wireUpgradeRows are about Expect and Upgrade.
func wireUpgradeRows() (rows []wireRequest) {
	for _, value := range []string{"200-ok", "100-continue, 200-ok", "100-continue, 100-continue", "100-continue;a=b", "\"100-continue\"", "100",
		"continue", "y 100-continue", "100 continue", "100-continue,", "100-continu\xe9", "*", "100-continue\r\nExpect: 200-ok"} {
		rows = append(rows, refused("Expect: "+value, wirePost("Expect: "+value+"\r\nContent-Length: 5\r\n", "hello"), 417, "expectation_refused"))
	}
	for _, value := range []string{"100-continue\x00", "100-continue\r\n ", "\r\n 100-continue", "100-continue\r"} {
		rows = append(rows, malformed("Expect: "+value, wirePost("Expect: "+value+"\r\nContent-Length: 5\r\n", "hello")))
	}
	for _, value := range []string{"100-continue", "100-Continue", "\t100-continue ", "", "100-continue\r\nExpect: 100-continue", "\r\nExpect: 100-continue"} {
		rows = append(rows, served("Expect: "+value, wirePost("Expect: "+value+"\r\nContent-Length: 5\r\n", "hello"), "POST /x HTTP/1.1", "hello"),
			served("chunks and Expect: "+value, wirePost("Expect: "+value+"\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"), "POST /x HTTP/1.1", "hello"),
			served("no body and Expect: "+value, wireGet("Expect: "+value+"\r\n"), "GET /x HTTP/1.1", ""))
	}
	for _, fields := range []string{"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
		"Connection: Upgrade\r\nUpgrade: h2c\r\n", "Upgrade: h2c\r\n", "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n", "Upgrade: websocket\r\n",
		"Connection: keep-alive\r\nUpgrade: websocket\r\n",
		"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
		"Connection: Upgrade\r\nUpgrade:\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n", "Connection: Upgrade\r\n"} {
		rows = append(rows, served("upgrade "+fields, wireGet(fields), "GET /x HTTP/1.1", ""),
			served("upgrade of a POST "+fields, wirePost(fields+"Content-Length: 5\r\n", "hello"), "POST /x HTTP/1.1", "hello"),
			served("upgrade of chunks "+fields, wirePost(fields+"Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"), "POST /x HTTP/1.1", "hello"),
			served("upgrade of a GET with a body "+fields, wireGet(fields+"Content-Length: 5\r\n")+"hello", "GET /x HTTP/1.1", "hello"))
	}
	return append(rows,
		refused("HTTP/1.0 and an odd Expect", "POST /alpha/x HTTP/1.0\r\n"+wireHost+"Expect: x\r\nContent-Length: 5\r\n\r\nhello", 417, "expectation_refused"),
		served("HTTP/1.0 and Expect", "POST /alpha/x HTTP/1.0\r\n"+wireHost+"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", "POST /x HTTP/1.1", "hello"),
		malformed("an upgrade with a fold", wireGet("Connection: Upgrade\r\n, close\r\nUpgrade: websocket\r\n")))
}

// wireSmugglingRows are the requests of papers on smuggling, with their prefixes of a second
// request.
func wireSmugglingRows() []wireRequest {
	const prefix = "GET /alpha/smuggled HTTP/1.1\r\nX-A: "
	length := fmt.Sprintf("Content-Length: %d\r\n", len(wireNext))
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(wireNext), wireNext)
	inBody := func(line string) string { return line + "\r\n" + wireHost + length + "\r\n" + wireNext }
	const code = "transfer_encoding_refused"
	return []wireRequest{
		malformed("CL.TE", wirePost("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG")),
		malformed("CL.TE with a prefix", wirePost("Content-Length: 44\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"+prefix)),
		malformed("TE.CL", wirePost("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", chunk)),
		malformed("TE.CL, the coding first", wirePost("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunk)),
		refused("TE.TE by another value", wirePost("Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n", chunk), 501, code),
		refused("TE.TE by another order", wirePost("Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n", chunk), 501, code),
		refused("TE.TE by a tab within", wirePost("Transfer-Encoding: chunked\tx\r\n", chunk), 501, code),
		malformed("TE.TE by a space", wirePost("Content-Length: 4\r\nTransfer-Encoding : chunked\r\n", chunk)),
		malformed("TE.TE by an LF", wirePost("Content-Length: 4\r\nX: x\nTransfer-Encoding: chunked\r\n", chunk)),
		refused("TE.TE by a fold", wirePost("Content-Length: 4\r\nTransfer-Encoding:\r\n chunked\r\n", chunk), 501, code),
		malformed("TE.TE by a vertical tab", wirePost("Content-Length: 4\r\nTransfer-Encoding:\vchunked\r\n", chunk)),
		malformed("TE.TE by a NUL", wirePost("Content-Length: 4\r\nTransfer-Encoding\x00: chunked\r\n", chunk)),
		served("TE.TE by an underscore", wirePost(length+"Transfer_Encoding: chunked\r\n", wireNext), "POST /x HTTP/1.1", wireNext),
		served("CL.0", wirePost(length, wireNext), "POST /x HTTP/1.1", wireNext),
		served("CL.0 that keeps the connection", wirePost("Connection: keep-alive\r\n"+length, wireNext), "POST /x HTTP/1.1", wireNext),
		denied("CL.0 with an unknown route", inBody("POST /beta/x HTTP/1.1"), 404, "unknown_route"),
		denied("CL.0 with a path that is refused", inBody("POST /alpha/../x HTTP/1.1"), 400, "path_invalid"),
		denied("CL.0 with the target *", inBody("OPTIONS * HTTP/1.1"), 400, "path_invalid"),
		denied("CL.0 with another host", "POST /alpha/x HTTP/1.1\r\nHost: evil.example\r\n"+length+"\r\n"+wireNext, 403, "host_not_allowed"),
		denied("CL.0 in chunks with an unknown route", "POST /beta/x HTTP/1.1\r\n"+wireHost+"Transfer-Encoding: chunked\r\n\r\n"+chunk, 404, "unknown_route"),
		denied("CL.0 with Expect and an unknown route", "POST /beta/x HTTP/1.1\r\n"+wireHost+"Expect: 100-continue\r\n"+length+"\r\n"+wireNext, 404, "unknown_route"),
		malformed("0.CL by a fold", wireGet("Content-Length:\r\n 61\r\n")+wireNext),
		malformed("0.CL by a space", wireGet("Content-Length : 61\r\n")+wireNext),
		malformed("0.CL by an LF in a value", wireGet("X-A: b\nContent-Length: 61\r\n")+wireNext),
		refused("0.CL by Expect", wirePost("Expect: y 100-continue\r\n"+length, wireNext), 417, "expectation_refused"),
		served("0.CL in a GET", wireGet(length)+wireNext, "GET /x HTTP/1.1", wireNext),
		malformed("CL.CL", wirePost("Content-Length: 0\r\n"+length, wireNext)),
		malformed("CL.CL by a plus sign", wirePost("Content-Length: 0\r\nContent-Length: +61\r\n", wireNext)),
		malformed("a length in two lists", wirePost("Content-Length: 0, 61\r\n", wireNext)),
		late("TERM.EXT", "5;a\r\nhello\r\n2;\nxx\r\n0\r\n\r\n"),
		late("TERM.SPILL", "5\r\nhello\n0\r\n\r\n"+wireNext),
		late("SPILL.TERM", "5\r\nhelloxx0\r\n\r\n"+wireNext),
		late("ONE.TWO", "5\r\nhello"+wireNext),
		late("a request in the place of trailers", "0\r\n"+wireNext),
		late("a request in the place of a chunk", "5\r\nhello\r\n"+wireNext),
		malformed("a request in the place of fields", "GET /alpha/x HTTP/1.1\r\n"+wireNext),
		malformed("a request that continues a field", wireGet("X-A: b\r\n GET /alpha/smuggled HTTP/1.1\r\n")),
	}
}
