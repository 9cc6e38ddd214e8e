package proxy

import (
	"encoding/base64"
	"slices"
	"strings"
)

// tokenSearch finds a token in the headers of an answer: as it is, percent-encoded, and
// within base64. It knows no other encodings, since a target that wants to give the token
// away can do so in the body. It is for one goroutine.
type tokenSearch struct {
	token   string
	encoded []string // how the token looks within base64; made when it is first needed
}

// minSecret is the length from which a token in a header is no coincidence.
const minSecret = 8

// inHeader reports whether a header shows the token, in its name or in a value. Case does
// not count in a name: net/http has changed that in which the target wrote it.
func (s *tokenSearch) inHeader(name string, values []string) bool {
	if len(s.token) < minSecret {
		return false
	}
	if len(name) >= len(s.token) && strings.Contains(strings.ToLower(name), strings.ToLower(s.token)) {
		return true
	}
	return slices.ContainsFunc(values, s.inText)
}

// inText reports whether a text shows the token, as it is or percent-decoded once or twice,
// as a URL within another one has to be.
func (s *tokenSearch) inText(text string) bool {
	for range 3 {
		if len(text) < len(s.token) {
			return false // both encodings make it longer
		}
		if strings.Contains(text, s.token) || s.inBase64(text) {
			return true
		}
		if strings.IndexByte(text, '%') < 0 {
			return false
		}
		text = unescape(text, nil)
	}
	return false
}

// inBase64 reports whether text holds base64 (RFC 4648 sections 4 and 5) of something that
// the token is part of. Nearly no text has a run of base64 that is long enough for it.
func (s *tokenSearch) inBase64(text string) bool {
	for run := range strings.FieldsFuncSeq(text, notBase64) {
		if len(run) < len(s.token)/3*4-3 {
			continue
		}
		if s.encoded == nil {
			s.encoded = withinBase64(s.token)
		}
		if slices.ContainsFunc(s.encoded, func(form string) bool { return strings.Contains(run, form) }) {
			return true
		}
	}
	return false
}

// notBase64 reports whether a character is in neither alphabet of base64, or is padding.
func notBase64(c rune) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_')
}

// withinBase64 returns six texts, one of which is part of the base64 of every content that
// the secret is part of. Which one depends on the alphabet, and on where in a group of three
// bytes the secret begins. Characters at either end that depend on the neighbours of the
// secret are left out.
func withinBase64(secret string) []string {
	var forms []string
	for _, alphabet := range [...]*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for before := range 3 {
			content := "xx"[:before] + secret
			whole := len(content) / 3 * 3
			forms = append(forms, alphabet.EncodeToString([]byte(content[:whole]))[(before*8+5)/6:])
		}
	}
	return forms
}
