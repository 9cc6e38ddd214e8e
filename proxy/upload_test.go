package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"token-sidecar/upstream"
)

// A target that takes nothing of a body is given up after the time it has for an answer.
//
// Case P3.
func TestTargetThatDoesNotReadTimesOut(t *testing.T) {
	for _, framing := range []string{"Content-Length: 1000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nF4240\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			const limit = 7 * time.Second
			s := newSide(t, setup{pipes: &pipes{}, config: func(c *Config) { c.TargetTimeout = limit }})
			stop := make(chan bool)
			s.up.play(func(r *upRequest) bool {
				<-stop
				return false
			})
			began := time.Now()
			conn := s.dial(s.addr)
			go conn.write("POST /alpha/x" + stalledHead + framing + strings.Repeat("x", 1000000))
			a := conn.read("POST")
			if a.problem(t, 504, "target_timeout"); time.Since(began) != limit {
				t.Errorf("after %v, want %v", time.Since(began), limit)
			}
			_ = conn.Close()
			close(stop)
			time.Sleep(time.Second) // net/http lingers after an answer that comes before the body
		})
	}
}

// An answer that goes on for longer than the target has for its head is no stall, whether
// the upload ends before it or within it.
//
// Case P3.
func TestAnswersMayOutlastTheirUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}, config: func(c *Config) { c.TargetTimeout = time.Second }})
		s.up.play(func(r *upRequest) bool {
			r.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nan\r\n")
			r.readBody()
			time.Sleep(time.Minute)
			r.say("4\r\nswer\r\n0\r\n\r\n")
			return false
		})
		conn := s.dial(s.addr)
		conn.write("POST /alpha/x" + stalledHead + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
		answers := make(chan answer)
		go func() { answers <- conn.read("POST") }()
		time.Sleep(5 * time.Second)
		conn.write("0\r\n\r\n")
		if a := <-answers; a.status != 200 || a.body != "answer" || a.broken != nil {
			t.Errorf("%d %q %v", a.status, a.body, a.broken)
		}
	})
}

// Over HTTP/2 an upload that its target does not read stops nobody else's body.
//
// Case P3.
func TestStalledUploadStopsNoOther(t *testing.T) {
	target := newTLSTarget(t, 0)
	stalled := make(chan bool)
	target.serve = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stall" {
			close(stalled)
			<-r.Context().Done()
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, r.Proto, " ", n)
	}
	s := newSide(t, setup{config: func(c *Config) { c.Roots = target.roots["trusted"] }, upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{subjects(target.url)}
	}})
	ask := func(path string, size int, subject string) string {
		return fmt.Sprintf("POST /mydatahelps.participant/%s%sX-Token-Subject: %s\r\nContent-Length: %d\r\n\r\n", path, stalledHead, subject, size)
	}
	first := dialRaw(t, s.addr)
	go first.write(ask("stall", 8<<20, "alice") + strings.Repeat("x", 8<<20))
	<-stalled
	for _, size := range []int{1, 60 << 10, 3 << 20} {
		second := dialRaw(t, s.addr)
		second.write(ask("x", size, "bob") + strings.Repeat("x", size))
		if a := second.read("POST"); a.status != 200 || a.body != fmt.Sprintf("HTTP/2.0 %d", size) {
			t.Errorf("%d bytes: %d %q", size, a.status, a.body)
		}
	}
	_ = first.Close()
}

// An answer that breaks off right behind its head is a broken answer, and not none: a
// client that got nothing may send its request again.
//
// Case G1.
func TestBrokenAnswersEndTheirConnection(t *testing.T) {
	for _, body := range []string{"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", "Content-Length: 20\r\n\r\nhel"} {
		s := newSide(t, setup{})
		s.up.play(func(r *upRequest) bool {
			r.readBody()
			r.say("HTTP/1.1 200 OK\r\n" + body)
			return false
		})
		if a := s.send("POST", "/alpha/x", "pay"); a.err != nil || a.status != 200 || a.broken == nil {
			t.Errorf("%q: %d %v %v", body, a.status, a.err, a.broken)
		}
	}
}

// TestUpgradedConnectionsAreCounted: the numbers of connections include those of WebSockets.
func TestUpgradedConnectionsAreCounted(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(func(r *upRequest) bool {
		r.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = r.br.ReadByte()
		return false
	})
	c := dialRaw(t, s.addr)
	c.write("GET /alpha/x" + stalledHead + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if a := c.read("GET"); a.status != 101 {
		t.Fatalf("%d", a.status)
	}
	if got := s.proxy.Connections()[0]; got.Shared != 1 || got.Opened != 1 {
		t.Errorf("%+v", got)
	}
	_ = c.Close()
	eventually(t, "the end of the connection", func() bool { return s.proxy.Connections()[0].Shared == 0 })
}

// A header that a lax server could take for framing does not reach the target.
//
// Case A8.
func TestFramingInDisguiseIsRefused(t *testing.T) {
	s := newSide(t, setup{})
	s.send("POST", "/alpha/x", "body", "Content_Length: 7", "Transfer_Encoding: chunked", "X-Token-Made-Up: 1", "X_Kept: 1")
	r := s.up.last()
	if len(r.header("content-length")) != 1 || r.header("transfer-encoding") != nil || r.header("x-token-made-up") != nil || len(r.header("x-kept")) != 1 {
		t.Errorf("the target saw %q", r.head)
	}
}

// deadlineWriter is an http.ResponseWriter that keeps the read deadlines of its connection.
type deadlineWriter struct {
	http.ResponseWriter
	deadlines []time.Time
}

func (w *deadlineWriter) SetReadDeadline(t time.Time) error {
	w.deadlines = append(w.deadlines, t)
	return nil
}

// TestKeptBodyEndsBehindItsLastBytes: who reads a kept body gets all of it, whether the end
// comes together with the last bytes or after them. Once it has come, the deadline belongs to
// the next request on the connection, and reading on does not change it.
func TestKeptBodyEndsBehindItsLastBytes(t *testing.T) {
	eitherWay(t)
	for name, body := range map[string]io.Reader{
		"with the last bytes":  iotest.DataErrReader(strings.NewReader("body")),
		"after the last bytes": strings.NewReader("body"),
	} {
		w := &deadlineWriter{}
		u := newUpload(w, httptest.NewRequest("POST", "/", body))
		u.kept = make([]byte, 4)
		if _, err := u.Read(u.kept); u.ended() != io.EOF {
			t.Errorf("the end comes %s: %v, ended with %v", name, err, u.ended())
		}
		// Another Read could be needed to count the bytes: a keptReader may come before it.
		if got, err := io.ReadAll(&keptReader{upload: u}); string(got) != "body" || err != nil {
			t.Errorf("the end comes %s: a keptReader got %q, %v", name, got, err)
		}
		if len(w.deadlines) != 2 || !w.deadlines[1].IsZero() {
			t.Errorf("the end comes %s: deadlines %v, want one that is taken away again", name, w.deadlines)
		}
		if n, err := u.Read(make([]byte, 1)); n != 0 || err != io.EOF || len(w.deadlines) != 2 {
			t.Errorf("the end comes %s: reading on got %d, %v and set %d deadlines", name, n, err, len(w.deadlines)-2)
		}
	}
}
