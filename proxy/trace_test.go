package proxy

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

const (
	exampleTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	exampleParent = "00-" + exampleTrace + "-00f067aa0ba902b7-01" // of W3C Trace Context section 3.2.4
)

func TestTraceIDIsReadStrictly(t *testing.T) {
	for field, want := range map[string]string{
		exampleParent:                                            exampleTrace,
		"cc" + exampleParent[2:]:                                 exampleTrace,
		"cc" + exampleParent[2:] + "-what":                       exampleTrace,
		exampleParent + "-what":                                  "",
		"ff" + exampleParent[2:]:                                 "",
		strings.ToUpper(exampleParent):                           "",
		exampleParent[3:]:                                        "",
		exampleParent[:len(exampleParent)-1]:                     "",
		"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01": "",
		"00-" + "alice@example.org" + "-00f067aa0ba902b7-01":     "",
		"": "", "-": "", "---": "",
	} {
		if got := traceID(http.Header{"Traceparent": {field}}); got != want {
			t.Errorf("%q: %q", field, got)
		}
	}
	if got := traceID(http.Header{"Traceparent": {exampleParent, exampleParent}}); got != "" {
		t.Errorf("of two fields: %q", got)
	}
}

func TestTraceIDIsLoggedAndPassedOn(t *testing.T) {
	s := newSide(t, setup{})
	s.post("GET", "/alpha/x", "traceparent", exampleParent, "tracestate", "vendor=opaque")
	s.post("GET", "/alpha/y", "traceparent", "alice@example.org")
	if got := s.up.requests()[0].header("traceparent"); len(got) != 1 || got[0] != exampleParent {
		t.Errorf("the target gets %q", got)
	}
	if n := strings.Count(s.log.String(), `"trace_id":"`+exampleTrace+`"`); n != 1 {
		t.Errorf("the trace id is logged %d times", n)
	}
	r, w := httptest.NewRequest("GET", "/metrics", nil), httptest.NewRecorder()
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	s.proxy.config.Metrics.Handler().ServeHTTP(w, r)
	for _, name := range []string{"request_duration", "token_wait"} { // the first request waited for a token
		if n := len(regexp.MustCompile(name+`_seconds_bucket\S* \d+ # \{trace_id="`+exampleTrace+`"\}`).FindAllString(w.Body.String(), -1)); n != 1 {
			t.Errorf("the trace id is the exemplar of %d buckets of %s", n, name)
		}
	}
	if strings.Contains(s.log.String()+w.Body.String(), "alice") || strings.Contains(s.log.String(), "opaque") {
		t.Error("the log has more of the fields")
	}
}
