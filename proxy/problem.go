package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	"token-sidecar/cache"
	"token-sidecar/proxy/internal/http1"
	"token-sidecar/upstream"
	"token-sidecar/upstream/egress"
)

// problem is what the app is told when its request cannot be served, as a problem document
// of RFC 9457. It is an error, too. It holds no text of an app, a target or a token
// endpoint.
type problem struct {
	status int
	code   string        // stable, so that apps can act on it
	cause  string        // proxy error type of RFC 9209 section 2.3
	detail string        // for people: what is wrong and how to mend it
	retry  time.Duration // when the app may send the request again; zero says nothing
}

// Error implements [error].
func (p *problem) Error() string { return p.code }

// Problems that the proxy finds itself.
var (
	errProtocol     = &problem{http.StatusHTTPVersionNotSupported, "protocol_not_supported", "http_request_error", "Speak HTTP/1.1 to the sidecar.", 0}
	errNoTLS        = &problem{http.StatusBadRequest, "tls_required", "http_request_error", "This listener speaks TLS. Name it with https.", 0}
	errMethod       = &problem{http.StatusMethodNotAllowed, "method_not_allowed", "http_request_denied", "The sidecar does not forward this method.", 0}
	errPath         = &problem{http.StatusBadRequest, "path_invalid", "http_request_error", "The path has a dot segment, a backslash, a control byte, or an empty first segment, plain or escaped. Send the path as the target expects it.", 0}
	errHost         = &problem{http.StatusForbidden, "host_not_allowed", "http_request_denied", "The Host header names neither loopback nor a name in SIDECAR_ALLOWED_HOSTS.", 0}
	errBrowser      = &problem{http.StatusForbidden, "browser_refused", "http_request_denied", "The request looks as if a browser sent it. The sidecar serves programs only; drop the Origin and Sec-Fetch-Site headers, and a Referer of other sites.", 0}
	errHeader       = &problem{http.StatusBadRequest, "header_invalid", "http_request_error", "A header differs from one that the sidecar reads or sets only by underscores.", 0}
	errHeaderLines  = &problem{http.StatusRequestHeaderFieldsTooLarge, "header_too_large", "http_request_error", "The request has too many header lines.", 0}
	errCaller       = &problem{http.StatusForbidden, "caller_refused", "http_request_denied", "X-Sidecar-Token is missing, wrong or given twice. Send the token that the sidecar's operator has given to this caller.", 0}
	errNotAllowed   = &problem{http.StatusForbidden, "not_allowed", "http_request_denied", "The sidecar's operator does not let this method and path through on this route.", 0}
	errOverride     = &problem{http.StatusForbidden, "not_allowed", "http_request_denied", "The request has a field that overrides the method, which is not let through on this route. Drop it.", 0}
	errPurpose      = &problem{http.StatusBadRequest, "purpose_invalid", "http_request_error", "X-Token-Purpose is not one of SIDECAR_AUDIT_PURPOSES, or is there twice.", 0}
	errAudit        = &problem{http.StatusServiceUnavailable, "audit_unavailable", "proxy_internal_error", "The line of the audit cannot be written, so that the request was not sent. The sidecar's log says why.", time.Second}
	errLoop         = &problem{http.StatusLoopDetected, "loop_detected", "proxy_loop_detected", "The request passed a sidecar before. Check the targets.", 0}
	errQueryToken   = &problem{http.StatusBadRequest, "query_token_refused", "http_request_denied", "Drop access_token from the query: the sidecar sends the token in the Authorization header.", 0}
	errUnknownRoute = &problem{http.StatusNotFound, "unknown_route", "destination_not_found", "No configured route matches. The path must begin with /{route}/; the first log lines of the sidecar name the routes.", 0}
	errUnknownHost  = &problem{http.StatusNotFound, "unknown_route", "destination_not_found", "No configured route has this host and path as its target. A request that names its target in full must name it as http://{host of a configured target}/…; the sidecar goes on over HTTPS.", 0}
	errAmbiguous    = &problem{http.StatusBadRequest, "route_ambiguous", "http_request_error", "Several routes share this host. Name one in X-Token-Route.", 0}
	errRouteHeader  = &problem{http.StatusBadRequest, "route_invalid", "http_request_error", "X-Token-Route is empty, given twice, or names another route than the request.", 0}
	errBody         = &problem{http.StatusBadRequest, "body_incomplete", "http_request_error", "The request body ended early, or is not in chunks as RFC 9112 section 7.1 describes them.", 0}
	errHeadSlow     = &problem{http.StatusRequestTimeout, "head_timeout", "http_request_error", "The head of the request took longer than 10 s.", 0}
	errBodySlow     = &problem{http.StatusRequestTimeout, "body_timeout", "http_request_error", "The request body stood still for 10 s, or a small one took longer than that.", 0}
	errBusy         = &problem{http.StatusServiceUnavailable, "target_busy", "connection_limit_reached", "As many requests to this target are under way as there may be. Send fewer at a time.", time.Second}
	errRedirect     = &problem{http.StatusBadGateway, "redirect_refused", "http_protocol_error", "The target redirects to the sidecar itself, to another route or subject, or to what can be read in two ways.", 0}
	errTargetSlow   = &problem{http.StatusGatewayTimeout, "target_timeout", "http_response_timeout", "The target did not answer in time.", 0}
	errStopping     = &problem{http.StatusServiceUnavailable, "sidecar_stopping", "proxy_internal_response", "The sidecar stops, and has not sent the request on. Send it again.", time.Second}
	errInternal     = &problem{http.StatusInternalServerError, "internal_error", "proxy_internal_error", "The sidecar failed; its log says where.", 0}
)

// keyProblems are what the app is told when there is no key for its request.
var keyProblems = map[error]*problem{
	upstream.ErrSubjectRequired:      {http.StatusBadRequest, "subject_required", "http_request_error", "This route acts on behalf of a subject. Name it in X-Token-Subject or as /{route}/~{subject}/…", 0},
	upstream.ErrSubjectInvalid:       {http.StatusBadRequest, "subject_invalid", "http_request_error", "The subject is malformed, empty, or given twice.", 0},
	upstream.ErrSubjectNotTaken:      {http.StatusBadRequest, "subject_not_taken", "http_request_error", "This route takes no subject. Drop X-Token-Subject and /~{subject}.", 0},
	upstream.ErrSubjectTokenRequired: {http.StatusUnauthorized, "subject_token_required", "http_request_error", "This route exchanges the token of your user for one of the API. Send it as Authorization: Bearer …", 0},
	upstream.ErrSubjectTokenExpired:  {http.StatusUnauthorized, "subject_token_expired", "http_request_error", "The token of your user has expired. Get another one and send it as Authorization: Bearer …", 0},
	upstream.ErrSubjectTokenInvalid:  {http.StatusBadRequest, "subject_token_invalid", "http_request_error", "The token of the user is not in the form of RFC 6750 section 2.1, or there are two Authorization headers.", 0},
	upstream.ErrScopeNotAllowed:      {http.StatusForbidden, "scope_not_allowed", "http_request_denied", "X-Token-Scope names something that is not configured for this upstream, or is malformed.", 0},
}

// tokenProblems are what the app is told when a token endpoint refuses the token for good.
var tokenProblems = map[upstream.Class]*problem{
	upstream.ClassCredential: {http.StatusBadGateway, "credential_refused", "proxy_configuration_error", "The token endpoint refuses the sidecar's credential. Its operator must mend it.", 0},
	upstream.ClassSubject:    {http.StatusForbidden, "subject_refused", "http_request_denied", "The provider issues no token for this subject: it is unknown, not connected, or not allowed.", 0},
	upstream.ClassScope:      {http.StatusForbidden, "scope_not_allowed", "http_request_denied", "The provider does not give this scope or grant to the sidecar's client.", 0},
}

// tokenError marks the error of getting a token, to tell it from one of reaching the target.
type tokenError struct{ error }

// Unwrap returns the error of getting the token.
func (e tokenError) Unwrap() error { return e.error }

// fieldError marks the error of getting a header field that the API wants beside the token.
type fieldError struct{ error }

// Unwrap returns the error of getting the field.
func (e fieldError) Unwrap() error { return e.error }

// codeUnreachable is the code of problems whose cause is told in the log, the metrics and on the
// status page, like that of errTargetSlow.
const codeUnreachable = "target_unreachable"

// statusClientClosed is the status in the log when the app left first. It is never sent.
const statusClientClosed = 499

// problemOf returns what the app is told of any error of an exchange.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	for known, p := range keyProblems {
		if errors.Is(err, known) {
			return p
		}
	}
	if errors.Is(err, context.Canceled) {
		return &problem{statusClientClosed, codeClientClosed, "connection_terminated", "The client closed the connection.", 0}
	}
	if _, ok := errors.AsType[tokenError](err); ok {
		return tokenProblem(err)
	}
	if _, ok := errors.AsType[fieldError](err); ok {
		return fieldProblem(err)
	}
	if proxy, ok := errors.AsType[*egress.Error](err); ok {
		return egressProblem(proxy)
	}
	cause := upstream.ConnError(err)
	switch cause {
	case "connection_timeout", "http_response_timeout", "dns_timeout":
		return &problem{http.StatusGatewayTimeout, "target_timeout", cause, errTargetSlow.detail, 0}
	}
	return &problem{http.StatusBadGateway, codeUnreachable, cause, "The target cannot be reached, or what it sent is not HTTP (" + cause + ").", 0}
}

// faultProblem returns what the app is told of a fault of its request's head.
func faultProblem(err error) *problem {
	fault, ok := errors.AsType[*http1.Fault](err)
	if !ok {
		return errInternal
	}
	switch fault.Kind {
	case http1.TooLarge:
		return &problem{http.StatusRequestHeaderFieldsTooLarge, errHeaderLines.code, errHeaderLines.cause, fault.Detail, 0}
	case http1.Version:
		return errProtocol
	case http1.Coding:
		return &problem{http.StatusNotImplemented, "transfer_encoding_refused", "http_request_error", fault.Detail, 0}
	case http1.Expectation:
		return &problem{http.StatusExpectationFailed, "expectation_refused", "http_request_error", fault.Detail, 0}
	}
	return &problem{http.StatusBadRequest, "request_malformed", "http_request_error", fault.Detail, 0}
}

// egressProblem returns what the app is told when the egress proxy leads to no target.
func egressProblem(err *egress.Error) *problem {
	cause := "destination_unavailable"
	if err.Status == http.StatusProxyAuthRequired || err.Status == http.StatusUnauthorized { // tinyproxy's for a wrong password
		cause = "proxy_configuration_error"
	}
	return &problem{http.StatusBadGateway, codeUnreachable, cause, "The target cannot be reached: " + err.Error() + ".", 0}
}

// tokenProblem returns what the app is told when there is no token for its request.
func tokenProblem(err error) *problem {
	failed, ok := errors.AsType[*cache.Error](err)
	if !ok {
		return &problem{http.StatusServiceUnavailable, "token_unavailable", "destination_unavailable", noToken + "the token endpoint is slow.", time.Second}
	}
	if p := tokenProblems[failed.Cause.Class]; p != nil {
		return p
	}
	return &problem{http.StatusServiceUnavailable, "token_unavailable", "destination_unavailable", noToken + whyNoToken(failed.Cause), failed.RetryAfter}
}

// noToken is how the detail of token_unavailable begins.
const noToken = "There is no token now: "

// whyNoToken tells an app's developer what kind of trouble it is. It names no host.
func whyNoToken(cause *upstream.Error) string {
	switch {
	case cause.Cause != "":
		return "the token endpoint gave no answer (" + cause.Cause + ")."
	case cause.Class == upstream.ClassThrottled:
		return "there were too many token requests."
	case cause.Class == upstream.ClassMalformed:
		return "what answers at the address of the token endpoint gives no tokens, as a web page or a proxy in between does not."
	case cause.Status != 0:
		return fmt.Sprintf("the token endpoint fails with status %d.", cause.Status)
	}
	return "the token endpoint fails, is slow, or asked for quiet."
}

// fieldProblem returns what the app is told when a header field that the API wants cannot be
// had. Nobody but the operator and the provider can mend it, whatever the cause.
func fieldProblem(err error) *problem {
	retry := time.Second
	if failed, ok := errors.AsType[*upstream.Error](err); ok {
		retry = max(retry, failed.RetryAfter)
	}
	return &problem{http.StatusServiceUnavailable, "header_unavailable", "destination_unavailable", "A header that the API wants beside the token cannot be had now; the sidecar's log says why.", retry}
}

// fail answers with the problem that err is, unless an answer is under way already. If the
// app has left, it panics with http.ErrAbortHandler, so that net/http ends the connection.
func (x *exchange) fail(err error) {
	p := problemOf(err)
	x.problem = p.code
	if p.code == errTargetSlow.code || p.code == codeUnreachable {
		if x.cause = p.cause; p.code == codeUnreachable {
			x.cause = upstream.ConnError(err)
		}
		x.route.metrics.TargetFailed(x.cause)
		x.route.connections.failed(x.cause)
	}
	if x.out.status != 0 {
		return // an answer is under way
	}
	if p.status == statusClientClosed {
		x.out.status = p.status
		panic(http.ErrAbortHandler)
	}
	h := x.out.Header()
	clear(h)
	p.describe(h)
	if p.status == http.StatusMethodNotAllowed { // RFC 9110 section 15.5.6
		h.Set("Allow", allowedMethods(x.in))
	}
	if p.status == http.StatusUnauthorized { // RFC 9110 section 15.5.2
		h.Set("WWW-Authenticate", "Bearer")
	}
	document := p.document()
	h.Set("Content-Length", strconv.Itoa(len(document)))
	x.out.WriteHeader(p.status)
	if x.in.Method != http.MethodHead {
		_, _ = x.out.Write(document)
	}
}

// Codes of what ends an answer that is under way. No app is told them.
const (
	codeClientClosed     = "client_closed"
	codeClientStalled    = "client_stalled"
	codeAnswerIncomplete = "answer_incomplete"
)

// brokeOff notes why an answer that is under way ends too early.
func (x *exchange) brokeOff() {
	switch {
	case x.problem != "":
	case errors.Is(x.out.err, os.ErrDeadlineExceeded):
		x.problem = codeClientStalled
	case x.out.err != nil, x.in.Context().Err() != nil:
		x.problem = codeClientClosed
	case x.attempt.answer.err != nil:
		x.problem, x.cause = codeAnswerIncomplete, upstream.ConnError(x.attempt.answer.err)
		x.route.metrics.TargetFailed(x.cause)
	}
}

// describe sets the header fields of an answer that is p.
func (p *problem) describe(h http.Header) {
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("Proxy-Status", fmt.Sprintf("token-sidecar; error=%s; details=%q", p.cause, p.code))
	if p.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retry.Seconds()))))
	}
}

// document returns the body of an answer that is p.
func (p *problem) document() []byte {
	document, _ := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(p.status), p.status, p.code, p.detail})
	return append(document, '\n')
}

// answer returns the answer, from its first byte to its last, to a request that no handler gets
// to see. It is the last one on its connection.
func (p *problem) answer(method string) []byte {
	document := p.document()
	res := http.Response{StatusCode: p.status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Close: true,
		Request: &http.Request{Method: method}, Body: io.NopCloser(bytes.NewReader(document)), ContentLength: int64(len(document))}
	p.describe(res.Header)
	res.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	var all bytes.Buffer
	_ = res.Write(&all)
	return all.Bytes()
}
