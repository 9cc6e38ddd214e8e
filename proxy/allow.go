package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// AllowList says which requests a route lets through to its target. The zero AllowList lets
// all of them through. It is read-only.
type AllowList struct{ patterns []allowPattern }

// IsZero reports whether l lets everything through.
func (l AllowList) IsZero() bool { return len(l.patterns) == 0 }

// String returns the patterns as they are written in the settings.
func (l AllowList) String() string {
	texts := make([]string, len(l.patterns))
	for i, p := range l.patterns {
		texts[i] = p.text
	}
	return strings.Join(texts, ",")
}

// Unreachable returns the position, from 1, of the first pattern that matches no path below any of
// those targets, because it does not begin as the path of the target does; 0 if there is none.
func (l AllowList) Unreachable(targets []*url.URL) int {
	for i, p := range l.patterns {
		below := func(target *url.URL) bool {
			base := strings.Trim(target.EscapedPath(), "/")
			if base == "" {
				return true
			}
			for n, segment := range strings.Split(base, "/") {
				if n == len(p.segments) {
					return p.subtree
				}
				if want := p.segments[n]; want != "" && want != unescape(segment, nil) {
					return false
				}
			}
			return true
		}
		if !slices.ContainsFunc(targets, below) {
			return i + 1
		}
	}
	return 0
}

// maxAllowed bounds the patterns of a list, each of which a request may be compared with.
const maxAllowed = 256

// allowPattern is one pattern of a list.
type allowPattern struct {
	text     string   // as it was written
	method   string   // "" for all of them
	segments []string // of the path, unescaped; "" stands for a wildcard
	subtree  bool     // further segments may follow
}

// ParseAllowList reads patterns in the syntax of [http.ServeMux], each with an optional method and
// a path below the target's host, such as "GET /api/v1/" or "POST /api/v1/surveys/{id}". Like there,
// GET stands for HEAD too, a path that ends in a slash or in {name...} for all that is below it, and
// one that ends in {$} for itself alone. A wildcard stands for one segment that is not empty.
//
// It returns the position, from 1, of the first pattern that is wrong or that conflicts with an earlier one.
func ParseAllowList(patterns []string) (list AllowList, position int, err error) {
	if len(patterns) > maxAllowed {
		return AllowList{}, maxAllowed + 1, fmt.Errorf("is one of more than %d", maxAllowed)
	}
	all := muxTakes(patterns...)
	for i, text := range patterns {
		pattern, err := parseAllowPattern(text)
		if err != nil {
			return AllowList{}, i + 1, err
		}
		for j, earlier := range patterns[:i] {
			if !all && !muxTakes(earlier, text) {
				return AllowList{}, i + 1, fmt.Errorf("matches the same requests as item %d, or overlaps with it in such a way that neither is the narrower one", j+1)
			}
		}
		list.patterns = append(list.patterns, pattern)
	}
	return list, 0, nil
}

// parseAllowPattern reads one pattern. What ServeMux itself does not take is refused.
func parseAllowPattern(text string) (allowPattern, error) {
	method, path, found := strings.Cut(text, " ")
	if !found {
		method, path = "", text
	}
	path = strings.TrimLeft(path, " \t")
	// ServeMux takes patterns that no path has which it has cleaned; of ours some could match.
	// And it takes methods that nobody sends.
	// Nor does any path that is compared have a query or a fragment.
	if method != strings.ToUpper(method) || method == http.MethodConnect || method == http.MethodTrace || strings.ContainsAny(path, "?#") || !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || checkPath(path) != nil || !muxTakes(text) {
		return allowPattern{}, fmt.Errorf("is not a pattern")
	}
	p := allowPattern{text: text, method: method}
	for segment := range strings.SplitSeq(path[1:], "/") {
		switch {
		case segment == "{$}":
			p.segments = append(p.segments, emptySegment)
			return p, nil
		case segment == "", strings.HasSuffix(segment, "...}"):
			p.subtree = true
			return p, nil // ServeMux takes them at the end alone
		case segment[0] == '{':
			p.segments = append(p.segments, "")
		default:
			literal, err := url.PathUnescape(segment)
			if err != nil {
				literal = segment
			}
			p.segments = append(p.segments, literal)
		}
	}
	return p, nil
}

// emptySegment stands for the empty segment behind the last slash of a path. No segment has a slash.
const emptySegment = "/"

// muxTakes reports whether one ServeMux takes all those patterns.
func muxTakes(patterns ...string) (taken bool) {
	defer func() {
		if recover() != nil { // its text names files of the program
			taken = false
		}
	}()
	mux := http.NewServeMux()
	for _, p := range patterns {
		mux.Handle(p, http.NotFoundHandler())
	}
	return true
}

// overridesMethod reports whether some targets take a request with that field for one of
// another method. Some take other characters for dashes, too.
func overridesMethod(name string) bool {
	// net/http writes names in such a way that these letters are small; most names have neither.
	if !strings.Contains(name, "ethod") && !strings.Contains(name, "erb") {
		return false
	}
	letters := strings.Map(func(c rune) rune {
		if c = unicode.ToLower(c); c < 'a' || c > 'z' {
			return -1
		}
		return c
	}, name)
	switch strings.TrimPrefix(letters, "x") {
	case "method", "httpmethod", "httpverb", "requestmethod", "requestedmethod", "tunnelmethod":
		return true
	}
	return strings.Contains(letters, "method") && strings.Contains(letters, "override")
}

// allows returns the pattern by which the list lets a request through, or what the app is told.
// The escaped path is that of the request to the target, which checkPath has accepted.
func (l *AllowList) allows(r *http.Request, path string) (pattern string, err error) {
	if l.IsZero() {
		return "", nil
	}
	for name := range r.Header {
		if overridesMethod(name) {
			return "", errOverride
		}
	}
	if !readsOneWay(path) {
		return "", errNotAllowed
	}
	for i := range l.patterns {
		if l.patterns[i].matches(r.Method, path) {
			return l.patterns[i].text, nil
		}
	}
	return "", errNotAllowed
}

// lookalikes are characters that some decoders turn into a slash, a backslash or a dot.
const lookalikes = "\u2024\u2044\u2215\u29f8\ufe52\uff0e\uff0f\uff3c"

// readsOneWay reports whether no target that decodes a path once or more, or leniently, finds dot segments
// in it, or segments that it does not have.
func readsOneWay(path string) bool {
	for range 4 {
		if !utf8.ValidString(path) || strings.ContainsAny(path, lookalikes) || hasDotSegment(path) {
			return false
		}
		decoded := unescape(path, nil)
		if decoded == path {
			return true
		}
		path = decoded
	}
	return false
}

// matches compares segment by segment, as path has them, so that the target reads as many.
func (p *allowPattern) matches(method, path string) bool {
	if p.method != "" && p.method != method && (p.method != http.MethodGet || method != http.MethodHead) {
		return false
	}
	rest, more := path[1:], true
	for _, want := range p.segments {
		if !more {
			return false
		}
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		switch {
		case want == emptySegment:
			return segment == "" && !more
		case want == "":
			if !isOneSegment(segment) {
				return false
			}
		case unescape(segment, nil) != want:
			return false
		}
	}
	return more == p.subtree
}

// isOneSegment reports whether a target takes an escaped segment for one that is not empty, in
// whatever way it decodes it, and whether it cuts nothing off it, such as a parameter behind a semicolon.
func isOneSegment(segment string) bool {
	for range 3 { // as it is, decoded once, decoded twice
		if segment == "" || strings.ContainsAny(segment, "/;") {
			return false
		}
		decoded := unescape(segment, nil)
		if decoded == segment {
			break
		}
		segment = decoded
	}
	return true
}
