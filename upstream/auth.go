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

// clientAuth says how a client proves itself at its token endpoint.
type clientAuth struct {
	id, secret string
	post       bool // in the body; else HTTP Basic
	plain      bool // Basic without encoding the halves first
}

// apply adds the proof to fields that go into the body, or to the header.
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
