package proxy

import (
	"cmp"
	"strings"
)

// checkPath refuses an escaped path that some server might read as leading
// elsewhere: with a dot segment, a backslash or a control byte in it, plain or
// once or twice escaped. A decoded path may hold a percent sign that escapes nothing, as
// that of /100%25 does; all else in it is looked at nevertheless. What checkPath accepts is
// forwarded byte for byte.
func checkPath(path string) error {
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || c == '#' || c == '\\' {
			return errPath
		}
	}
	if strings.IndexByte(path, '%') < 0 && !strings.Contains(path, "/.") {
		return nil
	}
	for range 3 { // as it is, decoded once, decoded twice
		if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) || hasDotSegment(path) {
			return errPath
		}
		decoded := unescape(path, nil)
		if decoded == path {
			return nil
		}
		path = decoded
	}
	return nil
}

// hasDotSegment reports whether path has a segment "." or ".." (RFC 3986 section 3.3), also
// with blanks around it, or with a parameter, a query or a fragment behind it, which some servers
// cut off first.
func hasDotSegment(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if i := strings.IndexAny(segment, ";?#"); i >= 0 {
			segment = segment[:i]
		}
		if segment = strings.TrimSpace(segment); segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// checkQuery refuses a token in the query: RFC 6750 section 2 allows one way
// to send it, and ours is the header. Servers differ on whether a semicolon
// separates parameters, so both readings are looked at.
func checkQuery(query string) error {
	if len(query) < len("?access_token") {
		return nil
	}
	for part := range strings.FieldsFuncSeq(query[1:], func(r rune) bool { return r == '&' || r == ';' }) {
		name, _, _ := strings.Cut(part, "=")
		if strings.EqualFold(strings.Trim(unescape(name, nil), "+ []"), "access_token") {
			return errQueryToken
		}
	}
	return nil
}

// splitTarget returns path and query of a request target (RFC 9112 section 3.2) in
// origin-form or absolute-form. The query keeps its question mark.
func splitTarget(target string) (path, query string) {
	if _, rest, ok := strings.Cut(target, "://"); ok && target[0] != '/' {
		authority, _, _ := strings.Cut(rest, "/")
		authority, _, _ = strings.Cut(authority, "?")
		target = rest[len(authority):]
	}
	path, _, _ = strings.Cut(target, "?")
	return cmp.Or(path, "/"), target[len(path):]
}
