package upstreamtest

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Echo is the JSON body of a successful API answer. It says whose token came,
// without the token.
type Echo struct {
	Provider  string `json:"provider"`
	Kind      string `json:"kind"`
	Subject   string `json:"subject"`
	Scope     string `json:"scope"`
	Token     string `json:"token"` // Grant.Serial
	Method    string `json:"method"`
	Path      string `json:"path"` // as sent, escaped
	Query     string `json:"query"`
	BodyBytes int64  `json:"body_bytes"`
}

// echo returns the answer to a request whose token is in order.
func (s *Server) echo(r *http.Request, g *Grant, bodyBytes int64) *Answer {
	return jsonAnswer(http.StatusOK, Echo{
		Provider: s.name, Kind: g.Kind, Subject: g.Subject, Scope: g.Scope, Token: strconv.Itoa(g.Serial),
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, BodyBytes: bodyBytes,
	})
}

func (s *Server) apiHandler(host string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.running.Add(1) // a hijacked connection is no longer counted by itself
		defer s.running.Done()
		a := s.answerAPI(host, r, s.log.arriveAPI())
		s.log.answeredAPI(a.status())
		s.send(w, r, a, 0)
	})
}

func (s *Server) answerAPI(host string, r *http.Request, n int) *Answer {
	if names := controlHeaders(r.Header); len(names) > 0 {
		s.log.leak(names)
		return leakAnswer(names)
	}
	if a := s.faults.api(r, n); a != nil {
		return a
	}
	// The token is judged on arrival, not after a slow upload.
	var g *Grant
	if token, ok := bearer(r.Header); ok {
		g = s.tokens.valid(token)
	}
	if p, ok := s.provider.(connecting); ok {
		if a := p.connect(host, r, g); a != nil {
			return a
		}
	}
	size, _ := io.Copy(io.Discard, r.Body)
	return s.provider.api(host, r, g, size)
}

// connecting is a provider with API requests whose bodies it reads.
type connecting interface {
	// connect answers such a request, and returns nil for any other, unread. g is as
	// that of provider.api.
	connect(host string, r *http.Request, g *Grant) *Answer
}

// bearer returns the token of the one Authorization field, which must be in
// the very form of RFC 6750 section 2.1.
func bearer(h http.Header) (string, bool) {
	fields := h.Values("Authorization")
	if len(fields) != 1 {
		return "", false
	}
	return strings.CutPrefix(fields[0], "Bearer ")
}

// controlHeaders returns the names of fields that steer the sidecar and so
// must never come here. Some servers read _ as -, so both count.
func controlHeaders(h http.Header) []string {
	var names []string
	for name := range h {
		plain := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		if strings.HasPrefix(plain, "x-token-") || strings.HasPrefix(plain, "x-sidecar-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func leakAnswer(names []string) *Answer {
	reason := "header fields of the sidecar were forwarded: " + strings.Join(names, ", ")
	return textAnswer(http.StatusBadRequest, reason).because("leaked_header", reason)
}
