package proxy

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// refusesToken reports whether an answer says that the token sent is no good. A 401
// does, unless its Bearer challenges give no other reason than that the token's scope
// is too narrow (RFC 6750 section 3.1): another token would have the same scope.
func refusesToken(res *http.Response) bool {
	if res.StatusCode != http.StatusUnauthorized {
		return false
	}
	reasons, ok := bearerErrors(res.Header["Www-Authenticate"])
	return !ok || len(reasons) == 0 || slices.ContainsFunc(reasons, func(r string) bool { return r != "insufficient_scope" })
}

// challengePart matches, at the beginning of a text, a part of a WWW-Authenticate header
// (RFC 9110 section 11.6.1): a parameter of a challenge, or its scheme. A scheme may be
// followed by some base64 in place of parameters (token68 in section 11.2). The groups are
// the name of either, the equals sign of a parameter, and its value, plain or quoted.
var challengePart = regexp.MustCompile(`^([` + tokenChars + `]+)(?:[ \t]*(=)[ \t]*(?:([` + tokenChars + `]+)|(` + quotedPattern + `))` +
	`|[ \t]+[/` + tokenChars + `]+=*[ \t]*(?:,|$))?`)

// quotedPair matches an escaped character of a quoted string.
var quotedPair = regexp.MustCompile(`\\(.)`)

// bearerErrors returns the error parameters of all Bearer challenges in the lines of a
// WWW-Authenticate header. Commas part the challenges, and the parameters of one too. It
// reports false if the lines do not consist of challenges.
func bearerErrors(lines []string) (reasons []string, ok bool) {
	rest := strings.Join(lines, ", ") // RFC 9110 section 5.3
	for bearer := false; ; {          // whether the last scheme was Bearer
		if rest = strings.TrimLeft(rest, ", \t"); rest == "" {
			return reasons, true
		}
		part := challengePart.FindStringSubmatch(rest)
		if part == nil {
			return reasons, false
		}
		rest = rest[len(part[0]):]
		name, isParameter, value, quoted := part[1], part[2] != "", part[3], part[4]
		switch {
		case !isParameter:
			bearer = strings.EqualFold(name, "Bearer")
		case bearer && strings.EqualFold(name, "error"):
			if quoted != "" {
				value = quotedPair.ReplaceAllString(quoted[1:len(quoted)-1], "$1")
			}
			reasons = append(reasons, value)
		}
	}
}
