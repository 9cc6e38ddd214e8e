package check

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"token-sidecar/upstream"
)

// finding says in plain words why a token request failed and what to do.
type finding struct{ cause, mend string }

// failedTry is a failed token request beside the settings that it was made with.
type failedTry struct {
	*upstream.Error
	try *tokenTry
}

// finding returns what the first rule that matches says.
func (f failedTry) finding() finding {
	for _, r := range rules[f.Class] {
		if r.matches(f) {
			return finding{f.fill(r.cause), f.fill(r.mend + f.otherwise())}
		}
	}
	return finding{f.fill("{reason}"), f.fill("check {X}TOKEN_URL and the credential, then ask the provider")}
}

// otherwise returns what else to mend if the credential turns out to be right,
// where a 401 that is taken for a refused credential names something else.
func (f failedTry) otherwise() string {
	if f.Class != upstream.ClassCredential {
		return ""
	}
	switch f.Code {
	case "unauthorized_client", "access_denied", "unsupported_grant_type":
		return "; if all that is right, have the provider enable the client credentials grant for the client"
	case "invalid_scope":
		return "; if all that is right, correct {X}SCOPE"
	}
	return ""
}

// code returns the error code of the answer, or the word for what happened to
// the connection if there was no answer.
func (f failedTry) code() string {
	for _, start := range []string{"no answer: ", "the answer broke off: "} {
		if word, ok := strings.CutPrefix(f.Reason, start); ok {
			return word
		}
	}
	return f.Code
}

// rule is one thing that may be wrong. Empty fields match everything.
type rule struct {
	family string // of config.TokenEndpoint
	kind   upstream.Kind
	codes  string // space-separated
	when   func(failedTry) bool
	cause  string // with the placeholders of fill
	mend   string
}

func (r rule) matches(f failedTry) bool {
	return (r.family == "" || r.family == f.try.endpoint.Family) &&
		(r.kind == "" || r.kind == f.try.kind) &&
		(r.codes == "" || slices.Contains(strings.Fields(r.codes), f.code())) &&
		(r.when == nil || r.when(f))
}

// fill puts the facts of f into the text of a rule.
func (f failedTry) fill(text string) string {
	e := f.try.endpoint
	status := "no status"
	if f.Status != 0 {
		status = "status " + strconv.Itoa(f.Status)
	}
	institution := "the institution of " + e.Section + "INSTITUTION"
	if f.try.given != "" {
		institution = "the institution given with --subject"
	}
	subject := institution
	if e.Family != "oclc" {
		subject = "the subject given with --subject"
	}
	wait := "some minutes"
	if f.RetryAfter > 0 {
		wait = f.RetryAfter.Round(time.Second).String()
	}
	return strings.NewReplacer(
		"{X}", e.Section,
		"{credential}", f.credential(),
		"{host}", e.URL.Host,
		"{timeout}", e.Timeout.String(),
		"{auth}", e.Auth,
		"{environment}", e.Environment,
		"{status}", status,
		"{reason}", f.Reason,
		"{skew}", f.skewText(),
		"{institution}", institution,
		"{subject}", subject,
		"{wait}", wait,
	).Replace(text)
}

// credential returns the settings that the client proves itself with.
func (f failedTry) credential() string {
	e := f.try.endpoint
	id, proof := "CLIENT_ID", "CLIENT_SECRET"
	switch {
	case e.Family == "mydatahelps":
		id, proof = "SERVICE_ACCOUNT", "PRIVATE_KEY"
	case e.Family == "oclc":
		id, proof = "WSKEY", "SECRET"
	case e.Auth == "private_key_jwt":
		proof = "PRIVATE_KEY"
	}
	return e.Section + id + " and " + e.Section + proof
}

func (f failedTry) skewText() string {
	direction := "ahead of"
	if f.Skew < 0 {
		direction = "behind"
	}
	return fmt.Sprintf("by its Date header the provider's clock is %d s %s this machine's",
		int(f.Skew.Abs().Round(time.Second)/time.Second), direction)
}

// narrowFinding explains a token that was granted less than was asked for.
func (t *tokenTry) narrowFinding() finding {
	granted := strings.Fields(t.token.Scope())
	var lacking []string
	for item := range strings.FieldsSeq(t.key.Scope) {
		if !slices.Contains(granted, item) {
			lacking = append(lacking, item)
		}
	}
	return finding{
		"the provider granted less scope than was asked for; it left out " + strings.Join(lacking, " "),
		"have the provider give the client these scopes, or take them out of " + t.endpoint.Section + "SCOPE; " +
			t.endpoint.Section + "NARROW_SCOPE=refuse makes such tokens an error",
	}
}

// clockOff reports whether the proof of the client depends on the clock and
// the clocks differ by more than such proofs allow.
func clockOff(f failedTry) bool {
	e := f.try.endpoint
	timed := e.Auth == "private_key_jwt" || e.Auth == "hmac"
	return timed && (f.Skew.Abs() >= time.Minute || e.AssertionLifetime > 0 && f.Skew >= e.AssertionLifetime)
}

func audienceDiffers(f failedTry) bool {
	e := f.try.endpoint
	return e.Auth == "private_key_jwt" && e.Audience != e.URL.String()
}

// encoded returns a condition: Basic with that encoding, of a credential that
// encoding changes.
func encoded(encoding string) func(failedTry) bool {
	return func(f failedTry) bool {
		e := f.try.endpoint
		return e.Auth == "basic" && e.Reserved && e.BasicEncoding == encoding
	}
}

func authIs(auth string) func(failedTry) bool {
	return func(f failedTry) bool { return f.try.endpoint.Auth == auth }
}

// invalidClient reports whether the client that asked is refused, by the code or by
// a 401 (RFC 6749 section 5.2).
func invalidClient(f failedTry) bool {
	return f.Code == "invalid_client" || f.Status == 401 && f.Code != "invalid_scope"
}

func hip(f failedTry) bool       { return f.try.endpoint.HIP }
func noAnswer(f failedTry) bool  { return f.Status == 0 }
func redirect(f failedTry) bool  { return f.Status >= 300 && f.Status < 400 }
func good(f failedTry) bool      { return f.Status == 200 }
func forbidden(f failedTry) bool { return f.Status == 403 && f.Code == "" }
func noCode(f failedTry) bool    { return f.Code == "" }
func unsure(f failedTry) bool    { return f.Unsure }

func statusIn(statuses ...int) func(failedTry) bool {
	return func(f failedTry) bool { return slices.Contains(statuses, f.Status) }
}

// page: nothing in the answer was JSON. upstream says no more of a good one.
func page(f failedTry) bool { return good(f) && strings.Contains(f.Reason, "not one JSON object") }
