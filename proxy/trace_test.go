package proxy

import (
	"net/http"
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
	if strings.Contains(s.log.String(), "alice") || strings.Contains(s.log.String(), "opaque") {
		t.Error("the log has more of the fields")
	}
}
