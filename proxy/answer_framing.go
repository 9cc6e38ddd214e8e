package proxy

import (
	"net/http"
	"strconv"
)

// checkHead refuses an answer that net/http reads in one way and others may read in
// another: of a version that nobody speaks, with a length that is not written as numbers
// are (RFC 9112 section 6.3), or with a space in a name, which net/http takes for a part
// of the name (section 5.1). A line that continues the one above (obs-fold) is no such
// case: net/http has replaced its beginning by one space, as section 5.2 allows.
func checkHead(res *http.Response) error {
	if !versionSpoken(res) || !lengthPlain(res.Header["Content-Length"]) {
		return errAnswer
	}
	return checkNames(res.Header)
}

// versionSpoken reports whether an answer is of HTTP/1.0 or HTTP/1.1, or came over
// HTTP/2. The first line of an answer over HTTP/1.1 can say anything.
func versionSpoken(res *http.Response) bool {
	if res.ProtoMajor == 2 {
		return res.TLS != nil && res.TLS.NegotiatedProtocol == "h2"
	}
	return res.ProtoMajor == 1 && res.ProtoMinor <= 1
}

// lengthPlain reports whether there is at most one length, without sign or leading zeros.
// Over HTTP/1.1 net/http has made sure of some of that, and over HTTP/2 of nothing.
func lengthPlain(values []string) bool {
	if len(values) == 0 {
		return true
	}
	v := values[0]
	_, err := strconv.ParseUint(v, 10, 63)
	return len(values) == 1 && err == nil && (v == "0" || v[0] != '0')
}

// checkNames refuses headers with a name that is none.
func checkNames(h http.Header) error {
	for name := range h {
		if !isToken(name) {
			return errAnswer
		}
	}
	return nil
}

// isToken reports whether s is a token (RFC 9110 section 5.6.2), as every name is.
func isToken(s string) bool {
	for i := range len(s) {
		if !tokenRune(rune(s[i])) {
			return false
		}
	}
	return s != ""
}

// letters appends to b the letters and digits of a name, in lower case. That is what a
// server sees that takes X_Token.Subject for X-Token-Subject. It returns nothing if they
// do not fit: then the name is none of those that matter here.
func letters(b []byte, name string) []byte {
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
			if len(b) == cap(b) {
				return nil
			}
			b = append(b, c)
		}
	}
	return b
}

// notTheTargets reports whether a header of an answer passes for one that is not for the
// target to set: those by which app and sidecar talk, and those of framing in a spelling
// that net/http does not know.
func notTheTargets(name string) bool {
	if c := name[0]; 'A' <= c && c <= 'Z' && c != 'C' && c != 'T' && c != 'X' || name == "Content-Type" {
		return false // as nearly all are
	}
	var room [24]byte
	switch string(letters(room[:0], name)) {
	case "xtokensubject", "xtokenscope", "xtokenroute", "xsidecartoken", "transferencoding":
		return true
	case "contentlength":
		return name != "Content-Length"
	}
	return false
}

// mayTrail reports whether a trailer of an answer does no harm if somebody takes it for a
// header, as RFC 9110 section 6.5.1 demands: it must not frame, route, authenticate, set
// a cookie, rule caches, or say how to read the body, however it is spelled.
func mayTrail(name string) bool {
	var room [24]byte
	switch string(letters(room[:0], name)) {
	case "contentlength", "transferencoding", "trailer", "connection", "keepalive", "proxyconnection", "te", "upgrade", "expect",
		"host", "forwarded", "xforwardedfor", "xforwardedhost", "xforwardedproto", "via", "location", "refresh", "maxforwards",
		"contentencoding", "contenttype", "contentrange", "contentlocation", "contentdisposition", "range",
		"ifmatch", "ifnonematch", "ifmodifiedsince", "ifunmodifiedsince", "ifrange",
		"authorization", "wwwauthenticate", "proxyauthorization", "proxyauthenticate", "proxyauthenticationinfo",
		"cookie", "setcookie", "setcookie2",
		"cachecontrol", "cdncachecontrol", "surrogatecontrol", "expires", "age", "date", "vary", "pragma", "warning", "retryafter",
		"altsvc", "stricttransportsecurity", "clearsitedata":
		return false
	}
	return isToken(name)
}
