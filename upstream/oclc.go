package upstream

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// OCLCConfig configures OCLC.
type OCLCConfig struct {
	Config
	WSKey       string
	Secret      Secret
	Institution string // registry id of the default context institution
	HMAC        bool   // prove the client by the older WSKey signature
	InBody      bool   // parameters in a form body; else in the query
}

// oclc is the upstream of OCLC.
type oclc struct {
	common
	config OCLCConfig
}

const oclcName = "oclc"

// NewOCLC returns the upstream of OCLC: client credentials with a WSKey, the
// parameters in the query of a POST without a body and the key by plain HTTP
// Basic (OCLC, Client Credentials Grant). The subject is the context
// institution, on whose data the token works; a key may serve several.
func NewOCLC(c OCLCConfig) Upstream {
	u := &oclc{newCommon(oclcName, c.Config, kindRule{
		kind: KindClient, subject: SubjectOptional, defaultSubject: c.Institution, validSubject: isRegistryID,
		scopes: newScopeSet(c.Scope, c.AllowedScopes),
	}), c}
	if c.HMAC {
		// On a kept connection the Transport may send a request twice, and the
		// signature's nonce is good for once.
		u.endpoint.client.Transport.(*http.Transport).DisableKeepAlives = true
	}
	return u
}

// isRegistryID accepts decimal digits: institutions are numbered.
func isRegistryID(s string) bool {
	return len(s) <= 20 && strings.Trim(s, "0123456789") == ""
}

// Fingerprint implements [Upstream].
func (u *oclc) Fingerprint() Fingerprint {
	return u.config.fingerprint(u.config.TokenURL.String(), u.config.WSKey, u.config.Secret.Reveal(), u.config.Institution)
}

// Fetch implements [Upstream].
func (u *oclc) Fetch(ctx context.Context, key Key, _ TokenSource) (Token, error) {
	a, err := u.endpoint.send(ctx, u.message(key))
	if err != nil {
		return Token{}, err
	}
	if a.status != http.StatusOK || a.has("error") {
		return Token{}, u.refusal(a, key)
	}
	return u.token(a, key)
}

// message returns the token request for key, with the proof of the client.
func (u *oclc) message(key Key) message {
	c := u.config
	fields := url.Values{"grant_type": {"client_credentials"}, "scope": {key.Scope}}
	if c.HMAC {
		fields.Set("authenticatingInstitutionId", c.Institution)
		fields.Set("contextInstitutionId", key.Subject)
		m := queryMessage(fields)
		m.header = http.Header{"Authorization": {signWSKey(c.WSKey, c.Secret.Reveal(), fields)}}
		return m
	}
	if key.Subject != "" {
		fields.Set("scope", strings.TrimSpace(key.Scope+" context:"+key.Subject))
	}
	m := queryMessage(fields)
	if c.InBody {
		m = formMessage(fields)
	}
	// Plain: secrets end in "==", which encoding would change.
	m.header = http.Header{"Authorization": {basicAuth(c.WSKey, c.Secret.Reveal(), false)}}
	return m
}

// token reads a good answer. OCLC names the granted scope in scopes, scope or
// both, and the institution in one of two spellings; a token for another
// institution than asked is refused.
func (u *oclc) token(a answer, key Key) (Token, error) {
	form := standardForm
	if a.text("scopes") != "" {
		form.scopeMember = "scopes"
	}
	for _, name := range []string{"context_institution_id", "contextInstitutionId"} {
		if a.has(name) && key.Subject != "" && a.text(name) != key.Subject {
			return Token{}, u.endpoint.fail(ClassMalformed, a.status, "the token is for another institution than asked")
		}
	}
	return u.endpoint.token(a, form, key)
}

// refusal reads the messages that OCLC sends in place of codes. That no valid
// credential was found is said with a status that is not documented. A 403
// says what is not on the key: an institution, written context:<id>, or a scope.
// The default institution is part of the credential, so that a 401 to a request
// for it is to one without a subject.
func (u *oclc) refusal(a answer, key Key) *Error {
	err := u.endpoint.refusal(a, key, codeClasses, a.text("error"))
	err.interpret401(key.Subject != "" && key.Subject != u.config.Institution)
	message := oclcMessage(a)
	aboutSubject := strings.Contains(message, "context:") || u.config.HMAC && message == "unauthorized_client"
	switch {
	case err.Code != "":
	case a.status < 500 && strings.Contains(message, "No valid authentication credentials found"):
		err.reclassify(ClassCredential)
	case err.Class == ClassSubject && !aboutSubject:
		err.reclassify(ClassScope)
	}
	return err
}

// oclcMessage returns what a refusal says, in the form of today or the older
// one: {"error":{"errorMessage":"...","errorCode":403}}.
func oclcMessage(a answer) string {
	if message := a.text("message"); message != "" {
		return message
	}
	return answer{members: parseObject(a.members["error"])}.text("errorMessage")
}
