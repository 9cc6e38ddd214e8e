package upstream

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// wire writes a request out: request line, header fields by name, body.
func wire(method, uri string, header http.Header, body string) string {
	text := method + " " + uri + "\n"
	for _, name := range slices.Sorted(maps.Keys(header)) {
		text += name + ": " + strings.Join(header[name], " | ") + "\n"
	}
	return text + "\n" + body
}

// lastWire returns the latest token request that came to s.
func lastWire(t *testing.T, s *upstreamtest.Server) string {
	t.Helper()
	log := s.TokenRequestLog()
	if len(log) == 0 {
		t.Fatal("no token request came")
	}
	r := log[len(log)-1]
	uri := r.Path
	if r.RawQuery != "" {
		uri += "?" + r.RawQuery
	}
	return wire(r.Method, uri, r.Header, r.Body)
}

func wantWire(t *testing.T, s *upstreamtest.Server, want string) {
	t.Helper()
	if got := lastWire(t, s); got != want {
		t.Errorf("the request is\n%s\nwant\n%s", got, want)
	}
}

// told is one answer of a token endpoint and what must become of it, in the
// words of outcome.
type told struct {
	name string
	reply
	want string
}

// outcome puts a token or an error into words: "token life scope", or the
// class, the code and the pause asked for.
func outcome(t *testing.T, token Token, err error) string {
	t.Helper()
	if err == nil {
		life := token.Expiry().Sub(token.Issued())
		return strings.TrimSpace(fmt.Sprintf("%s %s %s", token.AccessToken(), life.Round(time.Second), token.Scope()))
	}
	e := failure(t, token, err)
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("%q repeats the answer", err)
	}
	text := string(e.Class)
	if e.Code != "" {
		text += " " + e.Code
	}
	if e.RetryAfter != 0 {
		text += " in " + e.RetryAfter.String()
	}
	return text
}

// wantOutcomes has a scripted endpoint give each answer to a token request.
func wantOutcomes(t *testing.T, answers []told, start func(tokenURL string) func() (Token, error)) {
	t.Helper()
	s := newScripted(t)
	ask := start(s.url)
	for _, tt := range answers {
		t.Run(tt.name, func(t *testing.T) {
			s.answer(tt.reply)
			token, err := ask()
			if got := outcome(t, token, err); got != tt.want {
				t.Errorf("%d %s\nis %q, want %q", tt.status, tt.body, got, tt.want)
			}
			if e := refusalOf(err); e != nil && e.Status != max(tt.status, 200) {
				t.Errorf("the error has status %d, want %d", e.Status, tt.status)
			}
		})
	}
}

func body(text string) reply                  { return reply{body: text} }
func refused(status int, text string) reply   { return reply{status: status, body: text} }
func (r reply) with(name, value string) reply { r.header = http.Header{name: {value}}; return r }

// recorder is a token endpoint that keeps what it was sent and answers from a
// list, the last one again and again.
type recorder struct {
	url     string
	mu      sync.Mutex // guards bodies and headers
	bodies  []string
	headers []http.Header
}

func newRecorder(t *testing.T, replies ...reply) *recorder {
	r := &recorder{}
	r.url = serve(t, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		n := len(r.bodies)
		r.bodies = append(r.bodies, string(body))
		r.headers = append(r.headers, req.Header)
		r.mu.Unlock()
		now := replies[min(n, len(replies)-1)]
		if now.status != 0 {
			w.WriteHeader(now.status)
		}
		_, _ = io.WriteString(w, now.body)
	})
	return r
}

func (r *recorder) requests() (bodies []string, headers []http.Header) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bodies), slices.Clone(r.headers)
}

// chain is a source of tokens for tokens, as the cache is one: it keeps one
// token for each key and gets another when that is rejected.
type chain struct {
	t        *testing.T
	u        Upstream
	held     map[Key]Token
	rejected int
	stuck    bool  // no other token is to be had
	err      error // instead of a token
}

func newChain(t *testing.T, u Upstream) *chain { return &chain{t: t, u: u, held: map[Key]Token{}} }

func (c *chain) Token(ctx context.Context, key Key) (Token, error) {
	if c.err != nil {
		return Token{}, c.err
	}
	if token, ok := c.held[key]; ok {
		return token, nil
	}
	token, err := c.u.Fetch(ctx, key, noTokens{c.t})
	if err == nil {
		c.held[key] = token
	}
	return token, err
}

func (c *chain) Reject(_ context.Context, key Key, rejected Token) {
	if !rejected.Same(c.held[key]) {
		c.t.Error("a token was rejected that is not in use")
	}
	c.rejected++
	if !c.stuck {
		delete(c.held, key)
	}
}

// mustKey returns the key of a request that must be let through.
func mustKey(t *testing.T, u Upstream, kind Kind, subject, scope string) Key {
	t.Helper()
	key, err := u.Key(kind, subject, scope)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
