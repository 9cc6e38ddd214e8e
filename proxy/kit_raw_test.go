package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// rawClient writes bytes and reads answers.
type rawClient struct {
	net.Conn
	t  *testing.T
	br *bufio.Reader
}

func dialRaw(t *testing.T, addr string) *rawClient {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	return rawOn(t, c)
}

func rawOn(t *testing.T, c net.Conn) *rawClient {
	t.Cleanup(func() { _ = c.Close() })
	return &rawClient{c, t, bufio.NewReader(c)}
}

func (c *rawClient) write(s string) { _, _ = io.WriteString(c, s) } // a refused connection shows when reading

// answer is a response, or why there is none. The error of the body, if it
// broke off, is in broken.
type answer struct {
	status  int
	proto   string
	header  http.Header
	trailer http.Header
	body    string
	length  int64
	close   bool
	err     error
	broken  error
}

// read reads one answer to a request of the given method, skipping 1xx ones.
func (c *rawClient) read(method string) answer {
	for {
		res, err := http.ReadResponse(c.br, &http.Request{Method: method})
		if err != nil {
			return answer{err: err}
		}
		if res.StatusCode < 200 && res.StatusCode != 101 {
			continue
		}
		body, err := io.ReadAll(res.Body)
		return answer{res.StatusCode, res.Proto, res.Header, res.Trailer, string(body), res.ContentLength, res.Close, nil, err}
	}
}

// rest returns what comes until the connection ends or, at most, d from now.
func (c *rawClient) rest(d time.Duration) string {
	_ = c.SetReadDeadline(time.Now().Add(d))
	b, _ := io.ReadAll(c.br)
	return string(b)
}

// closed reports whether the other side closes the connection, sending nothing more.
func (c *rawClient) closed() bool {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	n, err := c.br.Read(make([]byte, 1))
	return n == 0 && err != nil && !timedOut(err)
}

func timedOut(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// up is a raw target: it records what comes and plays a script.
type up struct {
	t  *testing.T
	l  net.Listener
	wg sync.WaitGroup

	mu     sync.Mutex // guards all below
	script func(*upRequest) bool
	got    []*upRequest
	conns  map[net.Conn]bool
	dials  int
	closed bool
}

// upRequest is one request as it came to the target.
type upRequest struct {
	net.Conn
	br     *bufio.Reader
	n      int    // from 1
	head   string // with the empty line
	method string
	target string
	lines  []string // header lines
	read   bool
	body   string
	bodyOK bool // came to its proper end
}

func newUp(t *testing.T, l net.Listener) *up {
	u := &up{t: t, l: l, conns: map[net.Conn]bool{}}
	u.wg.Go(u.accept)
	t.Cleanup(u.close)
	return u
}

func (u *up) close() {
	u.mu.Lock()
	u.closed = true
	for c := range u.conns {
		_ = c.Close()
	}
	u.mu.Unlock()
	_ = u.l.Close()
	u.wg.Wait()
}

func (u *up) url() string { return "http://" + u.l.Addr().String() }

// play makes f answer from now on. It returns whether the connection lives on.
func (u *up) play(f func(*upRequest) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.script = f
}

// say makes the target answer every request with s.
func (u *up) say(s string) {
	u.play(func(r *upRequest) bool {
		r.readBody()
		r.say(s)
		return !strings.Contains(s, "Connection: close")
	})
}

func (u *up) requests() []*upRequest {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.got)
}

// last returns the latest request.
func (u *up) last() *upRequest {
	u.t.Helper()
	all := u.requests()
	if len(all) == 0 {
		u.t.Fatal("no request reached the target")
	}
	return all[len(all)-1]
}

func (u *up) accept() {
	for {
		c, err := u.l.Accept()
		if err != nil {
			return
		}
		u.mu.Lock()
		u.dials++
		u.conns[c] = true
		if u.closed {
			_ = c.Close()
		}
		u.mu.Unlock()
		u.wg.Go(func() { u.talk(c) })
	}
}

func (u *up) talk(c net.Conn) {
	defer func() {
		_ = c.Close()
		u.mu.Lock()
		delete(u.conns, c)
		u.mu.Unlock()
	}()
	br := bufio.NewReader(c)
	for {
		r := &upRequest{Conn: c, br: br}
		if !r.readHead() {
			return
		}
		u.mu.Lock()
		u.got = append(u.got, r)
		r.n = len(u.got)
		script := u.script
		u.mu.Unlock()
		if script == nil {
			script = hello
		}
		if !script(r) {
			return
		}
		r.readBody()
	}
}

func hello(r *upRequest) bool {
	r.readBody()
	r.say(ok("hello"))
	return true
}

// ok is an ordinary answer.
func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// say writes s; to a HEAD only the head of it.
func (r *upRequest) say(s string) {
	if head, _, ok := strings.Cut(s, "\r\n\r\n"); ok && r.method == "HEAD" {
		s = head + "\r\n\r\n"
	}
	_, _ = io.WriteString(r, s)
}

func (r *upRequest) readHead() bool {
	for !strings.HasSuffix(r.head, "\r\n\r\n") {
		line, err := r.br.ReadString('\n')
		if err != nil {
			return false
		}
		r.head += line
	}
	r.lines = strings.Split(strings.TrimSuffix(r.head, "\r\n\r\n"), "\r\n")
	parts := strings.Split(r.lines[0], " ")
	r.method, r.target, r.lines = parts[0], strings.Join(parts[1:len(parts)-1], " "), r.lines[1:]
	return true
}

// header returns the values of a header, whatever its spelling, "_" read as "-".
func (r *upRequest) header(name string) []string {
	var values []string
	for _, line := range r.lines {
		n, v, _ := strings.Cut(line, ":")
		if strings.EqualFold(strings.ReplaceAll(n, "_", "-"), name) {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}

// readBody reads the body by the framing of the head.
func (r *upRequest) readBody() string {
	if r.read {
		return r.body
	}
	r.read = true
	var src io.Reader = strings.NewReader("")
	want := int64(0)
	if slices.Equal(r.header("transfer-encoding"), []string{"chunked"}) {
		src, want = httputil.NewChunkedReader(r.br), -1
	} else if cl := r.header("content-length"); len(cl) == 1 {
		want, _ = strconv.ParseInt(cl[0], 10, 64)
		src = io.LimitReader(r.br, want)
	}
	b, err := io.ReadAll(src)
	if want < 0 && err == nil { // the trailer section
		for line := ""; line != "\r\n" && err == nil; {
			if line, err = r.br.ReadString('\n'); line != "\r\n" {
				r.lines = append(r.lines, "trailer "+strings.TrimSpace(line))
			}
		}
	}
	r.body, r.bodyOK = string(b), err == nil && (want < 0 || int64(len(b)) == want)
	return r.body
}

// authorized fails the test unless the request carries token and no other.
func (r *upRequest) authorized(t *testing.T, token string) {
	t.Helper()
	if got := r.header("authorization"); len(got) != 1 || got[0] != "Bearer "+token {
		t.Errorf("Authorization is %q, want one, of %s", got, token)
	}
}
