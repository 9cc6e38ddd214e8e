package upstream

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// signWSKey returns the Authorization header of OCLC's older scheme, for a POST
// with these query fields (OCLC, HMAC signature). Nonce and timestamp are new
// each time: a repeated one is refused.
func signWSKey(wskey, secret string, fields url.Values) string {
	timestamp, nonce := strconv.FormatInt(time.Now().Unix(), 10), rand.Text()
	return fmt.Sprintf(`http://www.worldcat.org/wskey/v2/hmac/v1 clientId="%s", timestamp="%s", nonce="%s", signature="%s"`,
		wskey, timestamp, nonce, wskeySignature(wskey, secret, timestamp, nonce, fields))
}

// wskeySignature signs the normalized request: its parts by lines, then the
// query pairs, sorted. Host, port and path are fixed words of the scheme, not
// those of the request. The secret is used as it is written, not base64-decoded.
func wskeySignature(wskey, secret, timestamp, nonce string, fields url.Values) string {
	const noBodyHash = ""
	lines := []string{wskey, timestamp, nonce, noBodyHash, "POST", "www.oclc.org", "443", "/wskey"}
	var pairs []string
	for name, values := range fields {
		for _, v := range values {
			pairs = append(pairs, escape3986(name)+"="+escape3986(v))
		}
	}
	slices.Sort(pairs)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(strings.Join(append(lines, pairs...), "\n") + "\n"))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// escape3986 escapes all but the unreserved characters of RFC 3986 section 2.3.
func escape3986(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
