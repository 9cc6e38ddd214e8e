package proxy

import (
	"bufio"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
)

// rewrite makes of the app's request the one that the general way sends to the target.
// ReverseProxy has removed the hop-by-hop and Forwarded headers by now.
func (x *exchange) rewrite(r *httputil.ProxyRequest) {
	target := x.route.Target
	// net/http sends Opaque byte for byte; it would escape Path anew.
	r.Out.URL = &url.URL{Scheme: target.Scheme, Host: target.Host, Opaque: x.path,
		RawQuery: strings.TrimPrefix(x.query, "?"), ForceQuery: x.query == "?"}
	r.Out.Host = ""
	r.Out.Trailer = nil // a trailer could pass for a header behind the target (RFC 9110 section 6.5.1)
	h := r.Out.Header
	for name := range h {
		if notForwarded(name) {
			delete(h, name)
		}
	}
	if !x.streams() {
		delete(h, "Expect") // there is nothing left to wait for
	}
	if !x.webSocket {
		delete(h, "Upgrade")
		delete(h, "Connection")
	}
	h[loopHeader] = append(h[loopHeader], loopID)
}

// writeHead writes the head of the request that the lean way sends to the target. Package
// http1 has checked every name and value. w keeps any error for Flush.
func (x *exchange) writeHead(w *bufio.Writer) {
	put := func(parts ...string) {
		for _, p := range parts {
			_, _ = w.WriteString(p)
		}
	}
	put(x.in.Method, " ", x.path, x.query, " HTTP/1.1\r\nHost: ", x.route.Target.Host, "\r\nAuthorization: ",
		x.attempt.token.Authorization(), "\r\n")
	connection := x.in.Header["Connection"]
	for name, values := range x.in.Header {
		if hopByHop(name) || name == "Authorization" || name == "Content-Length" || name == "Expect" || notForwarded(name) ||
			nominates(connection, name) || x.replaced(name) {
			continue
		}
		for _, v := range values {
			put(name, ": ", v, "\r\n")
		}
	}
	for _, f := range x.attempt.fields {
		put(f.Name, ": ", f.Value.Reveal(), "\r\n")
	}
	put(loopHeader, ": ", loopID, "\r\n")
	switch {
	case x.upload != nil:
		put("Content-Length: ", strconv.Itoa(len(x.upload.kept)), "\r\n")
	case x.in.Method == http.MethodPost || x.in.Method == http.MethodPut || x.in.Method == http.MethodPatch:
		put("Content-Length: 0\r\n") // RFC 9110 section 8.6
	}
	put("\r\n")
}

// setFields puts the fields that the API wants beside the token into the header of the request
// that the general way sends.
func (x *exchange) setFields(h http.Header) {
	x.dropReplaced(h)
	for _, f := range x.attempt.fields {
		h[f.Name] = []string{f.Value.Reveal()}
	}
}

// dropReplaced removes from a header what the fields of the attempt replace.
func (x *exchange) dropReplaced(h http.Header) {
	if len(x.attempt.fields) == 0 {
		return
	}
	for name := range h {
		if x.replaced(name) {
			delete(h, name)
		}
	}
}

// replaced reports whether a field of the attempt takes the place of a header of the app. Some
// servers take an underscore for a dash, so that both count.
func (x *exchange) replaced(name string) bool {
	for _, f := range x.attempt.fields {
		if strings.EqualFold(strings.ReplaceAll(f.Name, "_", "-"), strings.ReplaceAll(name, "_", "-")) {
			return true
		}
	}
	return false
}

// asksForWebSocket reports whether a request is a WebSocket handshake (RFC 6455
// section 4.1). Any other upgrade is left out, as RFC 9110 section 7.8 allows: what
// flows through an upgraded connection is not looked at, so with h2c a client could
// send requests of its own making, without our token or with its own.
func asksForWebSocket(r *http.Request) bool {
	upgrade := r.Header["Upgrade"]
	return len(upgrade) == 1 && strings.EqualFold(upgrade[0], "websocket") && r.Method == http.MethodGet &&
		r.ContentLength == 0 && nominates(r.Header["Connection"], "Upgrade")
}

// notForwarded reports whether a request header must not reach the target: the sidecar's
// own, and those by which a client could make a server behind the target see another path,
// method, host or sender.
//
// Cookies are among them: a cookie jar sends those of any service on the same
// host, whatever its port (RFC 6265 section 8.5), so that cookies of other
// programs beside the app would be sent to the target.
func notForwarded(name string) bool {
	if strings.IndexByte(name, '_') >= 0 {
		name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		if hopByHop(name) || name == "Content-Length" {
			return true // a server could take it for the framing
		}
	}
	switch name {
	case callerHeader,
		"Proxy-Authorization", "Proxy", "Proxy-Connection", "Cookie", "Cookie2", "Via", "Forwarded", "Referer",
		"Alt-Used", "Http2-Settings", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Host", "Client-Ip",
		"True-Client-Ip", "Cf-Connecting-Ip", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override",
		"X-Rewrite-Url":
		return true
	}
	return strings.HasPrefix(name, "X-Token-") || strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Original-")
}
