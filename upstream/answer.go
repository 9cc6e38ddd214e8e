package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxAnswer   = 256 << 10      // bytes of a token answer; real ones have a few KiB
	maxLifetime = 24 * time.Hour // a longer one is cut: no provider issues one
	minLifetime = time.Second    // a shorter one could not be used
)

// answer is what a token endpoint sent, read but not yet believed.
type answer struct {
	status  int
	began   time.Time // when the request went out: a life counts from here
	date    time.Time // the provider's clock; zero if it sent none
	retry   time.Duration
	members map[string]json.RawMessage // nil: the body is not one well-formed JSON object
}

func newAnswer(res *http.Response, body []byte, began time.Time) answer {
	a := answer{status: res.StatusCode, began: began}
	a.date, _ = http.ParseTime(res.Header.Get("Date"))
	a.retry = retryAfter(res.Header, a.date)
	if len(body) <= maxAnswer {
		a.members, _ = parseObject(body)
	}
	return a
}

var (
	errNotObject = errors.New("not one JSON object")
	errDouble    = errors.New("two members of one name")
)

// parseObject reads exactly one JSON object. Names that are the same, or the
// same but for case, are refused: readers differ on which of them counts (RFC
// 8259 section 4), and so might whoever checks the answer before us.
func parseObject(body []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errNotObject
	}
	members := map[string]json.RawMessage{}
	folded := map[string]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, errNotObject
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errNotObject
		}
		// Both ways, as the long s has no other lower case but an upper one.
		fold := strings.ToLower(strings.ToUpper(name.(string)))
		if folded[fold] {
			return nil, errDouble
		}
		folded[fold] = true
		members[name.(string)] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errNotObject
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errNotObject
	}
	return members, nil
}

// text returns the string member of that name, "" if there is none or it is
// not a string.
func (a answer) text(name string) string {
	var s string
	if raw, ok := a.members[name]; ok && json.Unmarshal(raw, &s) == nil {
		return s
	}
	return ""
}

// has reports whether the member is there and not null.
func (a answer) has(name string) bool {
	raw, ok := a.members[name]
	return ok && string(raw) != "null"
}

// tokenForm says how one provider writes a good answer.
type tokenForm struct {
	member      string // that holds the token
	scopeMember string // that holds the granted scope
	typeMissing bool   // token_type may be left out
}

// standardForm is that of RFC 6749 section 5.1.
var standardForm = tokenForm{member: "access_token", scopeMember: "scope"}

// token reads a good answer (RFC 6749 section 5.1). The error is an *Error.
func (e *endpoint) token(a answer, form tokenForm, asked Key) (Token, error) {
	malformed := func(reason string) (Token, error) {
		return Token{}, &Error{Upstream: e.upstream, Class: ClassMalformed, Status: a.status, Reason: reason}
	}
	if a.members == nil {
		return malformed("the answer is not one JSON object")
	}
	if a.has("token_type") {
		if !strings.EqualFold(a.text("token_type"), "bearer") {
			return malformed("token_type is not Bearer")
		}
	} else if !form.typeMissing {
		return malformed("token_type is missing")
	}
	if !a.has(form.member) {
		return malformed("no " + form.member + " in the answer")
	}
	life, err := a.lifetime(e.config.DefaultLifetime)
	if err != nil {
		return malformed(err.Error())
	}
	granted, err := a.granted(form.scopeMember)
	if err != nil {
		return malformed(err.Error())
	}
	if e.config.RefuseNarrow && Narrower(granted, asked.Scope) {
		return Token{}, &Error{Upstream: e.upstream, Class: ClassScope, Status: a.status,
			Reason: "the granted scope is narrower than the one asked for"}
	}
	t, err := NewToken(a.text(form.member), granted, a.began, a.began.Add(life))
	if err != nil {
		return malformed(err.Error())
	}
	return t, nil
}

func (a answer) granted(member string) (string, error) {
	if !a.has(member) {
		return "", nil // RFC 6749 section 5.1: left out if it is what was asked
	}
	scope := a.text(member)
	if len(scope) > maxScope || !ValidScope(scope) {
		return "", errors.New(member + " is not in the form of RFC 6749 section 3.3")
	}
	return joinScope(strings.Fields(scope)), nil
}

// Narrower reports whether granted lacks an item of asked. An answer that does
// not say what it granted (empty) granted what was asked.
func Narrower(granted, asked string) bool {
	if granted == "" || granted == asked {
		return false
	}
	for item := range strings.FieldsSeq(asked) {
		if !hasItem(granted, item) {
			return true
		}
	}
	return false
}

// hasItem reports whether scope holds item, without a copy: it is asked for
// each request.
func hasItem(scope, item string) bool {
	for have := range strings.FieldsSeq(scope) {
		if have == item {
			return true
		}
	}
	return false
}

// lifetime reads expires_in, a number or a numeric string of seconds; failing
// that expires_at (OCLC), by the provider's own clock where it shows one;
// failing both it is fallback.
func (a answer) lifetime(fallback time.Duration) (time.Duration, error) {
	if a.has("expires_in") {
		return parseSeconds(a.members["expires_in"])
	}
	if !a.has("expires_at") {
		return min(fallback, maxLifetime), nil
	}
	at, err := time.Parse("2006-01-02 15:04:05Z07:00", a.text("expires_at"))
	if err != nil {
		return 0, errors.New("expires_at is not a time")
	}
	now := a.date
	if now.IsZero() {
		now = a.began
	}
	return boundLifetime(at.Sub(now).Seconds())
}

var errExpiresIn = errors.New("expires_in is not a number")

func parseSeconds(raw json.RawMessage) (time.Duration, error) {
	text := string(raw)
	if strings.HasPrefix(text, `"`) {
		if json.Unmarshal(raw, &text) != nil {
			return 0, errExpiresIn
		}
	}
	// ParseFloat also takes hex, "inf" and "nan".
	if text == "" || strings.Trim(text, "0123456789+-.eE") != "" {
		return 0, errExpiresIn
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, errExpiresIn
	}
	return boundLifetime(seconds)
}

func boundLifetime(seconds float64) (time.Duration, error) {
	if math.IsNaN(seconds) || seconds < minLifetime.Seconds() {
		return 0, errors.New("the token's life is over as soon as it is issued")
	}
	if seconds >= maxLifetime.Seconds() {
		return maxLifetime, nil
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// maxRetryAfter cuts what a provider may ask for: a slip of its clock must not
// keep us away for a day.
const maxRetryAfter = time.Hour

// retryAfter reads Retry-After (RFC 9110 section 10.2.3), failing that the
// RateLimit-Reset that MyDataHelps documents, in seconds. It is 0 if neither
// is there or makes sense.
func retryAfter(h http.Header, date time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		value = h.Get("RateLimit-Reset")
	}
	if at, err := http.ParseTime(value); err == nil {
		if date.IsZero() {
			date = time.Now()
		}
		return min(max(at.Sub(date), 0), maxRetryAfter)
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil || seconds < 0 {
		return 0
	}
	if seconds > int64(maxRetryAfter/time.Second) {
		return maxRetryAfter
	}
	return time.Duration(seconds) * time.Second
}
