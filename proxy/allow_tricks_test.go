package proxy

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// tricks are requests of an app that is let read surveys and answer one, and wants more. Each is
// what is sent on one connection.
func tricks() (all []string) {
	const end = "Host: localhost\r\nConnection: close\r\n\r\n"
	for _, p := range []string{
		"/v1/surveys", "/v1/surveys/", "/v1/surveys//", "/v1//surveys/7", "//v1/surveys/7", "/v1/surveys/7/", "/v1/surveys/7//", "/v1/surveys/7/x",
		"/V1/surveys/7", "/v1/Surveys/7", "/v1/surveys/7/../8/x", "/v1/surveys/..", "/v1/surveys/../users", "/v1/surveys/%2e%2e/users", "/v1/surveys/.%2E/users",
		"/v1/surveys/%252e%252e/users", "/v1/surveys/7%2Fdelete", "/v1/surveys/7%2fdelete", "/v1/surveys/7%252Fdelete", "/v1/surveys/7%5Cdelete", `/v1/surveys/7\delete`,
		"/v1/surveys/7;a=/../../users", "/v1/surveys/;/users", "/v1/surveys/7%3B/x", "/v1/surveys/%00", "/v1/surveys/7%00/x", "/v1/surveys/7%0a", "/v1/surveys/7%23", "/v1/surveys/7#/x",
		"/v1/surveys/%u002e%u002e/users", "/v1/surveys/%c0%ae%c0%ae/users", "/v1/surveys/%ef%bc%8fusers", "/v1/surveys/.", "/v1/surveys/%2e", "/v1/./surveys/7/x",
		"/v1/surveys%2F7", "/v1%2Fsurveys%2F7", "/v1/surveys/7%", "/v1/surveys/%zz", "/%76%31/users", "/v1/users?/v1/surveys/7", "/v1/surveys/~other/x", "/~me/v1/users", "/alpha/v1/surveys/7",
		"/v1/surveys/..%20", "/v1/surveys/%20..", "/v1/surveys/..%3fx", "/v1/surveys/..%23", "/v1/surveys/%25252e%25252e", "/v1/surveys/a%E2%88%95b", "/v1/surveys/..%ff",
	} {
		all = append(all, "GET /alpha"+p+" HTTP/1.1\r\n"+end)
	}
	for _, method := range []string{"DELETE", "PUT", "PATCH", "get", "Post", "GETS", "TRACE", "CONNECT", "PROPFIND", "OPTIONS", "QUERY"} {
		all = append(all, method+" /alpha/v1/surveys/7 HTTP/1.1\r\n"+end)
	}
	for _, override := range []string{"X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE", "x_http_method_override: DELETE",
		"X-HTTP-Method-Override : DELETE", " X-HTTP-Method-Override: DELETE", "X-Original-URL: /v1/users", "X-Rewrite-URL: /v1/users",
		"Connection: X-HTTP-Method-Override\r\nX-HTTP-Method-Override: DELETE", "X-Token-Route: beta"} {
		all = append(all, "POST /alpha/v1/surveys/7 HTTP/1.1\r\n"+override+"\r\nContent-Length: 0\r\n"+end)
	}
	const hidden = "GET /v1/users HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for _, framing := range []string{"Content-Length: 0", "Content-Length: 0\r\nContent-Length: 9", "Content-Length: +0", "Content-Length: 0x0", "Content-Length: 0, 0", "Transfer-Encoding: chunked",
		"Transfer-Encoding: chunked\r\nContent-Length: 5", "Transfer-Encoding: identity", "Transfer-Encoding: xchunked", "Transfer-Encoding: chunked, identity", "Transfer-Encoding:\vchunked", "Expect: 100-continue"} {
		body := hidden
		if strings.Contains(framing, "chunked") {
			body = "0\r\n\r\n" + hidden
		}
		all = append(all, "POST /alpha/v1/surveys/7 HTTP/1.1\r\nHost: localhost\r\n"+framing+"\r\n\r\n"+body)
	}
	return append(all,
		"GET http://localhost/alpha/v1/users HTTP/1.1\r\n"+end,
		"GET http://{target}/v1/users HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n",
		"GET http://{target}/v1/surveys/../users HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n",
		"GET /alpha/v1/surveys/7 HTTP/0.9\r\n"+end,
		"GET  /alpha/v1/users HTTP/1.1\r\n"+end,
		"GET /alpha/v1/surveys/7 /v1/users HTTP/1.1\r\n"+end,
		"GET /alpha/v1/users\tHTTP/1.1\r\n"+end)
}

// TestTricksReachNothingThatTheListDoesNotName sends requests that some target may read otherwise than the
// sidecar does. Whatever reaches the target is on the list, however it is read.
func TestTricksReachNothingThatTheListDoesNotName(t *testing.T) {
	s := newSide(t, setup{config: func(c *Config) {
		c.Allow = map[string]AllowList{"alpha": mustAllow(t, "GET /v1/surveys/{id}", "POST /v1/surveys/{id}")}
	}})
	all := tricks()
	if len(all) < 60 {
		t.Fatalf("%d tricks", len(all))
	}
	target := strings.TrimPrefix(s.up.url(), "http://")
	sent := 0
	for _, trick := range append(all, "GET /alpha/v1/surveys/7 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") {
		c := dialRaw(t, s.addr)
		c.write(strings.ReplaceAll(trick, "{target}", target))
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		c.rest(patience) // until the sidecar has closed
		_ = c.Close()
		for _, r := range s.up.requests()[sent:] {
			if sent++; !named(r) {
				t.Errorf("the target got %s\nfrom %q", r.head, trick)
			}
		}
	}
	if last := s.up.last(); last.target != "/v1/surveys/7" {
		t.Errorf("the request that is allowed did not come last, but %s", last.target)
	}
	t.Logf("of %d tricks %d came through as requests that the list names", len(all), sent-1)
}

// named reports whether a request is on the list of the test in each way to read it.
func named(r *upRequest) bool {
	if !slices.Contains([]string{"GET", "HEAD", "POST"}, r.method) || slices.ContainsFunc(r.lines, overrides.MatchString) {
		return false
	}
	p, _, _ := strings.Cut(r.target, "?")
	readings := []string{p}
	for range 3 { // decoded once, twice, three times
		decoded, err := url.PathUnescape(p)
		if err != nil {
			break // no target can decode it
		}
		readings, p = append(readings, decoded), decoded
	}
	for _, p := range readings {
		p = strings.NewReplacer(`\`, "/", "\x00", "/", ";", "/").Replace(p)
		p, _, _ = strings.Cut(p, "#")
		if !surveyPath.MatchString(p) || path.Clean(p) != p {
			return false
		}
	}
	return true
}

var (
	overrides  = regexp.MustCompile(`(?i)^\s*x[-_](http[-_])?method|^\s*x[-_](original|rewrite)[-_]url`)
	surveyPath = regexp.MustCompile(`^/v1/surveys/[^/]+$`)
)

// TestJudgeOfTricksKnowsThem makes sure that the test above would notice.
func TestJudgeOfTricksKnowsThem(t *testing.T) {
	for line, want := range map[string]bool{"GET /v1/surveys/7": true, "GET /v1/surveys/7%2Fx": false, "GET /v1/surveys/7%252Fx": false, "GET /v1/users": false,
		"DELETE /v1/surveys/7": false, "GET /v1/surveys/%2e%2e": false, "GET /v1/surveys/7;a=/x": false, "GET /v1/surveys/100%": true} {
		r := &upRequest{}
		if _, err := fmt.Sscanf(line, "%s %s", &r.method, &r.target); err != nil || named(r) != want {
			t.Errorf("%s: %v", line, err)
		}
	}
	if named(&upRequest{method: "GET", target: "/v1/surveys/7", lines: []string{"X-HTTP-Method-Override: DELETE"}}) {
		t.Error("an override is not noticed")
	}
}
