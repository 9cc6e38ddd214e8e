package proxy

import (
	"net/http"
	"regexp"
	"strings"
)

// A client resolves what an answer points to against the URL that it asked, which
// is the sidecar's: "/x" would leave the route, and the target's own URL would
// leave the sidecar, and the token with it. So references to the route's own target
// become the sidecar's, in the form that the request had. References to other
// places are the app's to follow. A third kind is refused: with those a target
// could have the app ask the sidecar by another route or for another subject.

// checkRedirect rewrites the references in the head of an answer, and counts redirects. It
// fails if the answer is a redirect to where the app must not go.
func (x *exchange) checkRedirect(res *http.Response) error {
	to := x.rewriteReferences(res.Header)
	if to == "" || res.StatusCode < 300 || res.StatusCode > 399 {
		return nil
	}
	x.route.metrics.Redirect(to)
	if to == toRefused {
		return errRedirect
	}
	return nil
}

// rewriteReferences has all that the header h of an answer points to on the route's own
// target lead through the sidecar, and removes what is refused. It returns where Location
// leads to, or "" if there is none. It is for informational answers too, which may hold
// links (RFC 8297).
//
// It removes Refresh: no RFC says what its value means, so nobody can say where it leads.
func (x *exchange) rewriteReferences(h http.Header) (location string) {
	delete(h, "Refresh")
	if lines, ok := h["Link"]; ok {
		h["Link"] = x.rewriteLinks(lines)
	}
	x.rewriteField(h, "Content-Location")
	return x.rewriteField(h, "Location")
}

// rewriteField rewrites or removes a header whose value is one reference, and returns where
// that leads to, or "" if there is no such header.
func (x *exchange) rewriteField(h http.Header, name string) string {
	values, ok := h[name]
	if !ok {
		return ""
	}
	if len(values) == 1 { // of several, clients differ on which one counts
		if own, to := x.rewriteReference(values[0]); to != toRefused {
			h[name] = []string{own}
			return to
		}
	}
	delete(h, name)
	return toRefused
}

// maxLinkWork bounds, in bytes, what is resolved for the links of one answer. Each
// relative one costs the length of the request's path, and becomes as long. It is
// enough for a thousand links of ordinary length.
const maxLinkWork = 256 << 10

// rewriteLinks rewrites the references in the lines of a Link header (RFC 8288 section 3).
// It leaves out links that are refused, and lines that are not well-formed: some client
// might find a link in them that was not looked at. It returns none if there are too many.
func (x *exchange) rewriteLinks(lines []string) []string {
	rewritten := make([]string, 0, len(lines))
	work := 0
	for _, line := range lines {
		var links []string
		changed := false
		// RFC 9110 section 5.6.1.2 allows empty elements.
		for rest := strings.TrimLeft(line, " \t,"); rest != ""; rest = strings.TrimLeft(rest, " \t,") {
			link := linkValue.FindStringSubmatchIndex(rest)
			if link == nil {
				links = nil
				break
			}
			reference, given := strings.Trim(rest[link[2]:link[3]], " \t"), rest[link[4]:link[5]]
			rest = rest[link[1]:]
			if work += len(x.path) + len(reference); work > maxLinkWork {
				return nil
			}
			own, to := x.rewriteReference(reference)
			parameters := escapeAngles(given)
			changed = changed || own != reference || parameters != given
			if to != toRefused {
				links = append(links, "<"+own+">"+parameters)
			}
		}
		switch {
		case len(links) == 0:
		case changed:
			rewritten = append(rewritten, strings.Join(links, ", "))
		default:
			rewritten = append(rewritten, line)
		}
	}
	return rewritten
}

// linkValue matches a link at the beginning of a text, up to the end or the comma behind
// it. Its groups are the reference and the parameters.
var linkValue = regexp.MustCompile(`^<([^<>]*)>([ \t]*(?:;` + linkParameter + `)*)(?:,|$)`)

// linkParameter matches a parameter: a name, and perhaps a quoted or a plain value. A plain
// one holds nothing that some client takes for the end of it, or of the link.
const linkParameter = `(?:[ \t]*[^,;"<>\\= \t][^,;"<>\\=]*=[ \t]*` + quotedPattern + `[ \t]*|[^,;"<>\\]*)`

// angle matches an angle bracket, or a backslash with the character that it escapes.
var angle = regexp.MustCompile(`\\.|[<>]`)

// escapeAngles puts a backslash before the angle brackets in quoted parameters that have
// none, which changes nothing of their meaning. Many clients look for ", <" or "; <" without
// regard to quotes, and would find a link there that was not looked at.
func escapeAngles(parameters string) string {
	if !strings.ContainsAny(parameters, "<>") {
		return parameters
	}
	return angle.ReplaceAllStringFunc(parameters, func(match string) string {
		if len(match) == 1 {
			return `\` + match
		}
		return match
	})
}
