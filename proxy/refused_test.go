package proxy

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// micros is the time in a line of the access log.
var micros = regexp.MustCompile(`"micros":\d+,`)

// What no handler gets to see is in the access log and the metrics nevertheless, by its code and
// with nothing of the request.
//
// Case P19.
func TestRefusedHeadsAreLoggedAndCounted(t *testing.T) {
	eitherWay(t)
	for head, code := range map[string]string{
		"GET /alpha/canary HTTP/1.1\nHost: localhost\n\n":                                               `"method":"other","status":400,"sent":%d,"problem":"request_malformed"`,
		"GET /alpha/canary HTTP/3.0\r\nHost: localhost\r\n\r\n":                                         `"method":"GET","status":505,"sent":%d,"problem":"protocol_not_supported"`,
		"GET /alpha/canary HTTP/1.1\r\nHost: localhost\r\nExpect: canary\r\n\r\n":                       `"method":"GET","status":417,"sent":%d,"problem":"expectation_refused"`,
		"POST /alpha/canary HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: canary\r\n\r\n":           `"method":"POST","status":501,"sent":%d,"problem":"transfer_encoding_refused"`,
		"POST /alpha/canary HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\ncanary":    `"method":"POST","status":400,"sent":%d,"problem":"body_incomplete"`,
		"GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nX-A: " + strings.Repeat("canary", 11<<10) + "\r\n": `"method":"other","status":431,"sent":%d,"problem":"header_too_large"`,
	} {
		s := newSide(t, setup{})
		c := s.dial(s.addr)
		c.write(head)
		a := c.read("GET")
		_, named, _ := strings.Cut(code, `"problem":`)
		if a.problem(t, a.status, strings.Trim(named, `"`)); !a.close || !c.closed() {
			t.Errorf("%.60q: the connection goes on", head)
		}
		eventually(t, "a line in the log", func() bool { return strings.Contains(s.log.String(), "request") })
		log := micros.ReplaceAllString(s.log.String(), "")
		code = fmt.Sprintf(code, len(a.body))
		if !strings.Contains(log, `"route":"none",`+code) || strings.Contains(log, "canary") {
			t.Errorf("%.60q: the log says %s, want %s", head, log, code)
		}
		s.untouched()
	}
}
