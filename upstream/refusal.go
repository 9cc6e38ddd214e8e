package upstream

import (
	"context"
	"net/http"
	"time"
)

// exchange makes one token request whose answer is in the form of RFC 6749
// section 5. The error is an *Error.
func (e *endpoint) exchange(ctx context.Context, key Key, m message) (Token, error) {
	a, err := e.send(ctx, m)
	if err != nil {
		return Token{}, err
	}
	if a.status != http.StatusOK || a.has("error") {
		refused := e.refusal(a, key, codeClasses, a.text("error"))
		refused.interpret401(key.Subject != "")
		return Token{}, refused
	}
	return e.token(a, standardForm, key)
}

// codeClasses tells failures apart by their code: RFC 6749 section 5.2, and
// the further codes of RFC 6749 section 4.1.2.1 that token endpoints send too.
// A code that stands neither here nor in a provider's own table is not
// repeated anywhere: it is foreign text.
var codeClasses = map[string]Class{
	"invalid_client":          ClassCredential,
	"invalid_grant":           ClassSubject,
	"invalid_request":         ClassScope,
	"invalid_scope":           ClassScope,
	"unauthorized_client":     ClassScope,
	"unsupported_grant_type":  ClassScope,
	"access_denied":           ClassSubject,
	"invalid_target":          ClassScope, // RFC 8707 section 2
	"slow_down":               ClassThrottled,
	"server_error":            ClassUnavailable,
	"temporarily_unavailable": ClassUnavailable,
}

// refusal makes an *Error of an answer that is not good. The code in the body decides, and
// the status only if there is no known code: providers put lasting refusals on 400, 401
// and 403 alike. classes is the provider's own table of codes, code the one that was
// found in the answer.
func (e *endpoint) refusal(a answer, key Key, classes map[string]Class, code string) *Error {
	err := &Error{Upstream: e.upstream, Status: a.status, RetryAfter: a.retry, Skew: a.skew(time.Now())}
	class, known := classes[code]
	switch {
	case known:
		err.Code = code
	case a.status == http.StatusForbidden && a.isPage():
		class = ClassMalformed // a page of something before the token endpoint, such as a firewall; it says nothing lasting
	default:
		class = classOfStatus(a.status)
	}
	if class == ClassSubject && key.Subject == "" {
		class = ClassScope // there is no subject that could be at fault
	}
	err.reclassify(class)
	return err
}

// interpret401 decides what a 401 means; other statuses it leaves as they are. By RFC 6749 section 5.2 it is for a
// client whose credential is refused, and servers send it with other codes than
// invalid_client, with a page or with nothing: Keycloak says unauthorized_client
// of a wrong secret, Auth0 access_denied. Where the request had no subject, nobody
// but the client can be meant, whatever the code. Where it had one, invalid_grant
// and invalid_scope say what is refused, and other codes leave it open.
func (e *Error) interpret401(hadSubject bool) {
	switch {
	case e.Status != http.StatusUnauthorized:
	case !hadSubject:
		e.reclassify(ClassCredential)
	case e.Class == ClassSubject || e.Class == ClassScope:
		e.Unsure = e.Code != "invalid_grant" && e.Code != "invalid_scope"
	}
}

// classOfStatus tells failures apart that have no known code.
func classOfStatus(status int) Class {
	switch {
	case status == http.StatusUnauthorized:
		return ClassCredential
	case status == http.StatusForbidden:
		return ClassSubject
	case status == http.StatusTooManyRequests:
		return ClassThrottled
	case status == http.StatusRequestTimeout, status >= 500:
		return ClassUnavailable
	}
	return ClassMalformed
}
