package proxy

import "strings"

// maxLinkWork bounds, in bytes, what is resolved for the links of one answer. Each
// relative one costs the length of the request's path, and becomes as long. It is
// enough for a thousand links of ordinary length.
const maxLinkWork = 256 << 10

// ownLinkLines does for the lines of a Link header (RFC 8288 section 3) what
// ownReference does for one reference. A refused link is left out, and a line
// that is not well-formed. None of them passes if there are too many.
func (x *exchange) ownLinkLines(lines []string) []string {
	own := make([]string, 0, len(lines))
	left := maxLinkWork
	for _, line := range lines {
		links, ok := splitLinks(line)
		if !ok {
			continue
		}
		kept := make([]string, 0, len(links))
		changed := false
		for _, l := range links {
			if left -= len(x.path) + len(l.ref); left < 0 {
				return nil
			}
			ref, to := x.ownReference(l.ref)
			if to != toRefused {
				kept = append(kept, "<"+ref+">"+l.params)
			}
			changed = changed || ref != l.ref || l.changed
		}
		switch {
		case len(kept) == 0:
		case changed:
			own = append(own, strings.Join(kept, ", "))
		default:
			own = append(own, line)
		}
	}
	return own
}

// link is one link of a Link header.
type link struct {
	ref     string
	params  string // with the semicolon before each
	changed bool   // params are not byte for byte those of the header
}

// splitLinks takes a line of a Link header apart. It reports false if that is not
// well-formed: some client might find a link in it that was not looked at.
func splitLinks(line string) ([]link, bool) {
	var links []link
	for {
		line = strings.TrimLeft(line, " \t,") // RFC 9110 section 5.6.1.2 allows empty elements
		if line == "" {
			return links, true
		}
		end := strings.IndexByte(line, '>')
		if line[0] != '<' || end < 0 || strings.IndexByte(line[1:end], '<') >= 0 {
			return nil, false
		}
		l := link{ref: strings.Trim(line[1:end], " \t")}
		length := paramsLength(line[end+1:])
		if length < 0 {
			return nil, false
		}
		given := line[end+1:][:length]
		l.params = escapeAngles(given)
		l.changed = l.params != given
		links, line = append(links, l), line[end+1+length:]
	}
}

// paramsLength returns how much of s, which follows a link's reference, is its
// parameters, up to the end or a comma outside of quotes. It is negative if they
// are not well-formed.
func paramsLength(s string) int {
	value := false // behind the equals sign of a parameter
	empty := true  // nothing but blanks since the last separator
	closed := true // by quotes: no more of this parameter may follow
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ',':
			return i
		case c == ';':
			value, empty, closed = false, true, false
		case c == ' ', c == '\t':
		case closed, c == '<', c == '>', c == '\\':
			return -1
		case c == '=' && !value && !empty:
			value, empty = true, true
		case c == '"':
			if !value || !empty {
				return -1
			}
			length := quotedLength(s[i:])
			if length < 0 {
				return -1
			}
			i += length - 1
			closed, empty = true, false
		default:
			empty = false
		}
	}
	return len(s)
}

// quotedLength returns the length of the quoted-string (RFC 9110 section 5.6.4)
// that s begins with, negative if it does not end.
func quotedLength(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// escapeAngles puts a backslash before the angle brackets in quoted parameters,
// which changes nothing of their meaning. Many clients look for ", <" or "; <"
// without regard to quotes, and would find a link there that was not looked at.
func escapeAngles(params string) string {
	if !strings.ContainsAny(params, "<>") {
		return params
	}
	out := make([]byte, 0, len(params)+8)
	for i := 0; i < len(params); i++ {
		switch params[i] {
		case '\\':
			out = append(out, '\\')
			i++
		case '<', '>':
			out = append(out, '\\')
		}
		out = append(out, params[i])
	}
	return string(out)
}
