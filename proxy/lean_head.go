package proxy

import (
	"net/http"
	"strconv"
	"strings"

	"token-sidecar/proxy/internal/targetconn"
)

// writeHead writes request line and header to the connection's buffer, which
// keeps any error for Flush. net/http has checked every name and value.
func (x *exchange) writeHead(c *targetconn.Conn) {
	w := c.Writer()
	put := func(parts ...string) {
		for _, p := range parts {
			_, _ = w.WriteString(p)
		}
	}
	put(x.in.Method, " ", x.path, x.query, " HTTP/1.1\r\nHost: ", x.route.Target.Host, "\r\nAuthorization: ",
		x.sent.Authorization(), "\r\n")
	connection := x.in.Header["Connection"]
	loop := false
	for name, values := range x.in.Header {
		if hopByHop(name) || name == "Authorization" || name == "Content-Length" || name == "Expect" || endsHere(name) ||
			(connection != nil && named(connection, name)) {
			continue
		}
		for _, v := range values {
			put(name, ": ", v, "\r\n")
		}
		loop = loop || name == loopHeader
	}
	put(loopHeader, ": ", loopID, "\r\n")
	switch {
	case len(x.body) > 0:
		put("Content-Length: ", strconv.Itoa(len(x.body)), "\r\n")
	case x.in.Method == http.MethodPost || x.in.Method == http.MethodPut || x.in.Method == http.MethodPatch:
		put("Content-Length: 0\r\n") // RFC 9110 section 8.6
	}
	put("\r\n")
}

// hopByHop reports whether a header is about one connection only (RFC 9110
// section 7.6.1), or was when it was still in use.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// named reports whether a Connection header names the header name.
func named(connection []string, name string) bool {
	for _, line := range connection {
		for option := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(option, " \t"), name) {
				return true
			}
		}
	}
	return false
}
