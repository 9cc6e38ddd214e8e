package upstream

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// grantTokenExchange is the grant_type of RFC 8693 section 2.1.
const grantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"

// subjectTokenKey is the key of a subject token in a context.
type subjectTokenKey struct{}

// WithSubjectToken returns a context of one request for a token of [KindExchanged]: token is
// what an app's user is known by, the subject_token of RFC 8693 section 2.1. It goes from the
// request to its token request and is kept nowhere else.
func WithSubjectToken(ctx context.Context, token Secret) context.Context {
	return context.WithValue(ctx, subjectTokenKey{}, token)
}

// SubjectTokenOf returns the subject token that ctx was made with; it is unset if there is none.
func SubjectTokenOf(ctx context.Context) Secret {
	token, _ := ctx.Value(subjectTokenKey{}).(Secret)
	return token
}

// exchangedKey returns the key of the token that token is exchanged for. It holds a keyed hash
// of it (HMAC-SHA-256), so that neither the cache nor Redis sees the token itself.
func (r *kindRule) exchangedKey(name, token, scope string) (Key, error) {
	switch {
	case token == "":
		return Key{}, ErrSubjectTokenRequired
	case len(token) > maxTokenLen || !isB64Token(token):
		return Key{}, ErrSubjectTokenInvalid
	}
	if end, ok := expiryOf(token); ok && time.Until(end) < minLifetime {
		return Key{}, ErrSubjectTokenExpired
	}
	scope, err := r.scopes.choose(scope)
	if err != nil {
		return Key{}, err
	}
	mac := hmac.New(sha256.New, r.subjectHashKey)
	_, _ = mac.Write([]byte(token))
	return Key{Upstream: name, Kind: r.kind, Subject: base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), Scope: scope}, nil
}

// subjectTokenType returns the subject_token_type as it is on the wire.
func (c OAuth2Config) subjectTokenType() string {
	if strings.Contains(c.SubjectTokenType, ":") {
		return c.SubjectTokenType
	}
	return "urn:ietf:params:oauth:token-type:" + cmp.Or(c.SubjectTokenType, "access_token")
}

// longestExchanged returns how long a token may live that was got for subject: no longer than
// that lives if it is a JWT with an expiry, which need not be verified since it only shortens
// the life. An opaque one may be revoked at any time and does not tell when it ends: then it is
// LIFETIME, or the life of tokens of which nothing is known.
func (c OAuth2Config) longestExchanged(subject string, now time.Time) time.Duration {
	end, ok := expiryOf(subject)
	if !ok {
		return min(cmp.Or(c.Lifetime, c.DefaultLifetime), maxLifetime)
	}
	return min(cmp.Or(c.Lifetime, maxLifetime), end.Sub(now))
}

// expiryOf returns when token ends, if it is a JWT that says so (RFC 7519 section 4.1.4). It
// verifies nothing.
func expiryOf(token string) (time.Time, bool) {
	_, rest, _ := strings.Cut(token, ".")
	payload, signature, isJWT := strings.Cut(rest, ".")
	if !isJWT || strings.Contains(signature, ".") {
		return time.Time{}, false
	}
	text, err := base64.RawURLEncoding.DecodeString(payload)
	var claims struct {
		Expiry *float64 `json:"exp"`
	}
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Expiry == nil {
		return time.Time{}, false
	}
	// Within the years that a time.Duration can span from now.
	seconds := min(max(*claims.Expiry, 0), 1<<33)
	return time.UnixMilli(int64(seconds * 1000)), true
}

// interpretExchange decides what the refusal of an exchange means. Whose token is refused is
// told by RFC 8693 section 2.2.2 as invalid_request, and by others in other ways, so that every
// refusal counts for that one user, unless its code is about the client or about what it asks.
func (e *Error) interpretExchange() {
	switch e.Code {
	case "invalid_client", "invalid_scope", "invalid_target", "unauthorized_client", "unsupported_grant_type":
		return
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		if e.Class != ClassThrottled && e.Class != ClassUnavailable {
			e.reclassify(ClassSubject)
		}
	}
}
