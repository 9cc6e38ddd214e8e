package upstream

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// maxTokenLen bounds an access token, in bytes. Real ones stay under 4 KiB;
// a header of more would be refused by the targets.
const maxTokenLen = 16 << 10

// Token is an access token and what its issuer said of it. It is an immutable
// value of one word, safe to share. It prints as [redacted]. The zero Token is
// no token.
type Token struct{ grant *grant }

// grant is what a Token stands for. A cache holds many: times are in
// microseconds since 1970, by the wall clock.
type grant struct {
	// "Bearer " and the access token: made once, sent often. Behind a pointer,
	// since fmt ignores Format where a Token lies in an unexported field.
	authorization  *string
	scope          string // as granted; empty if the answer did not say
	issued, expiry int64
	certificate    *ClientCertificate // that it may be bound to; nil: none
}

const bearer = "Bearer "

// NewToken returns the token with the given value, granted scope (empty if
// unknown) and span of life, both ends by the wall clock. It fails if access
// is not in the b64token form of RFC 6750 section 2.1 or is longer than 16
// KiB; the error does not quote it.
func NewToken(access, scope string, issued, expiry time.Time) (Token, error) {
	if len(access) > maxTokenLen {
		return Token{}, fmt.Errorf("the access token has %d bytes, more than %d", len(access), maxTokenLen)
	}
	if !isB64Token(access) {
		return Token{}, fmt.Errorf("the access token is not in the form of RFC 6750 section 2.1")
	}
	// By the wall clock alone: a Token crosses processes, and a clock that stops
	// while a machine sleeps must not stretch a life.
	authorization := bearer + access
	return Token{&grant{&authorization, scope, issued.UnixMicro(), expiry.UnixMicro(), nil}}, nil
}

// isB64Token checks 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=".
func isB64Token(s string) bool {
	body := strings.TrimRight(s, "=")
	for i := range len(body) {
		c := body[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._~+/", c) >= 0:
		default:
			return false
		}
	}
	return body != ""
}

// Authorization returns the value of the Authorization header: RFC 6750
// section 2.1, always with a capital B, whatever case the issuer wrote
// token_type in.
func (t Token) Authorization() string {
	if t.grant == nil {
		return ""
	}
	return *t.grant.authorization
}

// AccessToken returns the bare access token.
func (t Token) AccessToken() string { return strings.TrimPrefix(t.Authorization(), bearer) }

// Scope returns the scope that was granted, "" if the issuer did not say.
func (t Token) Scope() string {
	if t.grant == nil {
		return ""
	}
	return t.grant.scope
}

// Issued returns when the token request began, by the wall clock, to the
// microsecond.
func (t Token) Issued() time.Time {
	if t.grant == nil {
		return time.Time{}
	}
	return time.UnixMicro(t.grant.issued)
}

// Expiry returns the end of the token's life, by the wall clock, to the
// microsecond.
func (t Token) Expiry() time.Time {
	if t.grant == nil {
		return time.Time{}
	}
	return time.UnixMicro(t.grant.expiry)
}

// Certificate returns the client certificate under which t was issued, nil if there was
// none. t must be sent only over connections to which the sidecar presents this one, since
// it may be bound to it (RFC 8705 section 3).
func (t Token) Certificate() *ClientCertificate {
	if t.grant == nil {
		return nil
	}
	return t.grant.certificate
}

// bind returns t as a token that was issued under certificate. The zero Token stays zero.
func (t Token) bind(certificate *ClientCertificate) Token {
	if t.grant == nil || certificate == nil {
		return t
	}
	bound := *t.grant
	bound.certificate = certificate
	return Token{&bound}
}

// IsZero reports whether t is no token.
func (t Token) IsZero() bool { return t.grant == nil }

// Same reports whether t and u are the same access token.
func (t Token) Same(u Token) bool { return t.Authorization() == u.Authorization() }

// Format writes [redacted] for every verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String returns [redacted].
func (t Token) String() string { return redacted }

// MarshalText returns [redacted]; JSON and slog use it.
func (t Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }
