package upstreamtest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxBody bounds the body of a token request, in bytes.
const maxBody = 1 << 20

const formType = "application/x-www-form-urlencoded"

// call is one token request with its body read.
type call struct {
	r       *http.Request
	body    string
	arrived time.Time
}

// readCall reads the body, and leaves a fresh copy in r for a fault hook. The
// answer is nil unless that failed.
func readCall(w http.ResponseWriter, r *http.Request) (*call, *Answer) {
	c := &call{r: r, arrived: time.Now()}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	c.body = string(body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return c, textAnswer(http.StatusRequestEntityTooLarge, "body too large").because("too_large", "body of more than 1 MiB")
	case err != nil:
		return c, textAnswer(http.StatusBadRequest, "body cut short").because("cut_short", "body ended early")
	}
	return c, nil
}

// mediaType returns the type of the body without parameters, "" if it is not
// given exactly once.
func (c *call) mediaType() string {
	fields := c.r.Header.Values("Content-Type")
	if len(fields) != 1 {
		return ""
	}
	t, _, err := mime.ParseMediaType(fields[0])
	if err != nil {
		return ""
	}
	return t
}

// acceptsJSON reports whether the request asks for JSON by name.
func (c *call) acceptsJSON() bool {
	for _, field := range c.r.Header.Values("Accept") {
		for item := range strings.SplitSeq(field, ",") {
			if t, _, err := mime.ParseMediaType(item); err == nil && t == "application/json" {
				return true
			}
		}
	}
	return false
}

// form returns the fields of a form body. The reason is "" unless the request
// is not such a form: RFC 6749 section 3.2 wants no parameter twice, and
// section 2.3.1 none of them in the URL.
func (c *call) form() (fields map[string]string, reason string) {
	if c.mediaType() != formType {
		return nil, "Content-Type is not " + formType
	}
	if c.r.URL.RawQuery != "" {
		return nil, "parameters in the URL"
	}
	return parseFields(c.body)
}

// parseFields parses form encoding in which no name comes twice.
func parseFields(encoded string) (fields map[string]string, reason string) {
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return nil, "broken form encoding"
	}
	fields = make(map[string]string, len(values))
	for name, v := range values {
		if len(v) != 1 {
			return nil, "a field comes twice: " + name
		}
		fields[name] = v[0]
	}
	return fields, ""
}

// wrongFields returns why fields are not exactly those named, all non-empty;
// "" if they are.
func wrongFields(fields map[string]string, names ...string) string {
	for name := range fields {
		if !slices.Contains(names, name) {
			return "unknown field: " + name
		}
	}
	for _, name := range names {
		if fields[name] == "" {
			return "field missing: " + name
		}
	}
	return ""
}

// basic returns the two halves of the one Authorization field in the form of
// RFC 7617, as they were sent.
func (c *call) basic() (id, secret string, ok bool) {
	fields := c.r.Header.Values("Authorization")
	if len(fields) != 1 {
		return "", "", false
	}
	encoded, ok := strings.CutPrefix(fields[0], "Basic ")
	if !ok {
		return "", "", false
	}
	plain, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(plain), ":")
}

// basicEncoded is basic with each half URL-decoded: RFC 6749 section 2.3.1.
func (c *call) basicEncoded() (id, secret string, ok bool) {
	id, secret, ok = c.basic()
	if !ok {
		return "", "", false
	}
	id, err1 := url.QueryUnescape(id)
	secret, err2 := url.QueryUnescape(secret)
	return id, secret, err1 == nil && err2 == nil
}

// splitScope returns the items of scope. It is false if they are not single,
// non-empty and one space apart: RFC 6749 section 3.3.
func splitScope(scope string) ([]string, bool) {
	items := strings.Split(scope, " ")
	seen := map[string]bool{}
	for _, item := range items {
		if item == "" || seen[item] {
			return nil, false
		}
		seen[item] = true
	}
	return items, true
}

// wrongScope returns why scope holds something beyond known; "" if it does not.
func wrongScope(scope string, known []string) string {
	items, ok := splitScope(scope)
	if !ok {
		return "scope is not a list of single items one space apart"
	}
	for _, item := range items {
		if !slices.Contains(known, item) {
			return "unknown scope: " + item
		}
	}
	return ""
}

// members returns the members of a JSON object in which no name comes twice.
func members(body string) (map[string]json.RawMessage, string) {
	const broken = "body is not one JSON object"
	dec := json.NewDecoder(strings.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, broken
	}
	m := map[string]json.RawMessage{}
	for dec.More() {
		name, err := dec.Token()
		key, ok := name.(string)
		if err != nil || !ok {
			return nil, broken
		}
		if _, twice := m[key]; twice {
			return nil, "a member comes twice: " + key
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, broken
		}
		m[key] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, broken
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, broken
	}
	return m, ""
}
