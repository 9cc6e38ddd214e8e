package proxy

import (
	"net/http"
	"strings"
)

// traceID returns the trace id of the traceparent field of a request, in the form of W3C Trace
// Context section 3.2: 32 lower-case hexadecimal digits. Neither they nor those of the parent id
// are all zero. It is "" if there is no such field, several, or one in another form: nothing else
// that an app sends is logged.
func traceID(h http.Header) string {
	given := h["Traceparent"]
	if len(given) != 1 {
		return ""
	}
	version, rest, _ := strings.Cut(given[0], "-")
	id, rest, _ := strings.Cut(rest, "-")
	parent, flags, _ := strings.Cut(rest, "-")
	// Versions to come may have further parts.
	further := ""
	if version != "00" {
		flags, further, _ = strings.Cut(flags, "-")
	}
	if !isHex(version, 2) || version == "ff" || !isHex(id, 32) || !isHex(parent, 16) || !isHex(flags, 2) ||
		strings.Trim(id, "0") == "" || strings.Trim(parent, "0") == "" || len(further) > 256 {
		return ""
	}
	return id
}

// isHex reports whether s has n lower-case hexadecimal digits and nothing else.
func isHex(s string, n int) bool { return len(s) == n && strings.Trim(s, "0123456789abcdef") == "" }
