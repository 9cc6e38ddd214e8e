package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"token-sidecar/cmd/internal/config"
	"token-sidecar/upstream"
)

// failure is a failed token request beside the settings that it was made with.
type failure struct {
	*upstream.Error
	endpoint *config.TokenEndpoint
	kind     upstream.Kind
	given    bool // with a subject of the command line
}

// causeOf returns the failed token request that err is, nil if err is nil.
func causeOf(err error) *upstream.Error {
	var cause *upstream.Error
	if err != nil && !errors.As(err, &cause) {
		return &upstream.Error{Class: upstream.ClassUnavailable, Reason: "the check was interrupted"}
	}
	return cause
}

// code returns the error code of the answer, or the word for what happened to
// the connection if there was no answer.
func (f failure) code() string {
	if f.Cause != "" {
		return f.Cause
	}
	return f.Code
}

// credential returns the names of the settings that the client proves itself with.
func (f failure) credential() string {
	id, proof := "CLIENT_ID", "CLIENT_SECRET"
	switch {
	case f.endpoint.Family == "mydatahelps":
		id, proof = "SERVICE_ACCOUNT", "PRIVATE_KEY"
	case f.endpoint.Family == "oclc":
		id, proof = "WSKEY", "SECRET"
	case f.endpoint.Setting("AUTH") == "assertion_file":
		proof = "ASSERTION"
	case byCertificate(f):
		proof = "CERT"
	case f.endpoint.Setting("AUTH") == "none" && f.endpoint.Setting("GRANT") != "jwt_bearer":
		id, proof = "PARAMS", "HEADERS"
	case f.endpoint.Setting("PRIVATE_KEY") != "":
		proof = "PRIVATE_KEY"
	}
	return f.endpoint.Section + id + " and " + f.endpoint.Section + proof
}

// skewText says how far the clocks are apart.
func (f failure) skewText() string {
	direction := "ahead of"
	if f.Skew < 0 {
		direction = "behind"
	}
	return fmt.Sprintf("by its Date header the provider's clock is %d s %s this machine's",
		int(f.Skew.Abs().Round(time.Second)/time.Second), direction)
}

// signed reports whether the client proves itself with an assertion that the sidecar signs
// (RFC 7523).
func signed(f failure) bool {
	e := f.endpoint
	return e.Family == "mydatahelps" || bearer(f) || e.Setting("AUTH") == "private_key_jwt" || e.Setting("AUTH") == "client_secret_jwt"
}

// bearer reports whether that assertion is the grant.
func bearer(f failure) bool { return f.endpoint.Setting("GRANT") == "jwt_bearer" }

// unnamedKey reports whether assertions are signed with a key that they do not name.
func unnamedKey(f failure) bool {
	return signedWithKey(f) && f.endpoint.Setting("KEY_ID") == ""
}

// signedWithKey reports whether assertions of a generic upstream are signed with a key.
func signedWithKey(f failure) bool {
	return f.endpoint.Family == "oauth2" && signed(f) && f.endpoint.Setting("PRIVATE_KEY") != ""
}

// unproven reports whether the client proves itself by nothing but further parameters and
// header fields.
func unproven(f failure) bool { return f.endpoint.Setting("AUTH") == "none" && !bearer(f) }

// byFile reports whether the proof of the client is an assertion that somebody else makes.
func byFile(f failure) bool { return f.endpoint.Setting("AUTH") == "assertion_file" }

// byCertificate reports whether the proof of the client is its certificate.
func byCertificate(f failure) bool { return f.endpoint.Setting("AUTH") == "tls" }

// presents reports whether there is a client certificate, whatever the proof of the client.
func presents(f failure) bool { return f.endpoint.Setting("CERT_KEY") != "" }

// ofDiscovery reports whether a failure is one of discovery, which Reason says in words.
func ofDiscovery(f failure) bool { return strings.HasPrefix(f.Reason, "discovery: ") }

// byEgressProxy reports whether the egress proxy refused to connect to the token endpoint.
func byEgressProxy(f failure) bool { return strings.HasPrefix(f.code(), "egress_proxy_answered_") }

// clockOff reports whether the proof of the client depends on the clock and
// the clocks differ by more than such proofs allow.
func clockOff(f failure) bool {
	life, _ := time.ParseDuration(f.endpoint.Setting("ASSERTION_LIFETIME")) // zero: there is no such setting
	timed := signed(f) || f.endpoint.Setting("AUTH") == "hmac"
	return timed && (f.Skew.Abs() >= time.Minute || life > 0 && f.Skew >= life)
}

// audienceDiffers reports whether assertions are made for another audience than the
// token endpoint that they are sent to.
func audienceDiffers(f failure) bool {
	audience := f.endpoint.Setting("AUDIENCE")
	return signed(f) && !bearer(f) && f.endpoint.Setting("ISSUER") == "" && audience != "" && audience != f.endpoint.URL.String()
}

// encoded returns a condition: Basic with that encoding, of a credential that
// encoding changes.
func encoded(encoding string) func(failure) bool {
	return func(f failure) bool {
		e := f.endpoint
		return e.Setting("AUTH") == "basic" && e.Reserved && e.Setting("BASIC_ENCODING") == encoding
	}
}

// invalidClient reports whether the client that asked is refused, by the code or by
// a 401 (RFC 6749 section 5.2).
func invalidClient(f failure) bool {
	return f.Code == "invalid_client" || f.Status == 401 && f.Code != "invalid_scope"
}

func hmacAuth(f failure) bool  { return f.endpoint.Setting("AUTH") == "hmac" }
func hip(f failure) bool       { return f.endpoint.Setting("HIP") == "true" }
func noAnswer(f failure) bool  { return f.Status == 0 }
func redirect(f failure) bool  { return f.Status >= 300 && f.Status < 400 }
func good(f failure) bool      { return f.Status == 200 }
func narrow(f failure) bool    { return f.Status == 200 && f.Code == "" }
func forbidden(f failure) bool { return f.Status == 403 && f.Code == "" }
func noCode(f failure) bool    { return f.Code == "" }
func unsure(f failure) bool    { return f.Unsure }

func statusIn(statuses ...int) func(failure) bool {
	return func(f failure) bool { return slices.Contains(statuses, f.Status) }
}

// notJSON reports whether a good answer was no JSON, such as a page: package upstream
// says no more of one.
func notJSON(f failure) bool { return good(f) && strings.Contains(f.Reason, "not one JSON object") }
