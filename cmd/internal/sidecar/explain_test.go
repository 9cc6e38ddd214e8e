package sidecar

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/metrics"
	"token-sidecar/proxy"
	"token-sidecar/upstream/upstreamtest"
)

// explainedRequests are requests, good and bad, to the routes humanapi, for subjects and with an allow
// list, and oclc.
func explainedRequests(target string) (all []asked) {
	urls := []string{
		"/humanapi/v1/human/medical", "/humanapi/v1/human/", "/humanapi/v2/x", "/humanapi/~person/v1/human/a", "/humanapi/~/v1/human/a", "/humanapi/v1//human/x",
		"/humanapi/v1/human/%2e%2e/x", "/humanapi/v1/human/a?access_token=x", "/humanapi", "/oclc", "/oclc/worldcat/bibs?q=a+b", "/oclc/~123/x", "/oclc/a/../b", "/oclc//x",
		"/oclc/a%5Cb", "/OCLC/x", "/", "/nobody/x", "/token/humanapi", "/token/humanapi/~person", "/token/oclc", "/oclc/a b", "/oclc/\u00fc",
		target + "/a/b", target, "http://elsewhere.example/x", "ftp://elsewhere.example/",
	}
	fields := [][]string{
		nil, {"X-Token-Subject: person"}, {"X-Token-Subject: 123", "Cookie: a=b", "X-Forwarded-For: 192.0.2.1", "Connection: close, X-Own", "X-Own: a"}, {"X-Token-Subject:"},
		{"X-Token-Scope: WMS_NCIP"}, {"Te: trailers", "X-Token-Subject: person"}, {"Origin: http://page.example"}, {"X_Token_Subject: a"}, {"Host: elsewhere.example"}, {"no colon"},
		{"X-Token-Subject: person", "X-Http-Method-Override: DELETE"}, {"X-Token-Route: oclc"}, {"X-Token-Subject: person", "X-Token-Purpose: care"},
		{"X-Token-Subject: person", "X-Token-Purpose: other"}, {"X-Sidecar-Token: wrong"},
	}
	methods := []string{"GET", "POST", "DELETE", "HEAD", "TRACE", "get"}
	for i := range len(urls) * len(fields) {
		a := asked{method: methods[i%len(methods)], url: urls[i%len(urls)], fields: fields[i%len(fields)]}
		if i/len(urls)%2 == 0 { // so that many are good
			a.method = "GET"
		}
		all = append(all, a)
	}
	return all
}

// verdict is what became of a request: the status and the code of a problem, or sent.
func verdict(t *testing.T, address, head, method string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(testkit.Patience))
	_, _ = io.WriteString(conn, head)
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	if code := regexp.MustCompile(`^token-sidecar; error=\S+ details="(\w+)"$`).FindStringSubmatch(res.Header.Get("Proxy-Status")); code != nil {
		return fmt.Sprint(res.StatusCode, " ", code[1])
	}
	return "sent"
}

// TestExplainSaysWhatTheSidecarDoes sends requests to a running sidecar, and has each explained.
func TestExplainSaysWhatTheSidecarDoes(t *testing.T) {
	human, oclc := upstreamtest.NewHumanAPI(upstreamtest.Options{}), upstreamtest.NewOCLC(upstreamtest.Options{})
	t.Cleanup(human.Close)
	t.Cleanup(oclc.Close)
	var got string // method and URL that the target saw last
	var fields http.Header
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, fields = r.Method+" http://"+r.Host+r.RequestURI, r.Header
		w.Header().Set("X-Target", "1")
	}))
	t.Cleanup(target.Close)
	environ := testkit.Environ("LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0", "HUMANAPI_CLIENT_ID="+human.ClientID(), "HUMANAPI_CLIENT_SECRET="+human.ClientSecret(), "HUMANAPI_TARGET="+target.URL+"/base",
		"HUMANAPI_TOKEN_URL="+human.TokenURL(), "OCLC_WSKEY="+oclc.ClientID(), "OCLC_SECRET="+oclc.ClientSecret(), "OCLC_TOKEN_URL="+oclc.TokenURL(),
		"OCLC_TARGET="+target.URL, "OCLC_ALLOW=GET /worldcat/,POST /{x},/a/b,GET /x,GET /{$}", "VEND=humanapi",
		"AUDIT=stdout", "AUDIT_KEY=a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "AUDIT_PURPOSES=care")
	settings, err := config.Parse(environ, goredis.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(settings, zerolog.Nop(), metrics.New("test"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	seen := map[string]int{}
	requests := explainedRequests(target.URL)
	for _, a := range requests {
		q, err := a.question(settings)
		if err != nil {
			t.Fatal(err)
		}
		got, fields = "", nil
		want := verdict(t, s.Addr("data").String(), q.head, a.method)
		seen[want]++
		args := []string{"explain", "--json"}
		for _, f := range a.fields {
			args = append(args, "-H", f)
		}
		var out bytes.Buffer
		err = Program{Redis: goredis.Driver{}}.Run(t.Context(), append(args, a.method, a.url), environ, &out, io.Discard)
		var exit *ExitError
		var e proxy.Explanation
		if json.Unmarshal(out.Bytes(), &e) != nil || (err != nil) != (want != "sent") || err != nil && !(errors.As(err, &exit) && exit.Code == 1) {
			t.Fatalf("%+v: %v %s", a, err, &out)
		}
		is := "sent"
		if e.Status != 0 {
			is = fmt.Sprint(e.Status, " ", e.Problem)
		}
		if is != want || e.Method+" "+e.Target != got && got != "" || e.HandedOn != (want == "sent" && got == "") {
			t.Errorf("%+v: the sidecar says %s of %q, explain %s", a, want, got, &out)
		}
		for _, name := range e.NotSent {
			if fields[name] != nil {
				t.Errorf("%+v: the target got %s", a, name)
			}
		}
		for _, f := range a.fields { // those that the target did not get, each of them
			name, _, _ := strings.Cut(f, ":")
			name = http.CanonicalHeaderKey(name)
			if got != "" && name != "Host" && fields[name] == nil && !slices.Contains(e.NotSent, name) {
				t.Errorf("%+v: the target did not get %s; not sent are %v", a, name, e.NotSent)
			}
		}
	}
	if len(requests) < 200 || seen["sent"] < 30 || len(seen) < 12 {
		t.Errorf("%d requests, verdicts %v", len(requests), seen)
	}
	if n := human.TokenRequests() + oclc.TokenRequests(); n > 10 {
		t.Errorf("%d token requests", n)
	}
}

func TestExplainIsForPeople(t *testing.T) {
	environ := testkit.Environ("OCLC_WSKEY=k", "OCLC_SECRET=s", "OCLC_LISTEN=127.0.0.1:18082", "LISTEN=127.0.0.1:18080")
	for args, want := range map[string]string{
		"GET /oclc/x": "verdict   it would be sent", "-H|X-Token-Subject: 5|GET|/oclc/x": "token     client for the subject in X-Token-Subject",
		"GET http://localhost:18082/x?a=b": "target    GET https://metadata.api.oclc.org/x?a=b", "GET http://localhost:18080/x": "refused: 404 unknown_route",
		"-H|Content-Length: 12|POST|/oclc/x": "verdict   it would be sent", "-H|Transfer-Encoding: chunked|POST|/oclc/x": "verdict   it would be sent",
		"GET http://metadata.api.oclc.org/a": "route     oclc", "GET /x": "No configured route matches.", "GET http://localhost:7/x": "must name it as",
	} {
		var out bytes.Buffer
		split := strings.Fields(args)
		if strings.Contains(args, "|") {
			split = strings.Split(args, "|")
		}
		_ = Program{Redis: goredis.Driver{}}.Run(t.Context(), append([]string{"explain"}, split...), environ, &out, io.Discard)
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: %s", args, &out)
		}
	}
	cert, key, _ := upstreamtest.NewCertificate()
	for url, want := range map[string]string{"http://localhost:18080/oclc/x": "refused: 400 tls_required", "http://localhost:18082/x": "refused: 400 tls_required",
		"https://localhost:18082/x": "it would be sent", "http://metadata.api.oclc.org/a": "it would be sent"} {
		var out bytes.Buffer
		_ = Program{Redis: goredis.Driver{}}.Run(t.Context(), []string{"explain", "GET", url}, append(testkit.Environ("TLS_CERT="+cert, "TLS_KEY="+key), environ...), &out, io.Discard)
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: %s", url, &out)
		}
	}
	for args, want := range map[string]string{
		"": "explain takes", "GET": "explain takes", "GET /x canary": "explain takes", "-X GET /canary": "explain takes", "GET canary": "neither a path",
		"GET https://api.example.org/canary": "tunnel", "GET https://localhost:18080/canary": "speaks plain HTTP",
	} {
		err := Program{Redis: goredis.Driver{}}.Run(t.Context(), append([]string{"explain"}, strings.Fields(args)...), environ, io.Discard, io.Discard)
		var exit *ExitError
		if !errors.As(err, &exit) || exit.Code != 2 || !strings.Contains(exit.Message, want) || strings.Contains(exit.Message, "canary") {
			t.Errorf("%q: %v", args, err)
		}
	}
}
