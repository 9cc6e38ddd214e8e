package proxy

import (
	"net/http"
	"strconv"
	"strings"
)

// The headers by which the app chooses a token. They are read from the request
// as it came in, and never forwarded.
const (
	subjectHeader = "X-Token-Subject"
	scopeHeader   = "X-Token-Scope"
	purposeHeader = "X-Token-Purpose"
	routeHeader   = "X-Token-Route"
	callerHeader  = "X-Sidecar-Token"
)

// vendPrefix is where the app asks for a token itself: POST /token/{route}. No route can
// have that name.
const vendPrefix = "/token/"

// asksForToken reports whether a request asks for a token itself.
func asksForToken(r *http.Request) bool { return strings.HasPrefix(r.RequestURI, vendPrefix) }

// loopHeader marks requests that have passed a sidecar (RFC 8586), with loopID.
const (
	loopHeader = "Cdn-Loop"
	loopID     = "token-sidecar"
)

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

// nominates reports whether the lines of a Connection header nominate a header as one that
// is about this connection only (RFC 9110 section 7.6.1).
func nominates(connection []string, name string) bool {
	for _, line := range connection {
		for option := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(option, " \t"), name) {
				return true
			}
		}
	}
	return false
}

// single returns the one value of a header, or "" if it is absent. It returns the error
// invalid if the header was given twice, or given empty: a variable that was left unset
// must not pass for a choice.
func single(h http.Header, name string, invalid error) (string, error) {
	values, given := h[name]
	if !given {
		return "", nil
	}
	if len(values) != 1 || values[0] == "" {
		return "", invalid
	}
	return values[0], nil
}

// isToken reports whether s is a token (RFC 9110 section 5.6.2), as every name of a header
// is.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || strings.IndexByte("!#$%&'*+.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// Regular expressions of what a token consists of (RFC 9110 section 5.6.2), and of a
// quoted-string (section 5.6.4).
const (
	tokenChars    = "!#$%&'*+.^_`|~0-9A-Za-z-"
	quotedPattern = `"(?:[^"\\]|\\.)*"`
)

// unescape decodes the percent-escapes of s (RFC 3986 section 2.1) that stand for bytes
// which which accepts; nil accepts all. It leaves as it is what looks like an escape and is
// none. There are servers that do so, and what a strict one makes of s is the same, if it
// takes s at all.
func unescape(s string, which func(byte) bool) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err == nil && (which == nil || which(byte(c))) {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
