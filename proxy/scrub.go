package proxy

import (
	"net/http"
	"strings"
)

// scrub removes from the head of an answer what is about the target's connection only,
// headers that do harm when they come from the sidecar, and any that shows the token that
// was sent, or a field beside it, which the app must not have. What the sidecar adds to an answer has to be added
// afterwards.
func (x *exchange) scrub(h http.Header) {
	deleteNominated(h)
	search := tokenSearch{token: x.attempt.token.AccessToken()}
	for name, values := range h {
		if hopByHop(name) || withheld(name) || reservedInAnswers(name) || search.inHeader(name, values) {
			delete(h, name)
		}
	}
	for _, f := range x.attempt.fields {
		if strings.HasPrefix(f.Name, "Accept") || strings.HasPrefix(f.Name, "Content-") {
			continue // an answer names the same media types, and they are no secret
		}
		search := tokenSearch{token: f.Value.Reveal()}
		for name, values := range h {
			if search.inHeader(name, values) {
				delete(h, name)
			}
		}
	}
}

// scrubTrailer does to the trailers of an answer what scrub does to its headers, and removes
// those that must not be trailers.
func (x *exchange) scrubTrailer(h http.Header) {
	x.scrub(h)
	for name := range h {
		if !allowedInTrailer(name) {
			delete(h, name)
		}
	}
}

// deleteNominated removes the headers that the Connection header nominates as those of one
// connection only (RFC 9110 section 7.6.1).
func deleteNominated(h http.Header) {
	for _, line := range h["Connection"] {
		for option := range strings.SplitSeq(line, ",") {
			delete(h, http.CanonicalHeaderKey(strings.Trim(option, " \t")))
		}
	}
}

// withheld reports whether a header of an answer is kept from the app for what it does to
// the app's other requests:
//
//   - Cookies: a cookie jar would send what one subject's session set with the
//     next subject's request (RFC 6265 section 5.4 goes by host and path).
//   - Properties of the target's origin, which bind the client to it, make no
//     sense for loopback and would hit every other service there: RFC 7838
//     (Alt-Svc), RFC 6797 (HSTS), RFC 7469, RFC 9163, Clear-Site-Data, reporting.
//   - Cache controls that outrank Cache-Control (RFC 9213 section 2.2).
func withheld(name string) bool {
	switch name {
	case "Set-Cookie", "Set-Cookie2",
		"Alt-Svc", "Strict-Transport-Security", "Public-Key-Pins", "Public-Key-Pins-Report-Only", "Expect-Ct",
		"Clear-Site-Data", "Nel", "Report-To", "Reporting-Endpoints", "Service-Worker-Allowed",
		"Cdn-Cache-Control", "Surrogate-Control", "Proxy-Authentication-Info":
		return true
	}
	return false
}

// reservedInAnswers reports whether some reader may take a header of an answer for one that
// the target has no right to set: one by which app and sidecar talk, or one of framing in a
// spelling that net/http does not know.
func reservedInAnswers(name string) bool {
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

// allowedInTrailer reports whether a trailer of an answer does no harm if somebody takes it
// for a header, as RFC 9110 section 6.5.1 demands: it must not frame, route, refer to
// another place, authenticate, set a cookie, rule caches, or say how to read the body,
// however it is spelled.
func allowedInTrailer(name string) bool {
	var room [24]byte
	switch string(letters(room[:0], name)) {
	case "contentlength", "transferencoding", "trailer", "connection", "keepalive", "proxyconnection", "te", "upgrade", "expect",
		"host", "forwarded", "xforwardedfor", "xforwardedhost", "xforwardedproto", "via", "location", "link", "refresh", "maxforwards",
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

// letters appends the letters and digits of a name to b, in lower case, so that spellings
// compare equal between which some reader does not tell: X_Token.Subject is X-Token-Subject
// to it. It returns nothing if they do not fit: then the name is longer than any that
// matters here.
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
