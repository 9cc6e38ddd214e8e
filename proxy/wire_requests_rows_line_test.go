package proxy

import "strings"

// wireLineRows are about the request line but for its target, and about what stands in front.
func wireLineRows() []wireRequest {
	rows := []wireRequest{
		malformed("a form feed in front of the version", wireLine("GET /alpha/x \fHTTP/1.1")),
		malformed("a vertical tab between method and target", wireLine("GET\v/alpha/x HTTP/1.1")),
		malformed("no-break spaces", wireLine("GET\u00a0/alpha/x\u00a0HTTP/1.1")),
		malformed("two CRs", "GET /alpha/x HTTP/1.1\r\r\n"+wireHost+"\r\n"),
		malformed("LF behind the request line", "GET /alpha/x HTTP/1.1\n"+wireHost+"\r\n"),
		malformed("CR behind the request line", "GET /alpha/x HTTP/1.1\r"+wireHost+"\r\n"),
		malformed("an answer", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
		malformed("a ClientHello", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\r\n\r\n"),
		malformed("a byte order mark", "\xef\xbb\xbf"+wireGet("")),
		malformed("a NUL in front", "\x00"+wireGet("")),
		malformed("a CRLF in front", "\r\n"+wireGet("")),
		malformed("two CRLFs in front", "\r\n\r\n"+wireGet("")),
		malformed("an LF in front", "\n"+wireGet("")),
		malformed("a CR in front", "\r"+wireGet("")),
		malformed("a space in front", " "+wireGet("")),
		malformed("a tab in front", "\t"+wireGet("")),
		malformed("a field in front", wireHost+wireGet("")),
		malformed("a chunk in front", "5\r\nhello\r\n0\r\n\r\n"+wireGet("")),
		malformed("nothing but CRLFs", strings.Repeat("\r\n", 40)),
		refused("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "protocol_not_supported"),
	}
	for _, line := range []string{
		"GET /alpha/x", "GET  /alpha/x HTTP/1.1", "GET /alpha/x  HTTP/1.1", "GET /alpha/x HTTP/1.1 ", "GET\t/alpha/x HTTP/1.1",
		"GET /alpha/x\tHTTP/1.1", "GET /alpha/x HTTP/1.1\t", "GET /alpha/x y HTTP/1.1", "GET HTTP/1.1", "GET  HTTP/1.1", "GET", "GET ",
		"GET /alpha/x ", "GET /alpha/x http/1.1", "GET /alpha/x Http/1.1", "GET /alpha/x HTTP/1.10", "GET /alpha/x HTTP/01.1",
		"GET /alpha/x HTTP/11", "GET /alpha/x HTTP/1,1", "GET /alpha/x HTTP/1.", "GET /alpha/x HTTP/.1", "GET /alpha/x HTTP/1", "GET /alpha/x HTTP 1.1",
		"GET /alpha/x HTTPS/1.1", "GET /alpha/x HTTP/1.x", "GET /alpha/x HTTP/x.1", "GET /alpha/x HTTP/+1.1", "GET /alpha/x HTTP/1.-1", "GET /alpha/x HTTP/1.1\x00",
		"GET /alpha/x HTTP/1.1 HTTP/1.1", "GET /alpha/x HTTP/1.1;a", "GET /alpha/x \x00HTTP/1.1", "GET /alpha/x FTP/1.1", "GET /alpha/x HTTP/\xc2\xb9.1",
		"GE/T /alpha/x HTTP/1.1", "GET: /alpha/x HTTP/1.1", "G(T /alpha/x HTTP/1.1", "\"GET\" /alpha/x HTTP/1.1", "GET, /alpha/x HTTP/1.1", "G\xc9T /alpha/x HTTP/1.1",
		"G\x00T /alpha/x HTTP/1.1", "GE\x7fT /alpha/x HTTP/1.1", "[GET] /alpha/x HTTP/1.1", "@ /alpha/x HTTP/1.1", "G\rT /alpha/x HTTP/1.1",
	} {
		rows = append(rows, malformed("the line "+line, wireLine(line)))
	}
	for _, version := range []string{"HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/9.9", "HTTP/0.0", "HTTP/2.1"} {
		rows = append(rows, refused("version "+version, wireLine("GET /alpha/x "+version), 505, "protocol_not_supported"))
	}
	for _, version := range []string{"HTTP/1.0", "HTTP/1.2", "HTTP/1.9"} {
		rows = append(rows, served("version "+version, wireLine("GET /alpha/x "+version), "GET /x HTTP/1.1", ""))
	}
	return append(rows, wireMethodRows()...)
}

// wireMethodRows are about methods.
func wireMethodRows() (rows []wireRequest) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH", "QUERY", "get", "PoSt",
		"!#$%&'*+-.^_`|~09az", strings.Repeat("M", 32)} {
		rows = append(rows, served("method "+method, wireLine(method+" /alpha/x HTTP/1.1"), method+" /x HTTP/1.1", ""))
	}
	for _, method := range []string{"TRACE", "trace", "Trace", "TRACK", "PRI", strings.Repeat("M", 33), strings.Repeat("M", 5000)} {
		rows = append(rows, denied("method "+method, wireLine(method+" /alpha/x HTTP/1.1"), 405, "method_not_allowed"))
	}
	for _, target := range []string{"localhost:443", "evil.example:443", "/alpha/x", "http://localhost/alpha/x", "*", "localhost"} {
		rows = append(rows, denied("CONNECT "+target, wireLine("CONNECT "+target+" HTTP/1.1"), 405, "method_not_allowed"))
	}
	return append(rows,
		denied("TRACE with a body that is a request", "TRACE /alpha/x HTTP/1.1\r\n"+wireHost+"Content-Length: 61\r\n\r\n"+wireNext, 405, "method_not_allowed"),
		malformed("CONNECT to a host with a control byte", wireLine("CONNECT local\x01host:443 HTTP/1.1")),
		malformed("CONNECT to nothing", wireLine("CONNECT  HTTP/1.1")),
		malformed("CONNECT to an unclosed address", wireLine("CONNECT [::1:443 HTTP/1.1")))
}

// wireTargetRows are about the target of the request line.
func wireTargetRows() (rows []wireRequest) {
	for _, target := range []string{"/alpha/x\x00", "/alpha/x\x01y", "/alpha/x\ry", "/alpha/x\ny", "/alpha/x\v", "/alpha/x\x7f", "/alpha/%", "/alpha/%2", "/alpha/%zz",
		"/alpha/%u0041", "/alpha/x?a=\x00", "/alpha/x?a=\x1f", "/alpha/x?a#b", "/alpha/x?#", "http://{target}/x?a#b", "http://[::1/x",
		"http://local host/x", "http://{target}/%zz", "http://{target}\\@evil/", "alpha/x", "?x", "#x", "x", "**",
		"http://evil%zz/", "http://a:b/x", "://x"} {
		rows = append(rows, malformed("target "+target, wireLine("GET "+target+" HTTP/1.1")))
	}
	for _, target := range []string{"*", "localhost:80", "http:/alpha/x", "http:alpha", "alpha:/x", "http:///alpha/x", "/alpha/../x", "/alpha/./x",
		"/alpha/..", "/alpha/%2e%2E/x", "/alpha/%252e%252e/x",
		"/alpha/..;a/x", "/alpha/.;/x", "/alpha/x\\y", "/alpha/..\\x", "/alpha/%5c", "/alpha/%00", "/alpha/%0d%0aHost:%20evil", "/alpha/%250a", "/alpha//x",
		"/alpha//evil.example/x", "/alpha/x#f",
		"/alpha/#", "/alpha/caf\xc3\xa9", "http://{target}/../x", "http://{target}/a/%2e%2e/x"} {
		rows = append(rows, denied("target "+target, wireLine("GET "+target+" HTTP/1.1"), 400, "path_invalid"))
	}
	for _, target := range []string{"/", "/beta/x", "/ALPHA/x", "/alphax", "/%61lpha/x", "/alpha;a/x", "//alpha/x", "//{target}/x", "/http://{target}/x",
		"https://{target}/x", "http://a@{target}/x",
		"http://evil.example/x", "http://evil.example@{target}/x", "ftp://{target}/x", "http://evil.{target}/x", "http://127.0.0.1/alpha/x",
		"http://localhost/alpha/x", "http://{target}0/x"} {
		rows = append(rows, denied("target "+target, wireLine("GET "+target+" HTTP/1.1"), 404, "unknown_route"))
	}
	for _, query := range []string{"access_token=a", "a=b&access_token=c", "%61ccess_token=a", "a;access_token=b", "ACCESS_TOKEN=a"} {
		rows = append(rows, denied("query "+query, wireLine("GET /alpha/x?"+query+" HTTP/1.1"), 400, "query_token_refused"))
	}
	for target, want := range map[string]string{
		"/alpha": "/", "/alpha/": "/", "/alpha?x=1": "/?x=1", "/alpha/x?": "/x?", "/alpha/x?a=%zz&b=%": "/x?a=%zz&b=%", "/alpha/a%20b": "/a%20b",
		"/alpha/a%2Fb%3Fc": "/a%2Fb%3Fc", "/alpha/x//y": "/x//y",
		"/alpha/x?u=http://evil.example/../": "/x?u=http://evil.example/../", "/alpha/:@!$&'()*+,;=~": "/:@!$&'()*+,;=~",
		"/alpha/x?{|}^`\"<>": "/x?{|}^`\"<>", "/alpha/x???": "/x???", "/alpha/...": "/...",
		"/alpha/100%25": "/100%25", "/alpha/alpha/x": "/alpha/x", "/alpha/HTTP/1.1": "/HTTP/1.1", "/alpha/x?HTTP/1.1": "/x?HTTP/1.1",
		"/alpha/" + strings.Repeat("a", 8000): "/" + strings.Repeat("a", 8000),
		"http://{target}/x":                   "/x", "http://{target}": "/", "http://{target}/": "/", "http://{target}?q": "/?q", "HTTP://{target}/x?y": "/x?y",
		"http://{target}/alpha/x": "/alpha/x", "http://{target}/x/http://evil.example/": "/x/http://evil.example/",
	} {
		rows = append(rows, served("target "+target, wireLine("GET "+target+" HTTP/1.1"), "GET "+want+" HTTP/1.1", ""))
	}
	return rows
}
