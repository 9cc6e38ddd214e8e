package proxy

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"token-sidecar/upstream"
)

// redirects is a sidecar without connections, whose routes have their targets at
// two hosts. The routes alpha and twin are one place.
func redirects(t *testing.T) *Proxy {
	t.Helper()
	p := &Proxy{routes: map[string]*route{}, config: Config{Hosts: NewHosts([]string{"sidecar.internal"}, false)}}
	s := &side{t: t, idp: &issuer{}}
	for _, u := range []upstream.Upstream{
		s.oauth2("alpha", "https://api.example/v1"), s.oauth2("twin", "https://api.example/v1"), s.oauth2("deep", "https://api.example/v1/deep"),
		s.oauth2("beta", "https://api.example/beta"), s.oauth2("gamma", "https://gamma.example:8443/g"), s.oauth2("dotted", "https://dotted.example./d"),
		s.oauth2("whole", "https://root.example"), s.oauth2("local", "http://127.0.0.1:4711/l"), s.withSubject("https://api.example/o"),
	} {
		for _, r := range u.Routes() {
			p.routes[r.Name] = newRoute(r, u, nil, nil)
		}
	}
	return p
}

// withSubject is the upstream oclc, whose route takes a subject or none.
func (s *side) withSubject(target string) upstream.Upstream {
	return issuing{upstream.NewOCLC(upstream.OCLCConfig{WSKey: "id", Secret: upstream.NewSecret("shh"),
		Config: upstream.Config{TokenURL: mustURL("http://127.0.0.1:1/token"), Target: mustURL(target), Scope: "WorldCatMetadataAPI"}}), s.idp}
}

// asked is the exchange of a GET for target. With fixed, it came to the listener
// of that route.
func asked(t *testing.T, p *Proxy, target, fixed string, lines ...string) *exchange {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: app.internal:8080\r\n" + joinLines(lines) + "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.decide(r, p.routes[fixed])
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	return &exchange{proxy: p, in: r, decision: d}
}

// ways are the ways in to /a/b?q of a route. front is what an own URL begins with.
var ways = []struct{ name, target, fixed, line, base, front string }{
	{"prefix", "/alpha/a/b?q", "", "X-A: 1", "/v1", "/alpha"},
	{"subject in the path", "/oclc/~914%375/a/b?q", "", "X-A: 1", "/o", "/oclc/~914%375"},
	{"subject in a header", "/oclc/a/b?q", "", "X-Token-Subject: 91475", "/o", "/oclc"},
	{"dedicated listener", "/a/b?q", "alpha", "X-A: 1", "/v1", ""},
	{"dedicated listener, subject in the path", "/~91475/a/b?q", "oclc", "X-A: 1", "/o", "/~91475"},
	{"absolute form", "http://api.example/v1/a/b?q", "", "X-Token-Route: alpha", "/v1", "/v1"},
	{"absolute form, dedicated listener", "http://api.example/v1/a/b?q", "alpha", "X-Token-Route: alpha", "/v1", "/v1"},
}

// By whichever way a request came in, references to its own target lead back by that way.
//
// Case P2.
func TestReferencesToTheOwnTargetStayInTheSidecar(t *testing.T) {
	eitherWay(t)
	p := redirects(t)
	for _, way := range ways {
		x := asked(t, p, way.target, way.fixed, way.line)
		for ref, want := range map[string]string{
			"{base}/x": "/x", "{base}": "/", "{base}/": "/", "{base}?y": "/?y", "{base}/x/": "/x/", "{base}/a//b": "/a//b",
			"c": "/a/c", "./c": "/a/c", "../c": "/c", ".": "/a/", "..": "/", "c/../d": "/a/d", "../a/./c": "/a/c", "?x=1": "/a/b?x=1", "?": "/a/b?",
			"https://api.example{base}/x": "/x", "http://api.example{base}/x": "/x", "HTTPS://API.example:443{base}/x": "/x",
			"http://api.example.:0080{base}/x": "/x", "//api.example{base}/x": "/x", "https://api.example{base}": "/",
			"{base}/x?a=%zz&b=1;c?d#e%2Ff": "/x?a=%zz&b=1;c?d#e%2Ff", "https://api.example{base}/x?y=/../z#/..": "/x?y=/../z#/..",
			"{base}/a%2Fb%20c%41;v=1,2": "/a%2Fb%20c%41;v=1,2", "{base}/é x": "/%C3%A9%20x", "{base}/\xff|<\">{}`^": "/%FF%7C%3C%22%3E%7B%7D%60%5E",
			"{base}/x?é=ü y#ß": "/x?%C3%A9=%C3%BC%20y#%C3%9F", "{base}/a%2Fb|c": "/a%2Fb%7Cc", "{base}/x?url=http://localhost/": "/x?url=http://localhost/",
			"{base}/x/~bob": "/x/~bob", "{base}/.well-known/x": "/.well-known/x", "{base}/x:y@z": "/x:y@z",
		} {
			if want == "/x?a=%zz&b=1;c?d#e%2Ff" && ref[0] != '{' {
				continue
			}
			ref = strings.ReplaceAll(ref, "{base}", way.base)
			if got, to := x.rewriteReference(ref); got != way.front+want || to != toOwn {
				t.Errorf("%s: %q became %q (%s), want %q", way.name, ref, got, to, way.front+want)
			}
		}
		for _, ref := range []string{"", "#top"} { // of the URL that was asked
			if got, to := x.rewriteReference(ref); got != ref || to != toOwn {
				t.Errorf("%s: %q became %q (%s)", way.name, ref, got, to)
			}
		}
	}
	// A subject within the path of the target is no subject of the sidecar's.
	for _, c := range [][3]string{{"/oclc/~91475/a", "/o/~bob", "/oclc/~91475/~bob"}, {"http://api.example/o/a", "/o/~bob/x", "/o/~bob/x"},
		{"/whole/a", "//root.example/b", "/whole/b"}, {"/whole/a", "/b", "/whole/b"}, {"/whole", "b", "/whole/b"}, {"/gamma/a", "https://gamma.example:8443/g/b", "/gamma/b"},
		{"/dotted/a", "https://dotted.example/d/b", "/dotted/b"}, {"/local/a", "http://127.0.0.1:4711/l/b", "/local/b"},
		{"/alpha/a", "/v1/deep/x", "/alpha/deep/x"}, {"/alpha/{|}/a%2Fb", "c", "/alpha/%7B%7C%7D/c"}} {
		if got, to := asked(t, p, c[0], "").rewriteReference(c[1]); got != c[2] || to != toOwn {
			t.Errorf("%s: %q became %q (%s), want %q", c[0], c[1], got, to, c[2])
		}
	}
}

// TestAbsoluteFormTakesAHostInAnySpelling: a request in absolute-form finds its route by the
// same rule by which references to the route's target are found.
func TestAbsoluteFormTakesAHostInAnySpelling(t *testing.T) {
	eitherWay(t)
	p := redirects(t)
	for _, host := range []string{"api.example", "API.example", "api.example:80", "api.example:443", "api.example."} {
		if x := asked(t, p, "http://"+host+"/beta/x", ""); x.route.Name != "beta" || x.path != "/beta/x" {
			t.Errorf("%s: route %s, path %s", host, x.route.Name, x.path)
		}
	}
	if r, _, err := p.routeByHost(mustURL("http://api.example:8443/"), "/beta/x", ""); err != errUnknownHost {
		t.Errorf("another port leads to %v (%v)", r, err)
	}
}

// References to elsewhere are for the app to follow, and are absolute.
//
// Case P2.
func TestForeignReferencesPass(t *testing.T) {
	eitherWay(t)
	p := redirects(t)
	for _, way := range ways {
		x := asked(t, p, way.target, way.fixed, way.line)
		for ref, want := range map[string]string{
			"https://other.example/x?y#z": "", "http://other.example": "", "https://user:pw@other.example/": "", "mailto:a@b.example": "", "urn:isbn:1": "",
			"com.example.app:/back": "", "tel:127": "", "git+ssh://other.example/x": "", "mailto:a@api.example": "", "https://other.example:8080/alpha/~bob/../x": "", "https://192.0.2.1/": "", "https://[2001:db8::1]:8080/": "",
			"https://sub.api.example/v1/x": "", "https://api.example:444/v1/x": "", "https://gamma.example/g/x": "", "https://other_host.example/": "",
			"https://0x7f.example/": "", "https://localhost.example/": "", "https://1.example/": "", "https://other.example/?u=http://localhost/": "",
			"//other.example/x": "https://other.example/x", "/elsewhere?y#z": "https://api.example/elsewhere?y#z", "/": "https://api.example/",
			"../../../x": "https://api.example/x", "/v12/x": "https://api.example/v12/x", "/V1/x": "https://api.example/V1/x",
			"https://gamma.example:8443/h": "", "https://api.example/elsewhere/x": "", "https://other.example/é x": "https://other.example/%C3%A9%20x",
		} {
			if want == "" {
				want = ref
			}
			if got, to := x.rewriteReference(ref); got != want || to != toForeign {
				t.Errorf("%s: %q became %q (%s), want %q", way.name, ref, got, to, want)
			}
		}
	}
}

// steering are references by which a target would have the app ask the sidecar for
// something else, or that clients read in more than one way.
var steering = []string{
	"ftp://127.0.0.1:2121/x", "FTP://[::1]/", "gopher://localhost/x", "ws://127.0.0.1:9090/", "dict://0x7f.1/x", "http://ip6-localhost/x", "https://loopback:1/",
	// Another route, or this one by a spelling that is not its own.
	"/beta/x", "/beta", "https://api.example/beta/x", "http://api.example/beta", "//API.EXAMPLE./beta/x", "https://api.example:80/beta/x",
	"https://gamma.example:8443/g/x", "http://gamma.example:8443/g", "https://dotted.example/d", "https://dotted.example./d/x",
	"/%62eta/x", "/bet%61", "/x/../beta/x", "https://root.example/", "https://root.example", "gamma.example:8443/g", "root.example:80/x", "/%761/x",
	// Paths that some client or server reads otherwise.
	"{base}/%2e%2e/beta/x", "{base}/x/%2E%2e/%2e./y", "{base}/..%2fbeta/x", "{base}/..;/beta/x", "{base}/%252e%252e/x", "/x/%2e%2e/beta/y",
	"https://gamma.example:8443/x/%2e%2e/g", "{base}/x\\y", "{base}/x%5c..%5cy", "\\\\localhost\\beta", "/\\localhost/beta", "{base}/x\ty", "{base}/x\x00",
	"{base}/x\x7f", "{base}/%00", "{base}//evil.example/x", "{base}//", "https://api.example{base}//x", "{base}/%zz", "{base}/%", "a\\b?c", "{base}/x?y\\z",
	// No host, or not the one it seems to be.
	"///localhost/beta/x", "////x", "http:", "http:beta", "https:/beta/x", "https:///beta/x", "http://", "http:///", "//", "https://:8080/x", "https://./x",
	"https://user@api.example{base}/x", "https://user:pw@api.example/elsewhere", "https://user@gamma.example:8443/x", "https://a@b@other.example/",
	"https://other.example\\@localhost/", "https://[::1", "https://a b.example/", "https://h:port/", "https://%6cocalhost/", "1:2", "localhost:x:y/z",
	"https://ｌｏｃａｌｈｏｓｔ/", "https://１２７.0.0.1/", "https://127。0。0。1/", "https://a;b/", "https://a,b/",
	// The sidecar itself, or whatever listens beside it.
	"http://localhost/alpha/x", "http://localhost:8080/beta/~bob/x", "http://LocalHost.:9090/", "//localhost:8080/beta", "http://x.localhost/", "localhost:8080/beta",
	"http://127.0.0.1/", "http://127.0.0.1:8080/alpha/x", "http://127.0.0.1:9090/metrics", "http://127.9.8.7/", "http://127.0.0.1./", "http://user@127.0.0.1/",
	"http://[::1]:8080/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::]/",
	"http://[::ffff:0.0.0.0]/", "http://[::1%25lo]/", "http://0.0.0.0:8080/", "http://0/", "http://0x7f.1/", "http://0X7F000001:8080/", "http://2130706433/",
	"http://127.1/", "http://0177.0.0.1/", "http://017700000001/", "http://127.0.0.01/", "http://127.0.0.0x1/", "http://127.0.0.1.0x/", "http://1.2.3.4.5/",
	"http://sidecar.internal/alpha/x", "http://Sidecar.Internal.:8081/x", "sidecar.internal:80/x", "https://localhost:443/", "http://127.0.0.1:4711/l/x",
}

// No reference of a target has the app use another route or subject.
//
// Case P2.
func TestSteeringReferencesAreRefused(t *testing.T) {
	eitherWay(t)
	p := redirects(t)
	for _, way := range ways {
		x := asked(t, p, way.target, way.fixed, way.line)
		for _, ref := range steering {
			if way.base == "/o" && ref == "/%761/x" {
				ref = "/%6f/x"
			}
			ref = strings.ReplaceAll(ref, "{base}", way.base)
			if got, to := x.rewriteReference(ref); got != "" || to != toRefused {
				t.Errorf("%s: %q became %q (%s)", way.name, ref, got, to)
			}
		}
	}
	for _, c := range [][]string{
		// A subject that the request did not name. Requests decodes %7E when it follows.
		{"/alpha/a", "", "/v1/~bob/x", "/v1/~bob", "~bob", "/v1/%7Ebob/x", "/v1/%7ebob", "/v1/x/../~bob/x"},
		{"/oclc/a", "", "/o/~91475/x", "https://api.example/o/%7e91475/x"},
		{"/a", "oclc", "/o/~91475/x", "https://api.example/o/%7e91475/x", "../o/~91475"},
		// The host and name that the app knows the sidecar by.
		{"/alpha/a", "", "http://app.internal/x", "http://APP.internal.:8081/beta", "app.internal:8080/x"},
		// In absolute form the longest base would choose the route.
		{"http://api.example/v1/a", "", "/v1/deep/x", "deep/x", "/v1/%64eep/x", "https://api.example/v1/deep"},
		{"http://root.example/a", "", "//root.example//x", "https://root.example//evil.example/"},
		{"/local/a", "", "http://127.1:4711/l/b", "http://127.0.0.1:4712/l/b", "http://localhost:4711/l/b"},
	} {
		lines := []string{"X-A: 1"}
		if strings.Contains(c[0], "/v1") {
			lines = []string{"X-Token-Route: alpha"}
		}
		x := asked(t, p, c[0], c[1], lines...)
		for _, ref := range c[2:] {
			if got, to := x.rewriteReference(ref); got != "" || to != toRefused {
				t.Errorf("%s: %q became %q (%s)", c[0], ref, got, to)
			}
		}
	}
	// In absolute form the name is the target's, and says nothing of the sidecar.
	p.config.Hosts = NewHosts(nil, true)
	if _, to := asked(t, p, "/alpha/a", "").rewriteReference("https://192.0.2.1/"); to != toRefused {
		t.Error("a sidecar that answers to any address sends the app to one")
	}
}
