package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
)

// Field is one header field. Its value may be a secret, so it is one.
type Field struct {
	Name  string // in the form of http.CanonicalHeaderKey
	Value Secret
}

// FieldSource gives the header fields that an API wants beside the token.
// Implementations are safe for concurrent use.
type FieldSource interface {
	// Fields returns the fields to send with a request, nil for none. They take the place of
	// the app's fields of the same names; the caller must not change the slice. method is
	// that of the request, path its path below the route's target as the app sent it, without
	// the query, and own holds the header of the app, which must not be changed. Fields may
	// block until ctx ends. Its error is an *Error; the request must not be sent then.
	Fields(ctx context.Context, method, path string, own http.Header) ([]Field, error)
}

// FieldTrier is a FieldSource that asks somebody else for its fields, which it can try.
type FieldTrier interface {
	FieldSource
	// Try asks once, as for a request. It may block until ctx ends. Its error is an *Error.
	Try(ctx context.Context) error
}

// FixedFields is a FieldSource that sends the same fields with every request. They come from
// a Secret, so that they change when its file does.
type FixedFields struct {
	upstream string
	text     Secret // in the form of ParseFields
	latest   atomic.Pointer[parsedFields]
}

// parsedFields are the fields that a text stands for.
type parsedFields struct {
	text   string
	fields []Field
}

// NewFixedFields returns the fields that text stands for, in the form of ParseFields, for
// the upstream of that name. An unset text stands for none.
func NewFixedFields(upstream string, text Secret) *FixedFields {
	return &FixedFields{upstream: upstream, text: text}
}

// Fields implements [FieldSource]. It does not block. It fails if the text is not in the
// form of ParseFields.
func (f *FixedFields) Fields(context.Context, string, string, http.Header) ([]Field, error) {
	text := f.text.Reveal()
	if text == "" {
		return nil, nil
	}
	latest := f.latest.Load()
	if latest == nil || latest.text != text {
		fields, err := ParseFields(text)
		if err != nil {
			return nil, &Error{Upstream: f.upstream, Class: ClassCredential, Reason: "the fixed header fields cannot be used: " + err.Error()}
		}
		latest = &parsedFields{text, fields}
		f.latest.Store(latest)
	}
	return latest.fields, nil
}

// ParseFields reads header fields that are written like the query of a URL, such as
// X-Api-Key=abc&X-Tenant=7, percent-encoded. It refuses names that are not for a person to
// set and what a header cannot carry. Its error names a field by its number and quotes
// nothing of it.
func ParseFields(text string) ([]Field, error) {
	var fields []Field
	seen := map[string]bool{}
	for i, part := range strings.Split(text, "&") {
		name, value, err := parseField(part)
		same := withDashes(name)
		if err == nil && seen[same] {
			err = errors.New("has a name that another one has")
		}
		if err != nil {
			return nil, fmt.Errorf("field %d %w", i+1, err)
		}
		seen[same] = true
		fields = append(fields, Field{name, NewSecret(value)})
	}
	return fields, nil
}

// parseField reads one field. Its error quotes nothing of it.
func parseField(part string) (name, value string, err error) {
	name, value, _ = strings.Cut(part, "=")
	name, err1 := url.QueryUnescape(name)
	value, err2 := url.QueryUnescape(value)
	switch {
	case err1 != nil || err2 != nil:
		return "", "", errors.New("is not percent-encoded")
	case name == "":
		return "", "", errors.New("has no name")
	case !isFieldName(name):
		return "", "", errors.New("has a name that no header can have (RFC 9110 section 5.1)")
	case reservedField(name):
		return "", "", errors.New("has a name that is not for you to set")
	case value == "":
		return "", "", errors.New("has no value")
	case strings.Trim(value, " ") != value || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
		return "", "", errors.New("has a value that is not visible ASCII with spaces between")
	}
	return http.CanonicalHeaderKey(name), value, nil
}

// isFieldName reports whether a name is a token (RFC 9110 section 5.6.2).
func isFieldName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return name != ""
}

// reservedField reports whether a name is of a field that the sidecar sets or reads itself, or
// of one that is about a connection or the framing on it.
func reservedField(name string) bool {
	name = withDashes(name)
	return slices.Contains([]string{"Authorization", "Host", "Content-Length", "Transfer-Encoding", "Connection", "Te", "Trailer",
		"Upgrade", "Keep-Alive", "Expect", "Cdn-Loop"}, name) ||
		slices.ContainsFunc([]string{"Proxy-", "X-Token-", "X-Sidecar-"}, func(start string) bool { return strings.HasPrefix(name, start) })
}

// withDashes returns a name in its canonical form with underscores as dashes, since some
// servers take the one for the other.
func withDashes(name string) string {
	return http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
}
