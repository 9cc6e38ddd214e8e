package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxAnswer bounds a token answer, in bytes; real ones have a few KiB.
const maxAnswer = 256 << 10

// answer is what a token endpoint sent, read but not yet believed.
type answer struct {
	status  int
	began   time.Time // when the request went out: a life counts from here
	date    time.Time // the provider's clock; zero if it sent none
	retry   time.Duration
	members map[string]json.RawMessage // nil: the body is not one well-formed JSON object
	body    []byte                     // as it came; nil if it is too long
}

// newAnswer reads what came back to a request that went out at began.
func newAnswer(res *http.Response, body []byte, began time.Time) answer {
	a := answer{status: res.StatusCode, began: began}
	a.date, _ = http.ParseTime(res.Header.Get("Date"))
	a.retry = retryAfter(res.StatusCode, res.Header, a.date)
	if len(body) <= maxAnswer {
		a.members, a.body = parseObject(body), body
	}
	return a
}

// isPage reports whether the answer has a body that is not one well-formed JSON object. One that is
// too long was not kept.
func (a answer) isPage() bool { return a.members == nil && (a.body == nil || len(a.body) > 0) }

// parseObject reads exactly one JSON object, and returns nil if body is anything else.
// Names that are the same, or the same but for case, are refused: readers differ on
// which of them counts (RFC 8259 section 4), and so might whoever checks the answer
// before us.
func parseObject(body []byte) map[string]json.RawMessage {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	members := map[string]json.RawMessage{}
	folded := map[string]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil
		}
		// Both ways, as the long s has no other lower case but an upper one.
		fold := strings.ToLower(strings.ToUpper(name.(string)))
		if folded[fold] {
			return nil
		}
		folded[fold] = true
		members[name.(string)] = value
	}
	if _, err := d.Token(); err != nil {
		return nil
	}
	if _, err := d.Token(); err != io.EOF {
		return nil
	}
	return members
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

	typeBearerToken bool          // token_type may be BearerToken
	text            bool          // the body is the token, and there is nothing else
	separator       string        // of the items of a scope; empty: a space
	life            time.Duration // of the token, whatever the answer says; zero: as it says
	longest         time.Duration // that it may live, whatever the answer says; zero: any time
}

// standardForm is that of RFC 6749 section 5.1.
var standardForm = tokenForm{member: "access_token", scopeMember: "scope"}

// token reads a good answer (RFC 6749 section 5.1). The error is an *Error.
func (e *endpoint) token(a answer, form tokenForm, asked Key) (Token, error) {
	malformed := func(reason string) (Token, error) {
		return Token{}, e.fail(ClassMalformed, a.status, reason)
	}
	access := a.text(form.member)
	if form.text {
		access = strings.TrimSpace(string(a.body))
	} else if err := a.checkForm(form); err != nil {
		return malformed(err.Error())
	}
	life, err := form.life, error(nil)
	if life == 0 {
		life, err = a.lifetime(e.config.DefaultLifetime)
	}
	if err != nil {
		return malformed(err.Error())
	}
	if form.longest > 0 {
		life = min(life, form.longest)
	}
	granted, err := a.granted(form)
	if err != nil {
		return malformed(err.Error())
	}
	if e.config.RefuseNarrow && Narrower(granted, asked.Scope) {
		return Token{}, e.fail(ClassScope, a.status, "the granted scope is narrower than the one asked for")
	}
	t, err := NewToken(access, granted, a.began, a.began.Add(life))
	if err != nil {
		return malformed(err.Error())
	}
	return t, nil
}

// checkForm checks that a JSON answer has a token, and of the type Bearer.
func (a answer) checkForm(form tokenForm) error {
	kind := a.text("token_type")
	switch {
	case a.members == nil:
		return errors.New("the answer is not one JSON object")
	case !a.has("token_type") && !form.typeMissing:
		return errors.New("token_type is missing")
	case a.has("token_type") && !strings.EqualFold(kind, "bearer") && !(form.typeBearerToken && strings.EqualFold(kind, "BearerToken")):
		return errors.New("token_type is not Bearer")
	case !a.has(form.member):
		return errors.New("no " + form.member + " in the answer")
	}
	return nil
}

// granted reads the granted scope; it is empty if the answer does not say.
func (a answer) granted(form tokenForm) (string, error) {
	member := form.scopeMember
	if !a.has(member) {
		return "", nil // RFC 6749 section 5.1: left out if it is what was asked
	}
	scope := a.text(member)
	if form.separator != "" {
		scope = strings.ReplaceAll(scope, form.separator, " ")
	}
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
