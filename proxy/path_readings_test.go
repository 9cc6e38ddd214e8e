package proxy

import (
	"maps"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// TestEveryReadingOfAPathIsChecked: an escape that is none does not keep servers that leave
// it as it is from decoding the others.
//
// Case P11.
func TestEveryReadingOfAPathIsChecked(t *testing.T) {
	s := newSide(t, setup{base: "/base"})
	for _, p := range []string{"/%252e%252e/x%25zz", "/x%25zz/%252e%252e/", "/100%25/%252e%252e/", "/%25/..%252f", "/%25zz%255cx",
		"/%25z%250a", "/%25zz%2500", "/%252/%252e/x", "/%2525zz/%252e", "/%25/%25%32%65;a/x"} {
		s.get("/alpha"+p).problem(t, 400, "path_invalid")
	}
	for _, p := range []string{"/%2e%2e/x%zz", "/x%zz/%2e%2e/", "/%zz%00", "/%/..%2f", "/%%32e./x"} {
		if a := s.get("/alpha" + p); a.status != 400 { // net/http takes none of them
			t.Errorf("%q: %d", p, a.status)
		}
		if checkPath(p) == nil {
			t.Errorf("%q passes", p)
		}
	}
	s.untouched()
	for _, p := range []string{"/100%25", "/100%25%20off", "/%25zz", "/a%2525zz", "/%252", "/50%25/x%25y", "/%25%25", "/.%25./x"} {
		if a := s.get("/alpha" + p); a.status != 200 {
			t.Errorf("%q: %d %s", p, a.status, a.body)
		} else if got := s.up.last().target; got != "/base"+p {
			t.Errorf("%q went out as %q", p, got)
		}
	}
}

// readers are ways in which servers decode a path.
var readers = map[string]func(string) (string, bool){
	"strictly": func(s string) (string, bool) {
		decoded, err := url.PathUnescape(s)
		return decoded, err == nil
	},
	"leaving what is no escape": func(s string) (string, bool) {
		return regexp.MustCompile("(?i)%[0-9a-f]{2}").ReplaceAllStringFunc(s, func(e string) string {
			decoded, _ := url.PathUnescape(e)
			return decoded
		}), true
	},
	"leaving three bytes of what is no escape": func(s string) (string, bool) {
		return regexp.MustCompile("(?s)%.{2}").ReplaceAllStringFunc(s, func(e string) string {
			if decoded, err := url.PathUnescape(e); err == nil {
				return decoded
			}
			return e
		}), true
	},
}

// FuzzNoReadingLeadsElsewhere: in no path that is accepted does a server find a dot
// segment, whether it decodes it once, twice or not at all, each time in any of the ways
// of readers.
//
// Case P11.
func FuzzNoReadingLeadsElsewhere(f *testing.F) {
	for _, seed := range []string{"/", "/a/b", "/%2e%2e/", "/%252e%252e/x%25zz", "/100%25", "/%%32e/", "/%2%65/", "/a%2f..", "/..;x/", "/%25%32%65/%", "/%zz/%2e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if !strings.HasPrefix(path, "/") || checkPath(path) != nil {
			return
		}
		readings := map[string]string{path: "as it is"}
		for range 2 {
			for reading, how := range maps.Clone(readings) {
				for name, read := range readers {
					if decoded, ok := read(reading); ok && readings[decoded] == "" {
						readings[decoded] = how + ", " + name
					}
				}
			}
		}
		for reading, how := range readings {
			for segment := range strings.SplitSeq(strings.ReplaceAll(reading, "\\", "/"), "/") {
				if segment, _, _ = strings.Cut(segment, ";"); segment == "." || segment == ".." {
					t.Fatalf("%q is %q, read %s", path, reading, how)
				}
			}
			if strings.ContainsAny(reading, "\x00\r\n\\") {
				t.Fatalf("%q is %q, read %s", path, reading, how)
			}
		}
	})
}
