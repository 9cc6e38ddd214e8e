package proxy

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"token-sidecar/upstream"
)

// followers are clients that follow redirects by themselves. takes is what they
// take along to another host, beside what they send with every request.
var followers = []struct {
	name      string
	get       func(t *testing.T, errands []errand) []fetched
	httpProxy bool // heeds http_proxy
	takes     string
}{
	{"curl", curlGet, true, "x-sidecar-token x-token-subject"},
	{"urllib", scripted(urllibScript, "python3", "-c"), true, "x-sidecar-token x-token-subject"},
	{"requests", scripted(requestsScript, "python3", "-c"), true, "x-sidecar-token x-token-subject"},
	{"fetch", scripted(fetchScript, "node", "--input-type=module", "-e"), false, "x-sidecar-token x-token-subject"},
	{"net/http", goGet, true, "referer x-sidecar-token x-token-subject"},
}

// Clients that follow redirects by themselves arrive at the target, by
// each way in, with the right token and through the sidecar. What they send to a
// foreign host is what docs/requests.md says, and nothing of the sidecar's.
//
// Cases B6, P2, P6.
func TestClientsThatFollowRedirectsStayInTheSidecar(t *testing.T) {
	if testing.Short() {
		t.Skip("starts other programs, which -short leaves out")
	}
	for _, c := range followers {
		t.Run(c.name, func(t *testing.T) {
			s, dedicated := followed(t)
			foreign := newUp(t, listen(t))
			errands := s.errands(dedicated, foreign.l.Addr().String(), c.httpProxy)
			for i, got := range c.get(t, errands) {
				e := errands[i]
				if got.Status != 200 || (e.leadsTo != "" && got.Body != "arrived") {
					t.Errorf("%s: %d %q", e.URL, got.Status, got.Body)
				} else if e.leadsTo != "" {
					s.arrived(e)
				}
			}
			visits := foreign.requests()
			if len(visits) != 2 {
				t.Errorf("%d requests at the foreign host, want 2", len(visits))
			}
			for _, r := range visits {
				if got := takenAlong(r); got != c.takes || strings.Contains(r.head, "canary") || r.target != "/x" {
					t.Errorf("the foreign host saw %s: %q", got, r.head)
				}
			}
		})
	}
}

// errands are all ways in with each form of a redirect to the own target, and two
// with one to the foreign host.
func (s *side) errands(dedicated, foreign string, httpProxy bool) []errand {
	var all []errand
	_, port, _ := net.SplitHostPort(foreign)
	for _, way := range []struct{ front, subject, proxy string }{
		{"http://" + s.addr + "/oclc", "91475", ""},
		{"http://" + s.addr + "/oclc/~91475", "", ""},
		{"http://" + dedicated, "91475", ""},
		{"http://" + dedicated + "/~91475", "", ""},
		{s.up.url() + "/o", "91475", "http://" + s.addr},
	} {
		if way.proxy != "" && !httpProxy {
			continue
		}
		headers := map[string]string{"X-Sidecar-Token": "caller-secret"}
		if way.subject != "" {
			headers["X-Token-Subject"] = way.subject
		}
		for _, front := range []string{"", "/o/", s.up.url() + "/o/"} {
			end := fmt.Sprintf("end?x=%d", len(all))
			all = append(all, errand{way.front + "/start?" + front + end, headers, way.proxy, "", "/o/" + end})
		}
		if way.subject != "" && way.proxy == "" {
			all = append(all, errand{way.front + "/start?http://" + foreignHost + ":" + port + "/x", headers, "", foreign, ""})
		}
	}
	return all
}

// arrived fails the test unless the end of an errand was asked for once, with the
// token of its subject and nothing that is the sidecar's.
func (s *side) arrived(e errand) {
	s.t.Helper()
	n := 0
	for _, r := range s.up.requests() {
		if r.target != e.leadsTo {
			continue
		}
		n++
		r.authorized(s.t, "canary-of-91475")
		if strings.Contains(r.head, "caller-secret") || r.header("x-token-subject") != nil || r.header("referer") != nil {
			s.t.Errorf("%s: the target saw %q", e.URL, r.head)
		}
	}
	if n != 1 {
		s.t.Errorf("%s: %d requests for %s reached the target", e.URL, n, e.leadsTo)
	}
}

// takenAlong lists the headers of a request that clients do not send anyway.
func takenAlong(r *upRequest) string {
	var names []string
	for _, line := range r.lines {
		name, _, _ := strings.Cut(strings.ToLower(line), ":")
		switch name {
		case "host", "user-agent", "accept", "accept-encoding", "accept-language", "connection", "sec-fetch-mode":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// followed is a sidecar whose route oclc has tokens that tell their subject, and
// the address of a listener for that route alone. Its target redirects /o/start to
// what the query says.
func followed(t *testing.T) (s *side, dedicated string) {
	t.Helper()
	s = newSide(t, setup{config: func(c *Config) { c.CallerToken = upstream.NewSecret("caller-secret") },
		upstreams: func(s *side) []upstream.Upstream {
			return []upstream.Upstream{telling{s.withSubject(s.up.url() + "/o")}}
		}})
	s.up.play(func(r *upRequest) bool {
		r.readBody()
		if to, start := strings.CutPrefix(r.target, "/o/start?"); start {
			r.say("HTTP/1.1 302 Found\r\nLocation: " + to + "\r\nContent-Length: 0\r\n\r\n")
		} else {
			r.say(ok("arrived"))
		}
		return true
	})
	h, err := s.proxy.RouteHandler("oclc")
	if err != nil {
		t.Fatal(err)
	}
	dedicated, _ = s.serve(h)
	return s, dedicated
}

// telling is an upstream whose tokens tell their subject.
type telling struct{ upstream.Upstream }

// Fetch implements [upstream.Upstream].
func (telling) Fetch(_ context.Context, key upstream.Key, _ upstream.TokenSource) (upstream.Token, error) {
	now := time.Now()
	return upstream.NewToken("canary-of-"+key.Subject, key.Scope, now, now.Add(time.Hour))
}
