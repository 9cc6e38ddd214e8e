package upstream

import (
	"encoding/base64"
	"net/url"
)

// basicAuth returns the value of an Authorization header that proves the
// client by HTTP Basic: RFC 6749 section 2.3.1 has each half form-encoded
// first, which some providers do not do (encode = false).
func basicAuth(id, secret string, encode bool) string {
	if encode {
		id, secret = url.QueryEscape(id), url.QueryEscape(secret)
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

// clientCredentials returns the parameters of RFC 6749 section 4.4.2 for key. An empty
// scope is left out.
func clientCredentials(key Key) url.Values {
	fields := url.Values{"grant_type": {"client_credentials"}}
	if key.Scope != "" {
		fields.Set("scope", key.Scope)
	}
	return fields
}

// clientAuth says how a client proves itself at its token endpoint.
type clientAuth struct {
	id, secret string
	post       bool // in the body; else HTTP Basic
	plain      bool // Basic without encoding the halves first
}

// message returns a form of fields, with the proof in the form or in the header.
func (c clientAuth) message(fields url.Values) message {
	if c.post {
		fields.Set("client_id", c.id)
		fields.Set("client_secret", c.secret)
		return formMessage(fields)
	}
	m := formMessage(fields)
	m.header = map[string][]string{"Authorization": {basicAuth(c.id, c.secret, !c.plain)}}
	return m
}
