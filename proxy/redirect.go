package proxy

import (
	"net/http"
	"net/url"
	"strings"
)

// A client resolves what an answer points to against the URL that it asked, which
// is the sidecar's: "/x" would leave the route, and the target's own URL would
// leave the sidecar, and the token with it. So references to the route's own target
// become the sidecar's, in the form that the request had. References to other
// places are the app's to follow. A third kind is refused: with those a target
// could have the app ask the sidecar by another route or for another subject.

// What a reference leads to, in the words of the metrics.
const (
	toOwn     = "own"
	toForeign = "foreign"
	toRefused = "refused"
)

// ownAnswer does with an answer what ownLinks does with a header, and counts
// redirects. It fails if the answer is a redirect to where the app must not go.
func (x *exchange) ownAnswer(res *http.Response) error {
	to := x.ownLinks(res.Header)
	if to == "" || res.StatusCode < 300 || res.StatusCode > 399 {
		return nil
	}
	x.route.metrics.Redirect(to)
	if to == toRefused {
		return errRedirect
	}
	return nil
}

// ownLinks has all that the header h of an answer points to on the route's own
// target lead through the sidecar, and removes what is refused. It returns what
// Location leads to, "" if there is none. It is for 1xx answers too, which may
// hold links (RFC 8297).
//
// Refresh is removed: no RFC says what its value means, so nobody can say
// where it leads.
func (x *exchange) ownLinks(h http.Header) (location string) {
	delete(h, "Refresh")
	if lines, ok := h["Link"]; ok {
		if lines = x.ownLinkLines(lines); len(lines) > 0 {
			h["Link"] = lines
		} else {
			delete(h, "Link")
		}
	}
	x.ownField(h, "Content-Location")
	return x.ownField(h, "Location")
}

// ownField rewrites or removes a header whose value is one reference, and
// returns what that leads to.
func (x *exchange) ownField(h http.Header, name string) string {
	values, ok := h[name]
	if !ok {
		return ""
	}
	if len(values) == 1 { // of several, clients differ on which one counts
		if own, to := x.ownReference(values[0]); to != toRefused {
			h[name] = []string{own}
			return to
		}
	}
	delete(h, name)
	return toRefused
}

// dropLinks removes from trailers what ownLinks looks after in a header. RFC 9110
// section 6.5.1 has no place for it there.
func dropLinks(trailer http.Header) {
	for _, name := range [...]string{"Location", "Content-Location", "Link", "Refresh"} {
		delete(trailer, name)
	}
}

// ownReference returns what the app gets in place of a URI reference (RFC 3986
// section 4.1) that the target gave, and what it leads to.
func (x *exchange) ownReference(raw string) (own, to string) {
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
		// "localhost:8080/x" has the scheme localhost; not all clients read it so.
		at := u.Scheme
		if seen, err := url.Parse("//" + ref); err == nil && seen.User == nil {
			_, at = hostOf(seen)
		}
		// Clients follow "ftp://" and others, too.
		name, _ := hostOf(u)
		if x.itself(u.Scheme) || x.proxy.isTarget(at) || (u.Host != "" && (x.itself(name) || !plainHost(name))) {
			return "", toRefused
		}
		return ref, toForeign
	case u.Host == "" && (web || strings.HasPrefix(ref, "//")):
		return "", toRefused // clients differ on the host of "http:x", "https:/x" and "///x"
	}
	return x.ownURL(u, ref)
}

// ownURL is ownReference for ref, parsed as u, that is relative or of the scheme
// http or https.
func (x *exchange) ownURL(u *url.URL, ref string) (own, to string) {
	name, at := "", x.route.at
	if u.Host != "" {
		name, at = hostOf(u)
	}
	path, tail := x.resolveReference(u), ""
	if i := strings.IndexAny(ref, "?#"); i >= 0 {
		tail = ref[i:]
	}
	if x.proxy.isTarget(at) && (u.User != nil || checkPath(path) != nil) {
		return "", toRefused
	}
	mine := at == x.route.at && under(path, x.route.base)
	claimed := false // by a route, but not as a path of this one
	for _, reading := range [...]string{path, plainUnreserved(path)} {
		base, found := x.proxy.baseAt(at, reading)
		claimed = claimed || found && !(mine && base == x.route.base)
	}
	switch {
	// In absolute form the host and the longest base choose the route anew.
	case mine && !(claimed && x.absolute()):
		return x.ownPath(path[len(x.route.base):], tail)
	case claimed, at != x.route.at && (x.itself(name) || !plainHost(name)), ambiguousUser(u, ref):
		return "", toRefused
	case u.Host == "":
		return x.route.Target.Scheme + "://" + x.route.Target.Host + path + tail, toForeign
	case u.Scheme == "":
		return x.route.Target.Scheme + ":" + ref, toForeign // not by the scheme of the sidecar
	}
	return ref, toForeign
}

// ownPath returns the reference by which the app asks for rest, which is the part
// of a target's path below the route's base. It begins with a slash and names no
// host, so that clients stay with the one they have.
func (x *exchange) ownPath(rest, tail string) (own, to string) {
	if rest == "" {
		rest = "/"
	}
	if strings.HasPrefix(rest, "//") {
		return "", toRefused // as chooseKey does
	}
	front := x.route.base
	if !x.absolute() {
		if x.subjectInPath == "" && namesSubject(rest) {
			return "", toRefused
		}
		subject, _ := escapeReference(x.subjectInPath)
		front = subject
		if !x.dedicated {
			front = "/" + x.route.Name + subject
		}
	}
	return front + rest + tail, toOwn
}

// absolute reports whether the request is in absolute-form (RFC 9112 section
// 3.2.2), as clients send it to a proxy.
func (x *exchange) absolute() bool { return x.in.URL.Host != "" }

// namesSubject reports whether the sidecar would take the first segment for a
// subject, also after a client has decoded what need not be encoded.
func namesSubject(rest string) bool {
	return strings.HasPrefix(plainUnreserved(rest), "/~")
}

// resolveReference returns the escaped path that u has when it is resolved
// against the URL of the request to the target (RFC 3986 section 5.2).
func (x *exchange) resolveReference(u *url.URL) string {
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
