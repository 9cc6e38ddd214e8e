package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// redirecting is a sidecar whose routes alpha and beta share a host, with a
// dedicated listener for alpha, and its metrics.
func redirecting(t *testing.T) (s *side, dedicated string, m *metrics.Metrics) {
	t.Helper()
	s = newSide(t, setup{config: func(c *Config) { m = c.Metrics }, upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{s.oauth2("alpha", s.up.url()+"/v1"), s.oauth2("beta", s.up.url()+"/beta")}
	}})
	h, err := s.proxy.RouteHandler("alpha")
	if err != nil {
		t.Fatal(err)
	}
	dedicated, _ = s.serve(h)
	return s, dedicated, m
}

// says makes the target answer every request with a status, header lines and a body.
func (s *side) says(status int, lines ...string) {
	body := "of-the-target"
	if status == http.StatusNotModified {
		body = ""
	}
	s.up.say(fmt.Sprintf("HTTP/1.1 %d X\r\nX-From: of-the-target\r\nContent-Length: %d\r\n%s\r\n%s", status, len(body), joinLines(lines), body))
}

// redirectsCounted are the series of alpha: own, foreign, refused.
func redirectsCounted(t *testing.T, m *metrics.Metrics) [3]float64 {
	t.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var n [3]float64
	for _, family := range families {
		if family.GetName() != "token_sidecar_redirects_total" {
			continue
		}
		for _, series := range family.GetMetric() {
			if labels := series.GetLabel(); labels[1].GetValue() == "alpha" {
				n[map[string]int{"own": 0, "foreign": 1, "refused": 2}[labels[0].GetValue()]] = series.GetCounter().GetValue()
			}
		}
	}
	return n
}

// Redirects reach the app with another Location or with none, and the sidecar never follows
// them.
//
// Cases B6, P2.
func TestRedirectsLeadThroughTheSidecar(t *testing.T) {
	s, dedicated, m := redirecting(t)
	evil := newUp(t, listen(t))
	main, at := s.addr, s.up.url()
	var counted [3]float64
	for _, status := range []int{200, 201, 202, 300, 301, 302, 303, 304, 305, 307, 308, 399, 401, 503} {
		for _, way := range []struct{ addr, target, front string }{
			{main, "/alpha/a", "/alpha"}, {dedicated, "/a", ""}, {main, at + "/v1/a", "/v1"}} {
			s.addr = way.addr
			for i, row := range [][][2]string{
				{{"/v1/x?y#z", way.front + "/x?y#z"}, {at + "/v1/x", way.front + "/x"}, {"x", way.front + "/x"}},
				{{"https://other.example/x", "https://other.example/x"}, {"/z", at + "/z"}, {"//other.example/x", "http://other.example/x"}},
				{{evil.url() + "/x", ""}, {"/beta/x", ""}, {"http://" + main + "/alpha/x", ""}, {"x\r\n%s: x", ""}},
			} {
				for _, c := range row {
					s.redirects(way.target, status, c[0], c[1])
					if status/100 == 3 {
						counted[i]++
					}
				}
			}
		}
	}
	if got := redirectsCounted(t, m); got != counted {
		t.Errorf("own, foreign, refused: %v counted, want %v", got, counted)
	}
	if len(evil.requests()) != 0 {
		t.Error("the sidecar followed a redirect")
	}
}

// redirects fails the test unless the target's answer with these references becomes
// want, or, if that is empty, is refused where clients would follow it.
func (s *side) redirects(path string, status int, to, want string) {
	s.t.Helper()
	lines := []string{"Refresh: 0; url=x"}
	for _, name := range []string{"Location", "Content-Location"} {
		lines = append(lines, name+": "+strings.ReplaceAll(to, "%s", name))
	}
	s.says(status, lines...)
	before := len(s.up.requests())
	a := s.get(path)
	if n := len(s.up.requests()) - before; n != 1 && (n != 2 || status != 401) {
		s.t.Errorf("%d to %q: %d requests at the target", status, to, n)
	}
	if status/100 == 3 && want == "" {
		a.problem(s.t, 502, "redirect_refused")
		if strings.Contains(fmt.Sprint(a), "of-the-target") {
			s.t.Errorf("%d to %q: the app got %v", status, to, a)
		}
		return
	}
	got := strings.Join(a.header["Location"], "|") + " " + strings.Join(a.header["Content-Location"], "|")
	if a.status != status || got != want+" "+want || a.header.Get("X-From") != "of-the-target" || a.header["Refresh"] != nil {
		s.t.Errorf("%d to %q, asked for %s: %v, want %q", status, to, path, a, want)
	}
}

// References in answers to upgrades and in informational answers are rewritten, too, and
// trailers hold none.
//
// Case P2.
func TestReferencesInEveryKindOfHeadAreRewritten(t *testing.T) {
	s, _, _ := redirecting(t)
	s.up.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Location, X-T\r\n\r\n2\r\nok\r\n0\r\n" +
		"Location: /beta/x\r\nContent-Location: /beta/x\r\nLink: </beta/x>\r\nRefresh: 0; url=/beta/x\r\nX-T: 1\r\n\r\n")
	a := s.get("/alpha/a")
	if all := fmt.Sprint(a.header, a.trailer); a.body != "ok" || strings.Contains(all, "beta") || a.trailer.Get("X-T") != "1" {
		t.Errorf("the app sees %s", all)
	}
	s.up.play(func(r *upRequest) bool {
		r.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nLink: </v1/x>, </beta/x>\r\nLocation: /beta/x\r\n\r\n")
		return false
	})
	a = s.get("/alpha/a", "Connection: Upgrade", "Upgrade: websocket")
	if a.status != 101 || a.header.Get("Link") != "</alpha/x>" || a.header["Location"] != nil {
		t.Errorf("upgrade: %v", a)
	}
	h := http.Header{"Link": {"</v1/x>; rel=preload"}, "Location": {"/beta/x"}, "X-A": {"1"}} // 103 Early Hints
	asked(t, s.proxy, "/alpha/a", "", "X-B: 1").rewriteReferences(h)
	if got := fmt.Sprint(h); got != "map[Link:[</alpha/x>; rel=preload] X-A:[1]]" {
		t.Errorf("early hints: %s", got)
	}
}

// A reference that shows the token is withheld, wherever it leads.
//
// Case P2.
func TestTokenInALocationIsWithheld(t *testing.T) {
	s, _, _ := redirecting(t)
	s.warm()
	for _, to := range []string{"/v1/x?t=", "https://other.example/?t="} {
		s.says(302, "Location: "+to+tokenOf(1), "Link: <"+to+tokenOf(1)+">")
		if a := s.get("/alpha/a"); a.status != 302 || a.header["Location"] != nil || a.header["Link"] != nil {
			t.Errorf("%v", a)
		}
	}
}
