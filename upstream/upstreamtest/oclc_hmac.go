package upstreamtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	hmacScheme = "http://www.worldcat.org/wskey/v2/hmac/v1 "
	hmacWindow = 5 * time.Minute
)

// oclcHMAC is the older token endpoint of OCLC: both institutions in the
// query, the request signed with the secret (OCLC HMAC signature page).
type oclcHMAC struct{ *Server }

func (*oclcHMAC) subject(c *call) string {
	fields, _ := parseFields(c.r.URL.RawQuery)
	return fields["contextInstitutionId"]
}

func (p *oclcHMAC) api(_ string, r *http.Request, g *Grant, bodyBytes int64) *Answer {
	return p.oclcAPI(r, g, bodyBytes)
}

func (p *oclcHMAC) exchange(c *call) *Answer {
	if !c.acceptsJSON() {
		return oclcError(http.StatusNotAcceptable, "Accept: application/json missing")
	}
	if a := notEmpty(c); a != nil {
		return a
	}
	if reason := p.wrongSignature(c); reason != "" {
		return jsonAnswer(http.StatusUnauthorized, map[string]any{
			"code":    map[string]string{"type": "http", "value": "401"},
			"message": "WSKey " + p.id + " is invalid",
		}).because("401", reason)
	}
	fields, reason := parseFields(c.r.URL.RawQuery)
	if reason == "" {
		reason = wrongFields(fields, "grant_type", "authenticatingInstitutionId", "contextInstitutionId", "scope")
	}
	if reason == "" && fields["grant_type"] != "client_credentials" {
		reason = "grant_type is not client_credentials"
	}
	if reason != "" {
		return oclcError(http.StatusBadRequest, reason)
	}
	unauthorized := oclcError(http.StatusForbidden, "unauthorized_client")
	if reason := wrongScope(fields["scope"], p.opts.Scopes); reason != "" {
		return unauthorized.because("unauthorized_client", reason)
	}
	for _, name := range []string{"authenticatingInstitutionId", "contextInstitutionId"} {
		if !p.onKey(fields[name]) {
			return unauthorized.because("unauthorized_client", name+" is not on the key")
		}
	}
	granted := p.granted(strings.Split(fields["scope"], " "))
	if len(granted) == 0 {
		return unauthorized.because("unauthorized_client", "nothing of the scope is granted")
	}
	return p.issueOCLC(fields["contextInstitutionId"], strings.Join(granted, " "))
}

// wrongSignature returns why the request is not properly signed, "" if it is.
func (p *oclcHMAC) wrongSignature(c *call) string {
	fields := c.r.Header.Values("Authorization")
	if len(fields) != 1 {
		return "not one Authorization header"
	}
	list, ok := strings.CutPrefix(fields[0], hmacScheme)
	if !ok {
		return "Authorization does not begin with the HMAC scheme"
	}
	params, ok := hmacParams(list)
	if !ok {
		return "Authorization parameters are malformed"
	}
	if params["clientid"] != p.id {
		return "clientId is not the WSKey"
	}
	seconds, err := strconv.ParseInt(params["timestamp"], 10, 64)
	stamp := time.Unix(seconds, 0)
	if err != nil || time.Since(stamp).Abs() > hmacWindow {
		return "timestamp is not in seconds or not close"
	}
	text, ok := hmacText(p.id, params["timestamp"], params["nonce"], c.r.Method, c.r.URL.RawQuery)
	if !ok {
		return "query is malformed"
	}
	mac := hmac.New(sha256.New, []byte(p.secret)) // the secret's own bytes, not base64-decoded
	mac.Write([]byte(text))
	if params["signature"] != base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
		return "signature is wrong"
	}
	if params["nonce"] == "" || !p.nonces.add(params["nonce"], stamp.Add(hmacWindow+time.Second)) {
		return "nonce is empty or came before"
	}
	return ""
}

// hmacParams parses name="value" pairs with commas between them. Known clients
// differ in the case of clientId and in the space after a comma.
func hmacParams(list string) (map[string]string, bool) {
	known := []string{"clientid", "timestamp", "nonce", "signature", "principalid", "principalidns"}
	params := map[string]string{}
	for {
		name, rest, ok := strings.Cut(list, `="`)
		name = strings.ToLower(name)
		if _, twice := params[name]; !ok || twice || !slices.Contains(known, name) {
			return nil, false
		}
		value, rest, ok := strings.Cut(rest, `"`)
		if !ok {
			return nil, false
		}
		params[name] = value
		if rest == "" {
			return params, true
		}
		if rest[0] != ',' {
			return nil, false
		}
		list = strings.TrimPrefix(rest[1:], " ")
	}
}

// hmacText returns the text that is signed. Host, port and path in it are
// fixed, whatever the request's are, and the body hash is empty.
func hmacText(key, timestamp, nonce, method, rawQuery string) (string, bool) {
	lines := []string{key, timestamp, nonce, "", method, "www.oclc.org", "443", "/wskey"}
	var pairs [][2]string
	for pair := range strings.SplitSeq(rawQuery, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return "", false
		}
		pairs = append(pairs, [2]string{name, value})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return strings.Compare(a[0]+"="+a[1], b[0]+"="+b[1]) })
	for _, pair := range pairs {
		lines = append(lines, rfc3986(pair[0])+"="+rfc3986(pair[1]))
	}
	return strings.Join(lines, "\n") + "\n", true
}

// rfc3986 encodes everything but the unreserved characters of RFC 3986 section 2.3.
func rfc3986(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
