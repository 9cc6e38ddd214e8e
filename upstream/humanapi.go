package upstream

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
)

// HumanAPIConfig configures Human API.
type HumanAPIConfig struct {
	Config
	ClientID     string
	ClientSecret Secret
	HIP          bool // Health Intelligence Platform contract
}

// humanAPI is the upstream of Human API.
type humanAPI struct {
	common
	config HumanAPIConfig
}

// NewHumanAPI returns the upstream of Human API (Retrieve User Access Token).
// The subject is the client_user_id. With HIP, the target named "admin" gets
// the token of the client itself.
func NewHumanAPI(c HumanAPIConfig) Upstream {
	u := &humanAPI{newCommon("humanapi", c.Config, kindRule{kind: KindAccess, subject: SubjectRequired}), c}
	u.kinds = append(u.kinds, kindRule{kind: KindClient}) // neither kind has scopes
	for i := range u.routes {
		if r := &u.routes[i]; c.HIP && r.Name == "humanapi.admin" {
			r.Kind, r.Subject = KindClient, SubjectRefused
		}
	}
	return u
}

// Fingerprint implements [Upstream].
func (u *humanAPI) Fingerprint() Fingerprint {
	return u.config.fingerprint(u.config.TokenURL.String(), u.config.ClientID, u.config.ClientSecret.Reveal())
}

// Fetch implements [Upstream]. It asks for a token of type "access" or "client". The refresh_token that
// comes with it has no use today and is not kept: it would be one more secret.
func (u *humanAPI) Fetch(ctx context.Context, key Key, _ TokenSource) (Token, error) {
	fields := url.Values{
		"client_id":     {u.config.ClientID},
		"client_secret": {u.config.ClientSecret.Reveal()},
		"type":          {string(key.Kind)},
	}
	if key.Subject != "" {
		fields.Set("client_user_id", key.Subject)
	}
	a, err := u.endpoint.send(ctx, jsonMessage(fields))
	if err != nil {
		return Token{}, err
	}
	code := humanAPICode(a, key.Subject)
	if code != "" || a.status != http.StatusOK || a.has("error") || a.has("errorCode") {
		return Token{}, u.refusal(a, key, code)
	}
	form := standardForm
	if key.Kind == KindClient && a.has("client_token") {
		form = tokenForm{member: "client_token", scopeMember: "scope", typeMissing: true}
	}
	return u.endpoint.token(a, form, key)
}

// refusal classifies an answer that is not good. The statuses and bodies of
// refusals are not documented, so a known code decides, whatever the status: a 401
// that says that client tokens are not enabled must not stop those of users. One
// of a kind that is not known is taken to concern its user alone, so that it does
// not stop the others; whether a 401 of that kind does is open.
func (u *humanAPI) refusal(a answer, key Key, code string) *Error {
	err := u.endpoint.refusal(a, key, humanAPICodes, code)
	ofUser := key.Subject != "" && code == "" && a.members != nil && a.status >= 400
	if ofUser && (err.Class == ClassMalformed || err.Class == ClassCredential) {
		err.reclassify(ClassSubject)
		err.interpret401(true)
	}
	return err
}

// humanAPICodes classifies the errorCode values of Human API's table of common
// errors. A user's refusal ends when the user connects a source.
var humanAPICodes = map[string]Class{
	"INVALID_TOKEN_TYPE":                  ClassScope,
	"CLIENT_TOKEN_GENERATION_NOT_ALLOWED": ClassScope,
	"NOT_AUTHORIZED":                      ClassScope,
	"INVALID_CLIENT_ID":                   ClassCredential,
	"INVALID_CLIENT_ID_OR_SECRET":         ClassCredential,
	"ACCESS_TOKEN_GENERATION_NOT_ALLOWED": ClassSubject,
	"UNKNOWN_CLIENT_USER_ID":              ClassSubject,
}

// humanAPICode finds the error code of an answer, "" if there is none. Which
// member holds it is documented nowhere, so after the likely ones all are
// searched; of two codes found that way the longer is meant. An answer may
// repeat the subject, which must not pass for a code.
func humanAPICode(a answer, subject string) string {
	for _, member := range []string{"errorCode", "error", "code", "message"} {
		if _, known := humanAPICodes[a.text(member)]; known {
			return a.text(member)
		}
	}
	if a.status == http.StatusOK && !a.has("errorCode") && !a.has("error") {
		return ""
	}
	found := ""
	for _, raw := range a.members {
		for code := range humanAPICodes {
			if len(code) > len(found) && bytes.Contains(raw, []byte(code)) && !strings.Contains(subject, code) {
				found = code
			}
		}
	}
	return found
}
