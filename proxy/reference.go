package proxy

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Where a reference leads to, in the words of the metrics.
const (
	toOwn     = "own"     // to the route's own target
	toForeign = "foreign" // elsewhere
	toRefused = "refused" // to where the app must not go
)

// rewriteReference returns what the app gets in place of a URI reference (RFC 3986 section
// 4.1) that the target gave, and where it leads to. It returns "" in place of one that is
// refused.
func (x *exchange) rewriteReference(raw string) (own, to string) {
	ref, ok := escapeReference(raw)
	if !ok {
		return "", toRefused
	}
	if ref == "" || ref[0] == '#' {
		return ref, toOwn // the URL that was asked, whatever it was
	}
	u, err := url.Parse(ref)
	if err != nil {
		return "", toRefused
	}
	web := u.Scheme == "http" || u.Scheme == "https"
	switch {
	case u.Scheme != "" && !web:
		if x.disguised(u, ref) {
			return "", toRefused
		}
		return ref, toForeign
	case u.Host == "" && (web || strings.HasPrefix(ref, "//")):
		return "", toRefused // clients differ on the host of "http:x", "https:/x" and "///x"
	}
	return x.rewriteURL(u, ref)
}

// disguised reports whether ref, parsed as u, which has a scheme other than http and https,
// may still lead to the sidecar or to a target.
func (x *exchange) disguised(u *url.URL, ref string) bool {
	// "localhost:8080/x" has the scheme localhost; not all clients read it so.
	at := host{name: u.Scheme}
	if seen, err := url.Parse("//" + ref); err == nil && seen.User == nil {
		at = hostOf(seen)
	}
	if x.isSidecar(u.Scheme) || x.proxy.isTarget(at) {
		return true
	}
	name := hostOf(u).name // which clients ask by "ftp://" and others, too
	return u.Host != "" && (x.isSidecar(name) || !unambiguousHost(name))
}

// rewriteURL does the work of rewriteReference for ref, parsed as u, which is relative or
// has the scheme http or https.
func (x *exchange) rewriteURL(u *url.URL, ref string) (own, to string) {
	at := x.route.host
	if u.Host != "" {
		at = hostOf(u)
	}
	path, tail := x.resolve(u), ""
	if i := strings.IndexAny(ref, "?#"); i >= 0 {
		tail = ref[i:]
	}
	if x.proxy.isTarget(at) && (u.User != nil || checkPath(path) != nil) {
		return "", toRefused
	}
	mine := at == x.route.host && under(path, x.route.base)
	claimed := false // by a route, but not as a path of this one
	for _, reading := range [...]string{path, unescape(path, unreserved)} {
		longest, _ := x.proxy.routeAt(at, reading, "")
		claimed = claimed || longest != nil && !(mine && longest.base == x.route.base)
	}
	switch {
	// In absolute form the host and the longest base choose the route anew.
	case mine && !(claimed && x.absolute):
		return x.rewritePath(path[len(x.route.base):], tail)
	case claimed, at != x.route.host && (x.isSidecar(at.name) || !unambiguousHost(at.name)), ambiguousUser.MatchString(ref):
		return "", toRefused
	case u.Host == "":
		return x.route.Target.Scheme + "://" + x.route.Target.Host + path + tail, toForeign
	case u.Scheme == "":
		return x.route.Target.Scheme + ":" + ref, toForeign // not by the scheme of the sidecar
	}
	return ref, toForeign
}

// resolve returns the escaped path that u has when it is resolved against the URL of the
// request to the target (RFC 3986 section 5.2).
func (x *exchange) resolve(u *url.URL) string {
	asked, _ := escapeReference(x.path)
	base, err := url.Parse(x.route.Target.Scheme + "://" + x.route.Target.Host + asked)
	if err != nil {
		base = x.route.Target
	}
	if path := base.ResolveReference(u).EscapedPath(); path != "" {
		return path
	}
	return "/"
}

// rewritePath returns the reference by which the app asks for rest, which is the part of a
// target's path below the route's base, with tail behind it. It begins with a slash and
// names no host, so that clients stay with the one they have.
func (x *exchange) rewritePath(rest, tail string) (own, to string) {
	if rest == "" {
		rest = "/"
	}
	if strings.HasPrefix(rest, "//") {
		return "", toRefused // the sidecar would refuse to forward it
	}
	front := x.route.base
	if !x.absolute {
		// The sidecar would take the first segment for a subject, perhaps after a
		// client has decoded what need not be encoded.
		if x.subjectInPath == "" && strings.HasPrefix(unescape(rest, unreserved), "/~") {
			return "", toRefused
		}
		front, _ = escapeReference(x.subjectInPath)
		if !x.dedicated {
			front = "/" + x.route.Name + front
		}
	}
	return front + rest + tail, toOwn
}

// escapeReference returns a reference with the bytes percent-encoded that a URI
// cannot hold (RFC 3986 section 2), as clients do themselves. It reports false if there are
// control bytes, which some clients leave out and others end at, or backslashes, which
// some take for slashes.
func escapeReference(raw string) (string, bool) {
	if strings.ContainsFunc(raw, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' }) {
		return "", false
	}
	if !strings.ContainsFunc(raw, notInURI) {
		return raw, true
	}
	var out strings.Builder
	for i := range len(raw) {
		if c := raw[i]; notInURI(rune(c)) {
			fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String(), true
}

// notInURI reports whether a character has to be escaped in a URI.
func notInURI(c rune) bool {
	return c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", byte(c)) >= 0
}

// unreserved reports whether a character means the same escaped and plain (RFC 3986 section
// 6.2.2.2), so that clients may decode it at any time.
func unreserved(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("-._~", c) >= 0
}

// ambiguousUser matches a reference with several at signs in its authority: clients differ
// on where the name of the user ends and the host begins.
var ambiguousUser = regexp.MustCompile(`^(?i:https?:)?//[^/?#]*@[^/?#]*@`)
