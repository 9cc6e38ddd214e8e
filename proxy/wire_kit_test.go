package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"token-sidecar/proxy/internal/http1"
)

// wireTarget records what a target gets, byte by byte.
type wireTarget struct {
	mu   sync.Mutex // guards all
	seen []wireSeen
}

// wireSeen is one request as a target got it.
type wireSeen struct {
	request *upRequest // with its head
	raw     string     // the body, framed as it came
	body    string     // without the framing
	whole   bool       // the body came to its end
	behind  string     // what came on the connection until its end, after the answer
	ended   time.Time  // when the connection did
}

// watch has the target of a side answer each request with what answer returns, and record the
// bytes of all. It waits for the end of each connection.
func watch(s *side, answer func(*upRequest) string) *wireTarget {
	w := &wireTarget{}
	s.up.play(func(r *upRequest) bool {
		seen := wireSeen{request: r}
		seen.raw, seen.whole = readFramed(r)
		seen.body = seen.raw
		if len(r.header("transfer-encoding")) > 0 {
			data, _ := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(seen.raw)))
			seen.body = string(data)
		}
		if seen.whole {
			r.say(answer(r))
		}
		behind, _ := io.ReadAll(r.br)
		seen.behind, seen.ended = string(behind), time.Now()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = append(w.seen, seen)
		return false
	})
	return w
}

// wireDials returns how many connections the target of a side got.
func wireDials(s *side) int {
	s.up.mu.Lock()
	defer s.up.mu.Unlock()
	return s.up.dials
}

// all returns what was recorded so far.
func (w *wireTarget) all() []wireSeen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// readFramed reads the body of a request without taking its framing off. It reports whether
// the body came to its end.
func readFramed(r *upRequest) (raw string, whole bool) {
	var all []byte
	if len(r.header("transfer-encoding")) > 0 {
		for chunks := (http1.Chunks{}); !chunks.Done(); {
			b, err := r.br.ReadByte()
			if err != nil {
				return string(all), false
			}
			all = append(all, b)
			if _, err := chunks.Check([]byte{b}); err != nil {
				return string(all), false
			}
		}
		return string(all), true
	}
	length := 0
	if given := r.header("content-length"); len(given) > 0 {
		length, _ = strconv.Atoi(given[0])
	}
	all, err := io.ReadAll(io.LimitReader(r.br, int64(length)))
	return string(all), err == nil && len(all) == length
}

// wireField is a field line as the sidecar may write it, to a target or to an app.
var wireField = regexp.MustCompile("^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([^\\x00-\\x08\\x0a-\\x1f\\x7f]*)$")

// wireHops are the fields of its hop that a request to a target may have.
var wireHops = []string{"transfer-encoding: chunked", "te: trailers", "connection: upgrade", "upgrade: websocket"}

// check fails the test unless the request has the given first line and body, can be read in one
// way only, and has the token.
func (seen wireSeen) check(t *testing.T, line, body, host string) {
	t.Helper()
	r := seen.request
	head, rest, _ := strings.Cut(strings.TrimSuffix(r.head, "\r\n\r\n"), "\r\n")
	if head != line {
		t.Errorf("the target's request line is %q, want %q", head, line)
	}
	for field := range strings.SplitSeq(rest, "\r\n") {
		f := wireField.FindStringSubmatch(field)
		if f == nil || hopByHop(http.CanonicalHeaderKey(f[1])) && !slices.Contains(wireHops, strings.ToLower(field)) {
			t.Errorf("the target saw the line %q", field)
		}
	}
	lengths, codings := r.header("content-length"), r.header("transfer-encoding")
	framings := len(lengths) + len(codings)
	switch {
	case framings > 1, framings == 0 && body != "", len(codings) == 1 && codings[0] != "chunked":
		t.Errorf("the target saw the framing %q and %q of %q", lengths, codings, body)
	case len(codings) == 1 && seen.raw != "0\r\n\r\n" && !strings.HasSuffix(seen.raw, "\r\n0\r\n\r\n"):
		t.Errorf("the target saw trailers: %q", seen.raw)
	case len(lengths) == 1 && lengths[0] != strconv.Itoa(len(body)):
		t.Errorf("the target saw the Content-Length %q of %q", lengths, body)
	}
	if !seen.whole || seen.body != body || seen.behind != "" {
		t.Errorf("the target saw the body %.200q (whole: %t), and %.200q behind it, want %.200q", seen.body, seen.whole, seen.behind, body)
	}
	if hosts := r.header("host"); len(hosts) != 1 || hosts[0] != host {
		t.Errorf("the target saw the Host %q", hosts)
	}
	r.authorized(t, tokenOf(1))
}

// wireAnswer is one answer as an app got it.
type wireAnswer struct {
	answer
	whole bool // it has come to an end that its framing names
	toEnd bool // no field names its end: it goes on until the connection ends
}

var wireStatusLine = regexp.MustCompile(`^HTTP/1\.([01]) ([1-9][0-9][0-9]) [\t\x20-\x7e]*$`)

// wireAnswers reads all that an app got strictly. It fails if a reader could take anything of
// that in another way. Only the last answer may be short, or go on until the connection ends.
func wireAnswers(raw, method string) (all []wireAnswer, err error) {
	for raw != "" {
		var a wireAnswer
		if a, raw, err = wireOne(raw, method); err != nil {
			return all, err
		}
		if all = append(all, a); (!a.whole || a.toEnd) && raw != "" {
			return all, fmt.Errorf("%.200q follows an answer without end", raw)
		}
	}
	return all, nil
}

// wireOne reads the first answer of raw, and returns what follows it.
func wireOne(raw, method string) (a wireAnswer, rest string, err error) {
	head, rest, ok := strings.Cut(raw, "\r\n\r\n")
	if !ok {
		return a, "", fmt.Errorf("no head of an answer: %.200q", raw)
	}
	line, fields, _ := strings.Cut(head, "\r\n")
	match := wireStatusLine.FindStringSubmatch(line)
	if match == nil {
		return a, "", fmt.Errorf("no status line: %q", line)
	}
	a.proto, a.header = line[:len("HTTP/1.1")], http.Header{}
	a.status, _ = strconv.Atoi(match[2])
	for field := range strings.SplitSeq(fields, "\r\n") {
		f := wireField.FindStringSubmatch(field)
		if f == nil && fields != "" {
			return a, "", fmt.Errorf("no header field: %q", field)
		} else if f != nil {
			if reserved := string(letters(make([]byte, 0, 24), f[1])); (reserved == "contentlength" || reserved == "transferencoding") && strings.ContainsAny(f[1], "_.") {
				return a, "", fmt.Errorf("some reader takes the field %q for framing", field)
			}
			a.header.Add(f[1], f[2])
		}
	}
	rest, err = a.takeBody(rest, method)
	return a, rest, err
}

// takeBody reads the body of the answer, which raw begins with, and returns what follows it.
func (a *wireAnswer) takeBody(raw, method string) (rest string, err error) {
	lengths, codings := a.header["Content-Length"], a.header["Transfer-Encoding"]
	none := a.status < 200 || a.status == 204 || a.status == 304 || method == "HEAD"
	switch {
	case len(lengths)+len(codings) > 1, len(codings) == 1 && (codings[0] != "chunked" || a.proto == "HTTP/1.0"):
		return "", fmt.Errorf("ambiguous framing: %q, %q", lengths, codings)
	case none && (len(codings) > 0 || len(lengths) > 0 && a.status <= 204 && a.status != 200):
		return "", fmt.Errorf("framing of a body that is none: %q, %q", lengths, codings)
	case none:
		a.whole = true
		return raw, nil
	case len(codings) == 1:
		return a.takeChunks(raw)
	case len(lengths) == 1:
		length, err := strconv.Atoi(lengths[0])
		if err != nil || strconv.Itoa(length) != lengths[0] || length < 0 {
			return "", fmt.Errorf("the length %q is no plain number", lengths)
		}
		n := min(length, len(raw))
		a.body, a.whole = raw[:n], n == length
		return raw[n:], nil
	}
	a.body, a.whole, a.toEnd = raw, true, true
	if !slices.Equal(a.header["Connection"], []string{"close"}) {
		return "", errors.New("nothing names the end of the body")
	}
	return "", nil
}

// takeChunks is takeBody for a body in chunks.
func (a *wireAnswer) takeChunks(raw string) (rest string, err error) {
	var chunks http1.Chunks
	n, err := chunks.Check([]byte(raw))
	if err != nil {
		return "", fmt.Errorf("malformed chunks: %w: %.200q", err, raw[n:])
	}
	body, _ := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(raw[:n])))
	a.body, a.whole = string(body), chunks.Done()
	if a.whole {
		last := strings.LastIndex("\r\n"+raw[:n], "\r\n0\r\n") + len("0\r\n")
		for trailer := range strings.SplitSeq(strings.TrimSuffix(raw[last:n], "\r\n"), "\r\n") {
			if f := wireField.FindStringSubmatch(trailer); trailer != "" && (f == nil || !allowedInTrailer(f[1])) {
				return "", fmt.Errorf("the trailer %q", trailer)
			}
		}
	}
	return raw[n:], nil
}

// timedReader notes when it has read last.
type timedReader struct {
	io.Reader
	last time.Time
	read func() // is called when something was read
}

// Read implements [io.Reader].
func (r *timedReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if n > 0 {
		r.read()
	}
	return n, err
}

// wirePause is how long converse waits where a piece is empty.
const wirePause = 300 * time.Millisecond

// converse sends the pieces, with pauses in place of those that are empty, and returns what comes
// until the connection ends, and when the last byte of that came.
func (c *rawClient) converse(pieces ...string) (got string, last time.Time) {
	return c.converseUntil(0, pieces...)
}

// converseUntil is converse, but it ends the connection itself when nothing has come for a while,
// unless quiet is zero.
func (c *rawClient) converseUntil(quiet time.Duration, pieces ...string) (got string, last time.Time) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, piece := range pieces {
			if piece == "" {
				time.Sleep(wirePause)
			}
			c.write(piece)
		}
	}()
	in := timedReader{Reader: c.br}
	in.read = func() {
		if in.last = time.Now(); quiet > 0 {
			_ = c.SetReadDeadline(in.last.Add(quiet))
		}
	}
	in.read()
	all, _ := io.ReadAll(&in)
	_ = c.Close() // which ends writing, too
	<-done
	return string(all), in.last
}
