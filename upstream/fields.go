package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Field is one header field.
type Field struct{ Name, Value string }

// ParseFields reads header fields in the form of a URL query, such as X-Api-Key=abc&X-Tenant=7,
// in their order, with names in canonical form. None may come twice, and none may be one
// that belongs to the connection, to the sidecar or to the credential. Its errors quote
// nothing; they tell the number of the field.
func ParseFields(text string) ([]Field, error) {
	var fields []Field
	for i, pair := range strings.Split(text, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		name = http.CanonicalHeaderKey(name)
		same := func(f Field) bool { return f.Name == name }
		switch {
		case err1 != nil || err2 != nil:
			return nil, fmt.Errorf("field %d is not percent-encoded rightly", i+1)
		case !isFieldName(name):
			return nil, fmt.Errorf("field %d has no name that a header field can have", i+1)
		case value == "" || strings.TrimSpace(value) != value || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
			return nil, fmt.Errorf("field %d has no value in printable ASCII", i+1)
		case isReservedField(name):
			return nil, fmt.Errorf("field %d is one that cannot be set", i+1)
		case slices.ContainsFunc(fields, same):
			return nil, fmt.Errorf("field %d came before", i+1)
		}
		fields = append(fields, Field{name, value})
	}
	if len(fields) > maxFields {
		return nil, errors.New("there are too many fields")
	}
	return fields, nil
}

const maxFields = 64

// isFieldName reports whether name is a token of RFC 9110 section 5.6.2.
func isFieldName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// isReservedField reports whether a field says how a message is sent, steers the sidecar,
// or is the credential. Some servers read _ as -, so both count.
func isReservedField(name string) bool {
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	for _, start := range []string{"x-token-", "x-sidecar-", "proxy-"} {
		if strings.HasPrefix(name, start) {
			return true
		}
	}
	return slices.Contains([]string{
		"authorization", "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect",
	}, name)
}
