package upstream

import (
	"fmt"
	"strings"
	"time"
)

// Class says what a failed token request means for those who need the token.
type Class string

// The classes of failure, and how far each reaches.
const (
	ClassCredential  Class = "credential"  // the client's own credential is refused: the whole upstream
	ClassSubject     Class = "subject"     // no token for this subject: this key
	ClassScope       Class = "scope"       // scope or grant not given to this client: this key
	ClassThrottled   Class = "throttled"   // too many token requests: the whole upstream
	ClassUnavailable Class = "unavailable" // no answer, or a server's own failure
	ClassMalformed   Class = "malformed"   // an answer that breaks the contract
)

// Error is a failed token request. It never holds text of the provider's
// answer other than an error code that stands in a table of known ones.
type Error struct {
	Upstream   string
	Class      Class
	Code       string        // of RFC 6749 section 5.2, or the provider's; empty if none
	Status     int           // of the answer; 0 if none came
	Cause      string        // proxy error type of RFC 9209 section 2.3, where no answer came; else empty
	RetryAfter time.Duration // asked for by the provider; 0 if it did not
	Skew       time.Duration // the provider's clock minus ours, by the Date of a refusal; 0 if it has none or they agree
	Reason     string        // in our words

	// Unsure marks a 401 that may be meant for the credential as well as for the
	// key: its class is ClassSubject or ClassScope, and where two keys in a row get
	// such an answer it is the credential that is refused.
	Unsure bool
}

// Error returns one line without secrets, subjects or foreign text.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "token request to %s: %s: %s", e.Upstream, e.Class, e.Reason)
	if e.Status != 0 {
		fmt.Fprintf(&b, ", status %d", e.Status)
	}
	if e.Code != "" {
		fmt.Fprintf(&b, ", code %s", e.Code)
	}
	return b.String()
}

// reasons are the classes in our words.
var reasons = map[Class]string{
	ClassCredential:  "the credential is refused",
	ClassSubject:     "no token is issued for this subject",
	ClassScope:       "this scope or grant is not given to the client",
	ClassThrottled:   "too many token requests",
	ClassUnavailable: "the token endpoint fails",
	ClassMalformed:   "the answer is not one a token endpoint gives",
}

// reclassify gives e another class, and its reason.
func (e *Error) reclassify(class Class) { e.Class, e.Reason = class, reasons[class] }
