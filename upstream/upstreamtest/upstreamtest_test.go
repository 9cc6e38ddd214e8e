package upstreamtest_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"token-sidecar/upstream/upstreamtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// result is an answer read to its end.
type result struct {
	status int
	header http.Header
	body   string
}

// object decodes the body; it fails the test if that is not a JSON object.
func (r result) object(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.body), &m); err != nil {
		t.Fatalf("answer %d %q is not a JSON object: %v", r.status, r.body, err)
	}
	return m
}

// text returns the string member name, "" if there is none.
func (r result) text(t *testing.T, name string) string {
	t.Helper()
	s, _ := r.object(t)[name].(string)
	return s
}

// client returns an HTTP client whose connections are gone after the test.
func client(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func do(t *testing.T, method, target, body string, h http.Header) result {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	res, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return result{res.StatusCode, res.Header, string(got)}
}

// call sends an API request with the token.
func call(t *testing.T, target, token string) result {
	t.Helper()
	return do(t, http.MethodGet, target, "", http.Header{"Authorization": {"Bearer " + token}, "Accept": {"application/json"}})
}

// echo calls an API that must take the token.
func echo(t *testing.T, target, token string) upstreamtest.Echo {
	t.Helper()
	res := call(t, target, token)
	var e upstreamtest.Echo
	if err := json.Unmarshal([]byte(res.body), &e); err != nil || res.status != http.StatusOK {
		t.Fatalf("API answered %d %s", res.status, res.body)
	}
	return e
}

// formHeader is the header of a form, with Authorization unless auth is empty.
func formHeader(auth string) http.Header {
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if auth != "" {
		h.Set("Authorization", auth)
	}
	return h
}

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

func encodedBasic(s *upstreamtest.Server) string {
	return basic(url.QueryEscape(s.ClientID()), url.QueryEscape(s.ClientSecret()))
}

// with returns fields changed: name, value, name, value; an empty value removes.
func with(fields url.Values, changes ...string) string {
	c := url.Values{}
	for name, v := range fields {
		c[name] = slices.Clone(v)
	}
	for i := 0; i < len(changes); i += 2 {
		if c.Set(changes[i], changes[i+1]); changes[i+1] == "" {
			c.Del(changes[i])
		}
	}
	return c.Encode()
}

// wantLast checks the log's entry for the latest token request.
func wantLast(t *testing.T, s *upstreamtest.Server, status int, outcome string) {
	t.Helper()
	entries := s.TokenRequestLog()
	if len(entries) == 0 {
		t.Fatal("nothing in the log")
	}
	if e := entries[len(entries)-1]; e.Status != status || e.Outcome != outcome {
		t.Errorf("log says %d %q (%s), want %d %q", e.Status, e.Outcome, e.Reason, status, outcome)
	}
}
