package proxy

import (
	"net/http"
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

// bearerErrors returns the error parameters of all Bearer challenges in the lines of a
// WWW-Authenticate header (RFC 9110 section 11.6.1). Commas part the challenges, and the
// parameters of one too; what has an equals sign behind its name is a parameter. It
// reports false if the lines are none of challenges.
func bearerErrors(lines []string) (reasons []string, ok bool) {
	rest := strings.Join(lines, ", ") // RFC 9110 section 5.3
	bearer := false                   // the scheme of the challenge that rest is in
	for {
		if rest = strings.TrimLeft(rest, ", \t"); rest == "" {
			return reasons, true
		}
		name, after := cutToken(rest)
		if name == "" {
			return reasons, false
		}
		value, isParameter := strings.CutPrefix(strings.TrimLeft(after, " \t"), "=")
		if !isParameter {
			bearer = strings.EqualFold(name, "Bearer")
			rest = skipToken68(after)
			continue
		}
		if value, rest, ok = cutValue(strings.TrimLeft(value, " \t")); !ok {
			return reasons, false
		}
		if bearer && strings.EqualFold(name, "error") {
			reasons = append(reasons, value)
		}
	}
}

// cutToken takes a token (RFC 9110 section 5.6.2) from the beginning of s.
func cutToken(s string) (token, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool { return !tokenRune(r) })
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:]
}

// tokenRune reports whether r may be in a token.
func tokenRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// skipToken68 skips what a scheme may have in place of parameters: some characters of
// base64 and the like, padded with equals signs (RFC 9110 section 11.2).
func skipToken68(s string) string {
	rest := strings.TrimLeft(s, " \t")
	rest = strings.TrimLeft(strings.TrimLeftFunc(rest, func(r rune) bool { return tokenRune(r) || r == '/' }), "=")
	if end := strings.TrimLeft(rest, " \t"); end == "" || end[0] == ',' {
		return end
	}
	return s // parameters
}

// cutValue takes the value of a parameter, a token or a quoted string (RFC 9110 section
// 5.6.4), from the beginning of s.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest = cutToken(s)
		return value, rest, value != ""
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
