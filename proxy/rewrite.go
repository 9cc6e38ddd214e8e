package proxy

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
)

// rewrite points the request at the target. ReverseProxy has removed the
// hop-by-hop and Forwarded headers by now.
func (x *exchange) rewrite(r *httputil.ProxyRequest) {
	target := x.route.Target
	query := strings.TrimPrefix(x.query, "?")
	// Opaque is sent byte for byte; Path would be escaped anew.
	r.Out.URL = &url.URL{Scheme: target.Scheme, Host: target.Host, Opaque: x.path,
		RawQuery: query, ForceQuery: query == "" && x.query != ""}
	r.Out.Host = ""
	r.Out.Trailer = nil // a trailer could pass for a header behind the target (RFC 9110 section 6.5.1)
	h := r.Out.Header
	for name := range h {
		if endsHere(name) {
			delete(h, name)
		}
	}
	if x.in.ContentLength == 0 || x.body != nil {
		delete(h, "Expect") // there is nothing left to wait for
	}
	if !x.upgrade {
		delete(h, "Upgrade")
		delete(h, "Connection")
	}
	if passed, ok := h[loopHeader]; ok {
		h[loopHeader] = append(passed, loopID)
	} else {
		h[loopHeader] = loopMark
	}
}

var loopMark = []string{loopID}

// asksForWebSocket reports whether the request is a WebSocket handshake (RFC 6455
// section 4.1). Any other upgrade is left out, as RFC 9110 section 7.8 allows: what
// flows through an upgraded connection is not looked at, so with h2c a client could
// send requests of its own making, without our token or with its own.
func (x *exchange) asksForWebSocket() bool {
	upgrade := x.in.Header["Upgrade"]
	return len(upgrade) == 1 && strings.EqualFold(upgrade[0], webSocket) && x.in.Method == http.MethodGet &&
		x.in.ContentLength == 0 && named(x.in.Header["Connection"], "Upgrade")
}

const webSocket = "websocket"

// endsHere reports whether a request header must not reach the target: ours,
// and those by which a client could make a server behind the target see
// another path, method, host or sender.
//
// Cookies are among them: a cookie jar sends those of any service on the same
// host, whatever its port (RFC 6265 section 8.5), so cookies of other programs
// beside the app would leave for the target.
func endsHere(name string) bool {
	if strings.IndexByte(name, '_') >= 0 {
		name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		if hopByHop(name) || name == "Content-Length" {
			return true // a server could take it for the framing
		}
	}
	switch name {
	case subjectHeader, scopeHeader, routeHeader, callerHeader,
		"Proxy-Authorization", "Proxy", "Proxy-Connection", "Cookie", "Cookie2", "Via", "Forwarded", "Referer",
		"Alt-Used", "Http2-Settings", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Host", "Client-Ip",
		"True-Client-Ip", "Cf-Connecting-Ip", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override",
		"X-Rewrite-Url":
		return true
	}
	return strings.HasPrefix(name, "X-Token-") || strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Original-")
}
