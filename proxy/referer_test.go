package proxy

import "testing"

// A program that follows a redirect may name the URL that it comes from. The
// target does not see it: the URL may hold a subject.
//
// Case P6.
func TestRefererOfThoseWhoFollowPointsToTheTarget(t *testing.T) {
	s, dedicated, _ := redirecting(t)
	main, at := s.addr, s.up.url()
	for _, c := range []struct{ addr, path, host, referer string }{
		{main, "/alpha/x", main, "http://" + main + "/alpha/a?b"},
		{main, "/alpha/x", "LocalHost:8080", "http://localhost:8080/alpha/~a"},
		{main, "/alpha/x", "localhost", "HTTP://localhost:80/"},
		{main, "/alpha/x", "[::1]:8080", "http://[::1]:8080/x"},
		{dedicated, "/x", dedicated, "http://" + dedicated + "/a"},
		{main, "/alpha/x", main, at + "/v1/a"}, // as a target is told it, over https too
		{main, "/alpha/x", main, "https" + at[4:] + "/anything"},
		{main, at + "/v1/x", at[7:], at + "/v1/a"},
		{main, at + "/v1/x", "localhost", at + "/v1/a"},
	} {
		s.addr = c.addr
		a := s.get(c.path, "Host: "+c.host, "Referer: "+c.referer)
		if a.status != 200 || s.up.last().header("referer") != nil {
			t.Errorf("%s with Host %s and Referer %s: %d, the target saw %q", c.path, c.host, c.referer, a.status, s.up.last().head)
		}
		if a := s.send("POST", c.path, "streamed", "Host: "+c.host, "referer: "+c.referer); a.status != 200 || s.up.last().header("referer") != nil {
			t.Errorf("POST %s with Referer %s: %d, the target saw %q", c.path, c.referer, a.status, s.up.last().head)
		}
	}
}

// A Referer that is neither the sidecar's nor a target's is that of a page, and refused.
//
// Case P6.
func TestRefererOfPagesIsWithheld(t *testing.T) {
	s, _, _ := redirecting(t)
	own := "Referer: http://localhost:8080/alpha/a"
	for _, lines := range [][]string{
		{"Referer: https://evil.example/"}, {"Referer: http://localhost/"}, {"Referer: http://localhost:8081/"}, {"Referer: https://localhost:8080/"},
		{"Referer: http://localhost.evil.example:8080/"}, {"Referer: http://127.0.0.1:8080/"}, {"Referer: http://evil.example/?http://localhost:8080/"},
		{"Referer: http://user@localhost:8080/"}, {"Referer: http://localhost:8080@evil.example/"}, {"Referer: http://evil.example\\@localhost:8080/"},
		{"Referer:"}, {"Referer: /alpha/a"}, {"Referer: localhost:8080"}, {"Referer: //localhost:8080/a"}, {"Referer: about:blank"}, {"Referer: http://%zz/"},
		{"Referer: ftp://localhost:8080/"}, {"Referer: null"}, {"Referer: " + s.up.url()[:len(s.up.url())-1]}, {"Referer: ws" + s.up.url()[4:]},
		{own, own}, {own, "Referer: https://evil.example/"}, {own, "referer:"},
		{own, "Origin: http://localhost:8080"}, {own, "Sec-Fetch-Site: same-origin"},
	} {
		lines = append(lines, "Host: localhost:8080")
		s.get("/alpha/x", lines...).problem(t, 403, "browser_refused")
		s.send("POST", "/alpha/x", "x=1", lines...).problem(t, 403, "browser_refused")
	}
	s.get(s.up.url()+"/v1/x", "Host: localhost", "Referer: http://localhost/").problem(t, 403, "browser_refused") // in absolute form, not its own
	s.untouched()
}
